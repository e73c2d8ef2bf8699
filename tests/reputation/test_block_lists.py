"""Block lists: what is asked, what an answer means, and what people are told; against name servers on loopback."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import dnslib
import pytest

from tests.mailhost.dnsworld import Zone, serving
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.mail.dns import make_resolver
from thurn.reputation import watch
from thurn.reputation.dnsbl import BlockList, judge, lists, lists_for, query
from thurn.reputation.watch import Asking, Subject, can_be_listed, keep, look
from thurn.settings import Settings

ZEN, DBL, SURBL, DRONE = (lists()[key] for key in ("spamhaus-zen", "spamhaus-dbl", "surbl", "dronebl"))
V4, V6 = "192.0.2.7", "2001:db8::1"
NIBBLES = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"


@pytest.mark.parametrize(
    ("of", "subject", "name"),
    [
        (ZEN, V4, "7.2.0.192.zen.spamhaus.org"),
        (ZEN, V6, f"{NIBBLES}.zen.spamhaus.org"),
        (DRONE, "2001:0DB8:0:0::0001", f"{NIBBLES}.dnsbl.dronebl.org"),
        (DBL, "brotzeit.example", "brotzeit.example.dbl.spamhaus.org"),
    ],
)
def test_a_question_is_the_subject_backwards_before_the_zone(of: BlockList, subject: str, name: str):
    assert query(of, subject) == name


@pytest.mark.parametrize(
    ("of", "answers", "state", "why"),
    [
        (ZEN, [], "clear", ""),
        (ZEN, ["127.0.0.2"], "listed", "SBL"),
        (ZEN, ["127.0.0.4", "127.0.0.11"], "listed", "PBL"),
        (ZEN, ["127.255.255.254"], "unknown", "public resolvers"),
        (ZEN, ["127.255.255.255", "127.0.0.2"], "unknown", "asked too often"),
        (ZEN, ["127.255.255.252"], "unknown", "misspelt"),
        (ZEN, ["127.0.0.99"], "unknown", "does not document"),
        (ZEN, ["203.0.113.80"], "unknown", "somebody else answers"),
        (DBL, ["127.0.1.2"], "listed", "spammer"),
        (DBL, ["127.0.1.255"], "unknown", "asked for an address"),
        (SURBL, ["127.0.0.72"], "listed", "used for phishing; in links of spam"),
        (SURBL, ["127.0.0.1"], "unknown", "does not answer this resolver"),
        (DRONE, ["127.0.0.13"], "listed", "open proxy"),
    ],
)
def test_only_a_documented_answer_is_a_listing(of: BlockList, answers: list[str], state: str, why: str):
    verdict = judge(of, answers)
    assert verdict.state == state
    assert why in verdict.why


def test_every_list_says_all_that_a_person_needs():
    for of in lists().values():
        assert of.kinds <= {"ip4", "ip6", "domain"}
        assert of.codes or of.bits
        for text in (of.name, of.zone, of.do, of.terms):
            assert text
        assert of.site.startswith("https://")
        assert of.delist.startswith("https://")
    assert [of.key for of in lists_for(V6)] == ["spamhaus-zen", "sem-ipv6", "dronebl", "blocklist-de"]
    assert {of.key for of in lists_for("brotzeit.example")} == {"spamhaus-dbl", "surbl", "uribl"}


@pytest.mark.parametrize(
    ("address", "listable"),
    [(V4, True), (V6, True), ("127.0.0.2", False), ("10.1.1.1", False), ("100.64.0.1", False), ("::1", False),
     ("fe80::1", False), ("fd00::1", False), ("ff02::1", False), ("x", False)],
)  # fmt: skip
def test_addresses_nobody_outside_sees_are_not_asked_about(address: str, listable: bool):
    assert can_be_listed(address) is listable


# ---------------------------------------------------------------- asking


@pytest.fixture
def dns() -> Iterator[tuple[Zone, Settings]]:
    """A name server that knows every list with its test entries."""
    zone = Zone()
    for of in lists().values():
        zone.held[of.zone, "SOA"] = []
        if of.test:
            a_listing = next(iter(of.codes)) if of.codes else "127.0.0.64"
            put(zone, f"{of.test}.{of.zone}", "127.0.0.2" if a_listing == "*" else a_listing)
    with serving(zone) as (held, port):
        yield held, Settings(state="/nowhere", dns=[f"127.0.0.1:{port}"], hostname="mail.thurn.example")


def put(zone: Zone, name: str, code: str, text: str = "") -> None:
    zone.held[name, "A"] = [dnslib.A(code)]
    if text:
        zone.held[name, "TXT"] = [dnslib.TXT(text)]


async def ask(settings: Settings, of: BlockList, subject: str, patience: float = 60.0) -> tuple[str, str]:
    verdict = await Asking(make_resolver(settings.nameservers, timeout=patience)).verdict(of, subject)
    return verdict.state, verdict.why


async def test_a_list_is_asked_for_both_families_and_its_own_words_are_shown(dns: tuple[Zone, Settings]):
    zone, settings = dns
    assert await ask(settings, ZEN, V4) == ("clear", "")
    put(zone, query(ZEN, V6), "127.0.0.3", "https://check.spamhaus.org/\x07query")
    state, why = await ask(settings, ZEN, V6)
    assert state == "listed"
    assert why == "CSS: sends like a spammer, seen by machines. https://check.spamhaus.org/ query."


async def test_a_list_that_answers_for_everything_lists_nobody(dns: tuple[Zone, Settings]):
    zone, settings = dns
    for name in ("1.0.0.127", "7.2.0.192"):
        put(zone, f"{name}.{DRONE.zone}", "127.0.0.2")
    assert await ask(settings, DRONE, V4) == ("unknown", "it lists everything: it was given up, or is broken")


async def test_a_list_that_hides_its_test_entry_says_nothing_of_others(dns: tuple[Zone, Settings]):
    zone, settings = dns
    del zone.held[f"{ZEN.test}.{ZEN.zone}", "A"]
    state, why = await ask(settings, ZEN, V4)
    assert (state, "not even its test entry" in why) == ("unknown", True)


async def test_a_refusal_of_the_resolver_is_no_listing(dns: tuple[Zone, Settings]):
    zone, settings = dns
    for name in ("1.0.0.127", ZEN.test, "7.2.0.192"):
        put(zone, f"{name}.{ZEN.zone}", "127.255.255.254")
    state, why = await ask(settings, ZEN, V4)
    assert (state, "public resolvers" in why) == ("unknown", True)


async def test_trouble_of_name_servers_is_no_listing_and_no_clearance(dns: tuple[Zone, Settings]):
    zone, settings = dns
    zone.failing[query(ZEN, V4)] = dnslib.RCODE.SERVFAIL
    assert await ask(settings, ZEN, V4) == ("unknown", "it does not answer")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        nobody = settings.model_copy(update={"dns": [f"127.0.0.1:{silent.getsockname()[1]}"]})
        assert await ask(nobody, ZEN, V4, patience=0.3) == ("unknown", "it does not answer")


# ---------------------------------------------------------------- keeping and telling


@pytest.fixture
async def house(
    clean: Settings, system: Connection, dns: tuple[Zone, Settings], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """An installation with one address, one proven domain of another workspace, and one that is not proven."""
    monkeypatch.setattr(watch, "PATIENCE", 60.0)  # the name server is in this very process
    await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other')")
    await system.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
           SELECT id, v.* FROM workspace, (VALUES ('brotzeit.example', 'b.brotzeit.example', now()),
                                                  ('new.example', 'b.new.example', NULL)) v WHERE slug = 'other'"""
    )
    await system.execute("INSERT INTO egress (name, bind4, bind6) VALUES ('one', %s, '2001:db8::1')", [V4])
    return clean.model_copy(update={"dns": dns[1].dns, "hostname": "mail.thurn.example", "simulate": False})


