"""DANE: a renewed certificate is shown when DNS has named its key for a while, and not before; but not never."""

import datetime as dt
from dataclasses import replace

import pytest

from thurn.db.connect import Connection
from thurn.dns.findings import Check
from thurn.dns.records import Record
from thurn.dns.tlsa import SETTLE, keep, must_wait, named

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
DAY, MINUTE = dt.timedelta(days=1), dt.timedelta(minutes=1)
OLD, NEW, OTHER = "ab" * 32, "cd" * 32, "ef" * 32
LONG_AGO = NOW - 60 * DAY


@pytest.mark.parametrize(
    ("seen", "left", "waits"),
    [
        ({}, 30, False),  # nobody checks
        ({OTHER: LONG_AGO}, 30, False),  # mail is refused already: waiting mends nothing
        ({OLD: LONG_AGO}, 30, True),
        ({OLD: LONG_AGO, OTHER: LONG_AGO}, 30, True),
        ({OLD: LONG_AGO, NEW: NOW}, 30, True),
        ({OLD: LONG_AGO, NEW: NOW - SETTLE + MINUTE}, 30, True),
        ({OLD: LONG_AGO, NEW: NOW - SETTLE}, 30, False),
        ({NEW: LONG_AGO}, 30, False),
        ({OLD: LONG_AGO}, 12, True),
        ({OLD: LONG_AGO}, 11, False),  # an eighth of 90 days
        ({OLD: LONG_AGO}, -1, False),
    ],
)
def test_a_renewed_certificate_waits_for_dns_but_not_for_ever(
    seen: dict[str, dt.datetime], left: int, waits: bool
) -> None:
    ends = NOW + left * DAY
    assert must_wait(seen, shown=OLD, renewed=NEW, begins=ends - 90 * DAY, ends=ends, now=NOW) is waits


def test_the_same_key_never_waits() -> None:
    assert not must_wait({OLD: NOW}, shown=OLD, renewed=OLD, begins=LONG_AGO, ends=NOW + 30 * DAY, now=NOW)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ([], []),
        ([f"3 1 1 {OLD.upper()}", f"3 1 1 {NEW[:20]} {NEW[20:]}"], [OLD, NEW]),
        ([f"3 0 1 {OLD}", f"2 1 1 {NEW}", f"3 1 2 {OTHER}", "", "3 1", "x y z"], []),
    ],
)
def test_keys_are_read_from_records_of_our_kind_only(values: list[str], keys: list[str]) -> None:
    assert named(values) == keys


async def test_what_dns_names_is_kept_with_its_age_and_what_cannot_be_told_changes_nothing(system: Connection) -> None:
    record = Record("tlsa", "_25._tcp.mail.x.example", "TLSA", (f"3 1 1 {OLD}",), "TLSA", "")

    async def ages() -> dict[str, dt.datetime]:
        found = await (await system.execute("SELECT key, since FROM tlsa_seen")).fetchall()
        return {row["key"]: row["since"] for row in found}

    look = Check(record, "ok", "", (f"3 1 1 {OLD}",))
    await keep(system, [look])
    first = await ages()
    assert list(first) == [OLD]
    await keep(system, [replace(look, level="unknown", found=())])
    await keep(system, [])
    assert await ages() == first
    await keep(system, [replace(look, found=(f"3 1 1 {OLD}", f"3 1 1 {NEW}"))])
    both = await ages()
    assert set(both) == {OLD, NEW}
    assert both[OLD] == first[OLD]
    await keep(system, [replace(look, level="warn", found=())])
    assert await ages() == {}
