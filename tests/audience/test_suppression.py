"""Who gets nothing, and why: the rules, the list, files, and what the fold makes of bounces."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege
from typer.testing import CliRunner, Result

from thurn.audience import service, suppression, suppression_file
from thurn.audience.barring import RULES, Reason, bars, condition, expires, is_pattern
from thurn.audience.csvfile import NotCsv
from thurn.audience.suppression import Found
from thurn.cli import build
from thurn.db.connect import Connection, Pool, in_workspace
from thurn.db.fetch import one, rows
from thurn.delivery.claims import Lane, claim
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.problems import Invalid, NotFound
from thurn.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


# ------------------------------------------------------------------ rules


def test_only_an_unsubscribe_lets_receipts_pass_and_the_queries_know() -> None:
    assert bars("marketing") == sorted(RULES)
    assert set(bars("marketing")) - set(bars("transactional")) == {"unsubscribed"}
    assert "reason" not in condition("a", "w")
    assert "s.reason <> 'unsubscribed'" in condition("a", "w", "transactional")


def test_a_pattern_runs_out_after_90_days_and_what_is_certain_never() -> None:
    lasting = {reason: expires(reason, NOW) for reason in RULES}
    assert lasting.pop("soft-bounces") == NOW + timedelta(days=90)
    assert set(lasting.values()) == {None}


@pytest.mark.parametrize(
    ("days_ago", "pattern"),
    [
        ([], False),
        ([0], False),
        ([28, 21, 14, 7, 0], True),  # a newsletter a week
        ([21, 14, 7, 0], False),  # four times is not enough
        ([13, 10, 7, 4, 0], False),  # not two weeks yet
        ([14, 13, 12, 1, 0], True),
        ([14, 14, 14, 0, 0], False),  # two days only
        ([300, 290, 280, 270, 260], True),
        ([400, 390, 380, 7, 0], False),  # forgotten after a year
    ],
)
def test_soft_bounces_become_a_pattern(days_ago: list[int], pattern: bool) -> None:
    assert is_pattern([NOW - timedelta(days=days) for days in days_ago], NOW) is pattern


# ------------------------------------------------------------------ the list


async def listed(db: Connection) -> dict[str, tuple[int | None, str]]:
    found = await rows(db, "SELECT address, workspace_id, reason FROM suppression ORDER BY id")
    return {row["address"]: (row["workspace_id"], row["reason"]) for row in found}


STRONGER: list[tuple[Reason, Reason, Reason]] = [  # first, then, what stands
    ("bounce", "complaint", "bounce"),
    ("complaint", "bounce", "complaint"),
    ("soft-bounces", "bounce", "bounce"),
    ("bounce", "soft-bounces", "bounce"),
    ("unsubscribed", "complaint", "complaint"),
    ("unsubscribed", "soft-bounces", "soft-bounces"),
    ("manual", "unsubscribed", "manual"),
]


async def test_what_bars_more_or_longer_stands(system: Connection) -> None:
    for n, (first, then, _) in enumerate(STRONGER):
        for reason in (first, then):
            await suppression.suppress(system, Found(1, f"P{n}@X.example", reason, f"said {reason}"))
    assert await listed(system) == {f"p{n}@x.example": (1, stands) for n, (_, _, stands) in enumerate(STRONGER)}


async def test_it_is_added_undone_and_remembered(app_pool: Pool, system: Connection) -> None:
    async with in_workspace(app_pool, 1) as db:
        assert await suppression.add(db, 1, " Mary-Ann@X.example ", actor="anna@h.example", note="asked by phone")
        assert not await suppression.add(db, 1, "mary-ann@x.example", actor="somebody else")
        row = await suppression.find(db, "MARY-ANN@x.example")
        assert row is not None
        assert (row["reason"], row["evidence"], row["expires_at"]) == ("manual", "asked by phone", None)
        assert await suppression.find(db, "mary@x.example") is None
        await suppression.remove(db, row["id"], actor="bert@h.example", note="asked again")
        with pytest.raises(NotFound):
            await suppression.get(db, row["id"])
        done = await suppression.history(db, "mary-ann@x.example")
    assert [(h["action"], h["actor"], h["note"], h["evidence"]) for h in done] == [
        ("removed", "bert@h.example", "asked again", "asked by phone"),
        ("added", "anna@h.example", "asked by phone", ""),
    ]


async def test_what_is_no_address_is_refused(app_pool: Pool, system: Connection) -> None:
    async with in_workspace(app_pool, 1) as db:
        for address in ("", "@", "a@", "a b@x.example", "a@b\0.example", "x" * 2000):
            with pytest.raises(Invalid):
                await suppression.add(db, 1, address, actor="a")
    assert await listed(system) == {}


async def test_a_workspace_sees_its_own_and_only_the_operator_changes_what_bars_everybody(
    app_pool: Pool, system: Connection
) -> None:
    await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other')")
    other = (await one(system, "SELECT id FROM workspace WHERE slug = 'other'"))["id"]
    async with in_workspace(app_pool, 1) as db:
        await suppression.add(db, None, "trap@x.example", actor="operator")
        await suppression.add(db, 1, "own@x.example", actor="operator")
        everywhere = (await suppression.suppression_page(db, everywhere=True)).items
        assert [row["address"] for row in everywhere] == ["trap@x.example"]
        assert [h["action"] for h in await suppression.history(db, "trap@x.example", everywhere=True)] == ["added"]
    async with in_workspace(app_pool, other) as db:
        assert (await suppression.suppression_page(db)).items == []
        contact, _ = await service.save_contact(db, other, email="Trap@x.example", fields={})
        row = await service.get_contact(db, contact)
        assert (row["state"], row["suppressed_everywhere"]) == ("suppressed", True)
        assert (await db.execute("DELETE FROM suppression")).rowcount == 0
        assert await rows(db, "SELECT * FROM suppression_change") == []
    with pytest.raises(InsufficientPrivilege):
        async with in_workspace(app_pool, other) as db:
            await suppression.add(db, None, "more@x.example", actor="tenant")


async def test_what_has_run_out_bars_nobody_and_goes(app_pool: Pool, system: Connection) -> None:
    await suppression.suppress(system, Found(1, "full@x.example", "soft-bounces", "452 full"))
    await suppression.suppress(system, Found(1, "dead@x.example", "bounce", "550 no"))
    await system.execute("UPDATE suppression SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")
    async with in_workspace(app_pool, 1) as db:
        assert [r["address"] for r in (await suppression.suppression_page(db)).items] == ["dead@x.example"]
        assert await suppression.counts(db) == {"bounce": 1}
    assert (await suppression.let_go(system), await suppression.let_go(system)) == (1, 0)
    assert await listed(system) == {"dead@x.example": (1, "bounce")}


async def test_the_list_is_paged_and_searched(app_pool: Pool, system: Connection) -> None:
    async with in_workspace(app_pool, 1) as db:
        for n in range(7):
            await suppression.add(db, 1, f"p_{n}@x.example", actor="a", reason="complaint" if n % 2 else "manual")
        first = await suppression.suppression_page(db, limit=3)
        assert ([r["address"][2] for r in first.items], first.newer, first.total) == (["6", "5", "4"], None, 7)
        second = await suppression.suppression_page(db, limit=3, before=first.older)
        assert [r["address"][2] for r in second.items] == ["3", "2", "1"]
        back = await suppression.suppression_page(db, limit=3, after=second.newer)
        assert [r["address"][2] for r in back.items] == ["6", "5", "4"]
        last = await suppression.suppression_page(db, limit=3, before=second.older)
        assert (len(last.items), last.older) == (1, None)
        assert len((await suppression.suppression_page(db, query="P_3")).items) == 1
        assert len((await suppression.suppression_page(db, query="p%3")).items) == 0
        assert (await suppression.suppression_page(db, reason="complaint")).total == 3


# ------------------------------------------------------------------ files


async def load(pool: Pool, path: Path, data: bytes | str, reason: Reason = "manual") -> suppression_file.Loaded:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    async with in_workspace(pool, 1) as db:
        return await suppression_file.load(db, 1, path, name="list.csv", actor="anna", reason=reason)


async def test_the_words_of_other_systems_are_understood(app_pool: Pool, system: Connection, tmp_path: Path) -> None:
    loaded = await load(
        app_pool,
        tmp_path / "x.csv",
        "Email;Reason\nA@x.example;hard_bounce\nb@x.example;Spam Report\nc@x.example;Unsubscribed\n"
        "d@x.example;blocked\ne@x.example;\nnot an address;bounce\na@x.example;cleaned\n",
    )
    assert await listed(system) == {
        "a@x.example": (1, "bounce"),
        "b@x.example": (1, "complaint"),
        "c@x.example": (1, "unsubscribed"),
        "e@x.example": (1, "manual"),
    }
    assert (loaded.added, loaded.known, loaded.refused_count) == (4, 1, 2)
    assert [line for line, _ in loaded.refused] == [5, 7]
    assert "aimed at the sender" in loaded.refused[0][1]
    assert (await one(system, "SELECT note FROM suppression_change"))["note"] == "4 addresses added from list.csv"


async def test_addresses_alone_are_enough_and_a_second_time_changes_nothing(
    app_pool: Pool, system: Connection, tmp_path: Path
) -> None:
    data = "a@x.example\r\nb@x.example\r\n"
    first = await load(app_pool, tmp_path / "x.csv", data, "bounce")
    again = await load(app_pool, tmp_path / "x.csv", data, "bounce")
    assert ((first.added, first.known), (again.added, again.known)) == ((2, 0), (0, 2))


async def test_what_is_no_such_file_is_refused_whole(app_pool: Pool, system: Connection, tmp_path: Path) -> None:
    for data in (b"", b"PK\x03\x04xx", b"name\nx\n", bytes(range(256)) * 20):
        with pytest.raises(NotCsv):
            await load(app_pool, tmp_path / "x.csv", data)
    assert await listed(system) == {}


async def test_what_goes_out_comes_back_in(app_pool: Pool, system: Connection, tmp_path: Path) -> None:
    await suppression.suppress(system, Found(1, "+plus@x.example", "complaint", "=cmd|'/c calc'!A1"))
    await suppression.suppress(system, Found(1, "dead@x.example", "bounce", '550 5.1.1 no, "really"\nno'))
    async with in_workspace(app_pool, 1) as db:
        data = b"".join([piece async for piece in suppression_file.export(db)])
    assert b"\n=cmd" not in data
    assert b",=cmd" not in data
    before = await listed(system)
    await system.execute("DELETE FROM suppression")
    await load(app_pool, tmp_path / "x.csv", data)
    assert await listed(system) == dict(reversed(before.items()))


# ------------------------------------------------------------------ what mail brings


@pytest.fixture
async def campaign(system: Connection) -> Callable[..., Awaitable[int]]:
    """A campaign to ann@x.example, delivered or queued; returns its id. The contact is always the same."""

    async def make(state: str = "delivered", email: str = "Ann@X.example") -> int:
        row = await one(
            system,
            """WITH c AS (INSERT INTO campaign (workspace_id, name, from_address, state)
                          VALUES (1, 'News', 'a@b.example', 'sending') RETURNING id),
                    p AS (INSERT INTO contact (workspace_id, email) VALUES (1, %s)
                          ON CONFLICT (workspace_id, lower(email)) DO UPDATE SET email = excluded.email RETURNING id)
               INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state)
               SELECT c.id, 1, p.id, %s, 'other', %s FROM c, p RETURNING campaign_id""",
            [email, email, state],
        )
        return int(row["campaign_id"])

    return make


async def happened(db: Connection, number: int, kind: str, days_ago: float, category: str = "", **more: Any) -> None:
    delivery = await one(db, "SELECT id FROM delivery WHERE campaign_id = %s", [number])
    at = datetime.now(UTC) - timedelta(days=days_ago)
    await append(
        db,
        [Outcome(number, delivery["id"], kind, at, category=category or None, source="log", **more)],  # type: ignore[arg-type]
    )
    await fold(db)


async def test_a_full_mailbox_is_suppressed_after_weeks_and_for_90_days(
    system: Connection, campaign: Callable[..., Awaitable[int]]
) -> None:
    for week in (4, 3, 2, 1):
        await happened(system, await campaign(), "bounced", week * 7, "mailbox-full", hard=False, reply="452 full")
    assert await listed(system) == {}
    await happened(system, await campaign(), "bounced", 0, "mailbox-full", hard=False, reply="452 still full")
    row = await one(system, "SELECT * FROM suppression")
    assert (row["address"], row["reason"], row["category"], row["evidence"], row["source"]) == (
        "ann@x.example", "soft-bounces", "mailbox-full", "452 still full", "log",
    )  # fmt: skip
    assert timedelta(days=89) < row["expires_at"] - datetime.now(UTC) < timedelta(days=91)


@pytest.mark.parametrize("sign", ["delivered", "opened", "undone"])
async def test_a_sign_of_life_starts_the_count_anew(
    system: Connection, app_pool: Pool, campaign: Callable[..., Awaitable[int]], sign: str
) -> None:
    for week in (5, 4, 3):
        await happened(system, await campaign(), "bounced", week * 7, "mailbox-full", hard=False)
    if sign == "delivered":
        await happened(system, await campaign("handed_over"), "delivered", 18)
    elif sign == "opened":
        await system.execute(
            """INSERT INTO event (at, workspace_id, contact_id, kind, actor)
               SELECT now() - interval '18 days', 1, id, 'opened', 'human' FROM contact"""
        )
    else:
        await system.execute(
            """INSERT INTO suppression_change (at, workspace_id, address, action, actor)
               VALUES (now() - interval '18 days', 1, 'ann@x.example', 'removed', 'anna')"""
        )
    for week in (2, 1, 0):
        await happened(system, await campaign(), "bounced", week * 7, "mailbox-full", hard=False)
    assert await listed(system) == {}


NOT_THE_ADDRESS = (
    "policy-block", "reputation-block", "spam-refused", "content-refused", "too-large", "auth-failure", "expired",
    "rate-limited", "network", "greylisted", "system-error", "other",
)  # fmt: skip


async def test_what_is_not_the_address_to_blame_never_suppresses(
    system: Connection, campaign: Callable[..., Awaitable[int]]
) -> None:
    for category in NOT_THE_ADDRESS:
        for day in range(20, -1, -4):
            number = await campaign(email=f"{category}@x.example")
            await happened(system, number, "bounced", day, category, hard=False)
    bounced = await one(system, "SELECT count(*) AS n FROM event WHERE kind = 'bounced'")
    assert (bounced["n"], await listed(system)) == (len(NOT_THE_ADDRESS) * 6, {})


async def test_who_was_suppressed_a_second_ago_is_left_out_with_the_reason(
    system: Connection, app_pool: Pool, campaign: Callable[..., Awaitable[int]]
) -> None:
    for workspace in (1, None):
        for reason in RULES:
            address = f"{reason}.{workspace}@x.example"
            number = await campaign("queued", address.title())
            async with in_workspace(app_pool, 1) as db:
                await suppression.add(db, workspace, address, actor="a", reason=reason)
            assert await claim(system, Lane(1, number, "other"), 1, 10) == []
            await fold(system)
            row = await one(system, "SELECT state::text, category FROM delivery WHERE campaign_id = %s", [number])
            assert (row["state"], row["category"]) == ("suppressed", reason)


async def test_a_neighbour_of_a_suppressed_address_is_written_to(
    system: Connection, campaign: Callable[..., Awaitable[int]]
) -> None:
    number = await campaign("queued", "mary@x.example")
    for near in ("mary-ann@x.example", "m.ary@x.example", "mary+news@x.example", "mary@y.example"):
        await suppression.suppress(system, Found(1, near, "bounce", ""))
    await suppression.suppress(system, Found(1, "mary@x.example", "soft-bounces", ""))
    await system.execute("UPDATE suppression SET expires_at = now() WHERE expires_at IS NOT NULL")
    assert [c.recipient for c in await claim(system, Lane(1, number, "other"), 1, 10)] == ["mary@x.example"]


# ------------------------------------------------------------------ commands


@pytest.fixture
def run(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Result]]:
    monkeypatch.setenv("THURN_STATE", str(clean.state))

    async def call(*arguments: str) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(build("suppression"), ["suppression", *arguments]))

    return call


async def test_commands_do_what_the_pages_do(
    run: Callable[..., Awaitable[Result]], system: Connection, tmp_path: Path
) -> None:
    assert "Suppressed." in (await run("add", "ann@x.example", "--note", "asked")).stdout
    assert (await run("add", "everybody@x.example", "--everywhere")).exit_code == 0
    (tmp_path / "x.csv").write_text("bob@x.example\nnobody\n")
    said = json.loads((await run("import", str(tmp_path / "x.csv"), "--reason", "bounce", "--json")).stdout)
    assert (said["added"], said["refused_count"]) == (1, 1)
    assert [row["address"] for row in json.loads((await run("list", "--json")).stdout)] == [
        "bob@x.example", "ann@x.example",
    ]  # fmt: skip
    assert "Put there by hand" in (await run("show", "ann@x.example")).stdout
    assert "Mail goes to ann@x.example again" in (await run("remove", "ann@x.example")).stdout
    assert "bob@x.example,bounce" in (await run("export")).stdout
    for wrong in (
        ("remove", "ann@x.example"),
        ("add", "x"),
        ("add", "a@x.example", "--reason", "because"),
        ("import", str(tmp_path / "none.csv")),
        ("list", "--everywhere", "--workspace", "other"),
    ):
        refused = await run(*wrong)
        assert (refused.exit_code, bool(refused.stderr)) == (1, True), wrong