async def alerts(db: Connection) -> list[dict[str, Any]]:
    return await rows(
        db,
        """SELECT slug AS w, subject, level, link, cleared_at IS NOT NULL AS over
           FROM alert JOIN workspace ON workspace.id = workspace_id ORDER BY alert.id""",
    )


async def test_a_listing_is_told_once_its_end_too_and_its_return(
    house: Settings, system: Connection, dns: tuple[Zone, Settings]
):
    zone, _ = dns
    zone.held["mail.thurn.example", "A"] = [dnslib.A("192.0.2.8")]
    assert await look(system, house) == 0
    seen = await rows(system, "SELECT DISTINCT subject FROM listing WHERE state = 'clear' ORDER BY subject")
    assert [row["subject"] for row in seen] == ["192.0.2.7", "192.0.2.8", "2001:db8::1", "brotzeit.example"]

    put(zone, query(ZEN, V4), "127.0.0.2", "SBL12345")
    put(zone, query(DBL, "brotzeit.example"), "127.0.1.2")
    for _ in range(2):
        assert await look(system, house) == 2
    assert await alerts(system) == [
        {"w": "main", "subject": f"{V4} is on the block list Spamhaus ZEN", "level": "bad", "link": "/house/reputation",
         "over": False},
        {"w": "other", "subject": "brotzeit.example is on the block list Spamhaus DBL", "level": "bad",
         "link": "domains/brotzeit.example", "over": False},
    ]  # fmt: skip
    text = (await one(system, "SELECT text FROM alert WHERE workspace_id = 1"))["text"]
    for part in ("SBL: spam came from here", "SBL12345", "https://check.spamhaus.org/", "Much mail"):
        assert part in text

    zone.failing[query(ZEN, V4)] = dnslib.RCODE.SERVFAIL  # cannot be told: the listing goes on
    assert await look(system, house) == 2
    del zone.failing[query(ZEN, V4)]
    del zone.held[query(ZEN, V4), "A"]
    assert await look(system, house) == 1
    assert [row["over"] for row in await alerts(system)] == [True, False]

    put(zone, query(ZEN, V4), "127.0.0.2")
    assert await look(system, house) == 2
    assert (await alerts(system))[-1]["subject"] == f"{V4} is on the block list Spamhaus ZEN again"
    row = await one(system, "SELECT times, cleared_at FROM listing WHERE subject = %s AND list = 'spamhaus-zen'", [V4])
    assert row == {"times": 2, "cleared_at": None}
    mails = "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'"
    assert (await one(system, mails))["n"] == 4  # two listings, one end, one return


async def test_what_is_no_longer_ours_is_forgotten_with_its_alert(
    house: Settings, system: Connection, dns: tuple[Zone, Settings]
):
    put(dns[0], query(ZEN, V4), "127.0.0.2")
    await look(system, house)
    await system.execute("DELETE FROM egress")
    assert await look(system, house) == 0
    assert [row["over"] for row in await alerts(system)] == [True]
    assert await rows(system, "SELECT 1 FROM listing WHERE workspace_id IS NULL") == []


async def test_a_resolver_that_is_away_ends_no_listing(house: Settings, system: Connection, monkeypatch: Any):
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    await keep(system, Subject("192.0.2.8"), ZEN, judge(ZEN, ["127.0.0.2"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        away = house.model_copy(update={"dns": [f"127.0.0.1:{silent.getsockname()[1]}"]})
        assert await asyncio.wait_for(look(system, away), 60) == 1
    assert [row["over"] for row in await alerts(system)] == [False]
