"""Lanes in the database: what the sender reads of them, caps, egresses that go, and what a claim costs."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from thurn.campaigns import snapshot as snapshots
from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection, connect
from thurn.delivery import egress
from thurn.delivery.board import Board
from thurn.delivery.claims import Lane, begin_life, claim, open_lanes
from thurn.delivery.claims import Lane as Waiting
from thurn.delivery.fold import fold
from thurn.delivery.lanes import Table, drained
from thurn.delivery.outcomes import Outcome, append
from thurn.relays import service as relays
from thurn.secrets import Secrets
from thurn.settings import Settings, allocate_ports
from thurn.stack import keeper, out_lanes
from thurn.stack.files import place
from thurn.stack.out_plan import PLAN
from thurn.stack.postfix_out import TRANSPORTS
from thurn.stack.prepare import directories

MakeCampaign = Callable[..., Awaitable[int]]
BOTH = frozenset({"e1", "e2"})


async def second(system: Connection, *, pool: bool = True) -> int:
    row = await (
        await system.execute("INSERT INTO egress (name, bind4) VALUES ('e2', '127.0.0.2') RETURNING id")
    ).fetchone()
    assert row is not None
    if pool:
        await system.execute("INSERT INTO pool_egress (pool_id, egress_id) SELECT id, %s FROM pool", [row["id"]])
    return int(row["id"])


async def look(system: Connection, board: Board | None = None) -> Board:
    board = board or Board()
    await board.read(system, "main", BOTH)
    return board


async def test_the_board_knows_limits_pace_and_caps_of_each_lane(clean: Settings, system: Connection) -> None:
    two = await second(system)
    await system.execute(
        """INSERT INTO provider_limit (egress_id, provider, connections, rate_per_minute) VALUES
             (NULL, 'google', 3, 600), (%(two)s, 'google', NULL, 60), (%(two)s, 'nobody', 1, 1)""",
        {"two": two},
    )
    await system.execute(
        """INSERT INTO pace (egress_id, provider, factor, suspended_until) VALUES
             (1, 'google', 0.5, NULL), (1, 'yahoo', 1, now() + interval '1 hour'),
             (1, 'apple', 1, now() - interval '1 s'), (1, 'gmx', 1, 'infinity'), (%s, 'yahoo', 0, NULL),
             (1, 'nobody', 0, NULL)""",
        [two],
    )
    await system.execute(
        """INSERT INTO day_cap (egress_id, provider, day, cap, sent) VALUES
             (1, 'google', (now() AT TIME ZONE 'UTC')::date, 100, 40),
             (1, 'yahoo', (now() AT TIME ZONE 'UTC')::date, 10, 12),
             (1, 'apple', (now() AT TIME ZONE 'UTC')::date - 1, 10, 0)"""
    )
    board = await look(system)
    assert board.names == {1: "e1", two: "e2"}
    google = board.lanes[1, "google"]
    assert (google.rate, google.factor, google.pace, google.cap_left) == (600, 0.5, 300, 60)
    assert (board.lanes[two, "google"].rate, board.lanes[two, "google"].nominal) == (60, 180)
    assert board.lanes[1, "yahoo"].cap_left == 0
    assert board.lanes[1, "apple"].cap_left is None
    assert board.suspended == {("e1", "yahoo"), ("e1", "gmx"), ("e2", "yahoo")}


async def test_only_open_and_loaded_egresses_of_this_node_take_mail(clean: Settings, system: Connection) -> None:
    two = await second(system)
    board = Board()
    await board.read(system, "main", frozenset({"e1"}))
    assert board.names == {1: "e1"}, "Postfix does not know it yet"
    await system.execute("UPDATE egress SET enabled = false WHERE id = 1")
    assert (await look(system)).names == {two: "e2"}
    await system.execute("UPDATE egress SET removed_at = now() WHERE id = %s", [two])
    assert (await look(system)).names == {}
    await board.read(system, "elsewhere", BOTH)
    assert board.names == {}


async def test_the_first_sender_takes_the_first_egress_whatever_its_node_is_called(
    clean: Settings, system: Connection
) -> None:
    await begin_life(system, "mail1")
    await begin_life(system, "mail2")
    row = await (await system.execute("SELECT node FROM egress")).fetchone()
    assert row == {"node": "mail1"}


async def test_rules_choose_the_pool_of_a_campaign(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    two = await second(system, pool=False)
    campaign = await make_campaign(1)
    await system.execute("INSERT INTO pool (name) VALUES ('fine')")
    await system.execute("INSERT INTO pool_egress SELECT id, %s, 100 FROM pool WHERE name = 'fine'", [two])
    await system.execute(
        "INSERT INTO pool_rule (stream, campaign_id, pool_id) SELECT 'marketing', %s, id FROM pool WHERE name = 'fine'",
        [campaign],
    )
    board = await look(system)
    assert board.pool(Waiting(1, campaign, "google")) == ((two, 100),)
    assert board.pool(Waiting(1, campaign + 1, "google")) == ((1, 100),)


async def test_the_next_rank_takes_mail_only_while_none_of_the_first_can(clean: Settings, system: Connection) -> None:
    two = await second(system, pool=False)
    await system.execute(
        "INSERT INTO pool_egress SELECT id, %s, 100, 3 FROM pool WHERE name = 'default'", [two]
    )  # fmt: skip
    anybody = Waiting(1, 1, "google")
    assert (await look(system)).pool(anybody) == ((1, 100),)
    for hold, lift in (
        ("INSERT INTO pace (egress_id, provider, suspended_until) VALUES (1, 'google', 'infinity')",
         "DELETE FROM pace"),
        ("INSERT INTO day_cap SELECT 1, 'google', (now() AT TIME ZONE 'UTC')::date, 0", "DELETE FROM day_cap"),
        ("UPDATE egress SET enabled = false WHERE id = 1", "UPDATE egress SET enabled = true"),
    ):  # fmt: skip
        await system.execute(hold)  # type: ignore[arg-type]
        assert (await look(system)).pool(anybody) == ((two, 100),), hold
        await system.execute(lift)  # type: ignore[arg-type]
    assert (await look(system)).pool(anybody) == ((1, 100),)


async def test_a_broken_relay_takes_nothing_and_its_pool_goes_on(clean: Settings, system: Connection) -> None:
    number = await relays.add(system, relays.Relay("a.example"), settings=clean, use="first")
    usable = frozenset({"e1", "r1"})
    board = Board()
    await board.read(system, "main", usable)
    assert board.pool(Waiting(1, 1, "google")) == ((number, 100),)
    await system.execute("UPDATE relay SET broken_until = now() - interval '1 minute'")
    await board.read(system, "main", usable)
    assert board.pool(Waiting(1, 1, "google")) == ((1, 100),), "over time it is due for a try, not closed"
    assert board.instead == {"r1": "e1"}
    assert board.suspended == frozenset()
    await system.execute("DELETE FROM pool_egress WHERE egress_id = 1")
    await board.read(system, "main", usable)
    assert board.pool(Waiting(1, 1, "google")) == ()
    assert ("r1", "google") in board.suspended, "nobody else is there: it waits"


async def test_what_postfix_holds_moves_only_to_an_address_that_may_carry_all_of_it(
    clean: Settings, system: Connection
) -> None:
    await second(system)
    await system.execute(
        """INSERT INTO pace (egress_id, provider, suspended_until, moves) VALUES
              (1, 'google', 'infinity', true), (1, 'gmx', 'infinity', false), (1, 'yahoo', now(), true),
              (1, 'nobody', 'infinity', true)"""
    )
    moved = {("e1", "google"): "e2"}
    assert (await look(system)).moved == moved
    suspend = """INSERT INTO pace (egress_id, provider, suspended_until)
                 SELECT id, 'google', 'infinity' FROM egress WHERE id <> 1"""
    theirs = """WITH p AS (INSERT INTO pool (name) VALUES ('theirs') RETURNING id)
                INSERT INTO pool_egress (pool_id, egress_id) SELECT id, 1 FROM p"""
    for hinder, unhinder in (
        (suspend, "DELETE FROM pace WHERE egress_id <> 1"),
        ("INSERT INTO day_cap (egress_id, provider, day, cap) SELECT id, 'google', day, 9 FROM egress, sending_day()",
         "DELETE FROM day_cap"),
        (theirs, "DELETE FROM pool WHERE name = 'theirs'"),
        ("UPDATE egress SET enabled = false WHERE id <> 1", "UPDATE egress SET enabled = true"),
        ("DELETE FROM pool_egress WHERE egress_id <> 1",
         "INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e WHERE e.id <> 1"),
    ):  # fmt: skip
        await system.execute(hinder)  # type: ignore[arg-type]
        board = await look(system)
        assert board.moved == {}, hinder
        assert ("e1", "google") in board.suspended, "it waits"
        await system.execute(unhinder)  # type: ignore[arg-type]
        assert (await look(system)).moved == moved, unhinder


def test_the_table_asks_for_a_try_when_mail_moves(tmp_path: Path) -> None:
    (tmp_path / TRANSPORTS).parent.mkdir(parents=True)
    settings = Settings(state=tmp_path, simulate=True)
    allocate_ports(settings)
    table = Table(settings)
    assert table.write([("e1", "google")]) == []
    assert table.write([("e1", "google")], moved={("e1", "google"): "e1"}) == ["google"]
    assert table.write([("e1", "google")], moved={("e1", "google"): "e1"}) == []
    assert table.write([("e1", "google")]) == [], "back, and waits"


async def test_a_domains_mail_goes_by_its_relay(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    await system.execute(
        "INSERT INTO domain (workspace_id, name, bounce_host) VALUES (1, 'brotzeit.example', 'b.brotzeit.example')"
    )
    number = await relays.add(
        system, relays.Relay("a.example"), settings=clean, use="domain", domain="brotzeit.example"
    )  # fmt: skip
    campaign = await make_campaign(3)
    await snapshot(system, campaign, clean)
    await system.execute("UPDATE campaign SET from_address = 'A@Brotzeit.example' WHERE id = %s", [campaign])
    board = Board()
    await board.read(system, "main", frozenset({"e1", "r1"}))
    (lane, *_) = await open_lanes(system)
    assert board.pool(lane) == ((number, 100),)
    await system.execute("UPDATE campaign SET from_address = 'a@other.example' WHERE id = %s", [campaign])
    (lane, *_) = await open_lanes(system)
    assert board.pool(lane) == ((1, 100),)


async def test_what_is_on_its_way_is_counted_by_lane(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    two = await second(system)
    campaign = await make_campaign(6)
    await snapshot(system, campaign, clean)
    life = await begin_life(system, "main")
    mine = [
        *await claim(system, Lane(1, campaign, "other"), life, 2, 1),
        *await claim(system, Lane(1, campaign, "other"), life, 4, two),
    ]
    assert [c.egress for c in mine] == [1, 1, two, two, two, two]
    now = datetime.now(UTC)
    await append(system, [Outcome(campaign, c.delivery, "handed_over", now, c.attempt) for c in mine])
    await append(
        system,
        [
            Outcome(campaign, mine[2].delivery, "delivered", now, source="log"),
            Outcome(campaign, mine[3].delivery, "deferred", now, source="log", reply="451 later"),
            Outcome(campaign, mine[4].delivery, "bounced", now, hard=True, source="log", reply="550 no"),
        ],
    )
    await fold(system)
    board = await look(system)
    assert (board.lanes[1, "other"].in_flight, board.lanes[two, "other"].in_flight) == (2, 1)
    await append(system, [Outcome(campaign, c.delivery, "delivered", now, source="log") for c in mine])
    await fold(system)
    board = await look(system, board)
    assert board.lanes[two, "other"].in_flight == 0
    assert board.lanes[two, "other"].answered > 0


async def test_no_more_than_the_cap_of_the_day_is_claimed_however_many_try(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(40)
    await snapshot(system, campaign, clean)
    await system.execute("UPDATE contact SET unsubscribed_at = now() WHERE email LIKE 'r1_.%%'")
    await system.execute(
        "INSERT INTO day_cap (egress_id, provider, day, cap) VALUES (1, 'other', (now() AT TIME ZONE 'UTC')::date, 15)"
    )

    async def take(life: int) -> int:
        async with await connect(clean, "system", autocommit=True) as db:
            return sum([len(await claim(db, Lane(1, campaign, "other"), life, 4)) for _ in range(8)])

    lives = [await begin_life(system, "main") for _ in range(3)]
    assert sum(await asyncio.gather(*map(take, lives))) == 15
    row = await (await system.execute("SELECT sent FROM day_cap")).fetchone()
    assert row == {"sent": 15}, "who was left out does not count"


async def test_a_removed_egress_goes_when_nothing_of_it_is_on_its_way(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    two = await second(system)
    campaign = await make_campaign(2)
    await snapshot(system, campaign, clean)
    mine = await claim(system, Lane(1, campaign, "other"), await begin_life(system, "main"), 2, two)
    assert await drained(system) == []
    await system.execute("UPDATE egress SET removed_at = now() WHERE id = %s", [two])
    assert await drained(system) == [], "a claim may be under way"
    await system.execute("UPDATE egress SET removed_at = now() - interval '1 minute' WHERE id = %s", [two])
    assert await drained(system) == [], "leased"
    now = datetime.now(UTC)
    for kind in ("handed_over", "deferred"):
        await append(system, [Outcome(campaign, c.delivery, kind, now, c.attempt, source="log") for c in mine])
        await fold(system)
        assert await drained(system) == [], kind
    await append(system, [Outcome(campaign, c.delivery, "delivered", now, source="log") for c in mine])
    await fold(system)
    assert await drained(system) == ["e2"]
    assert (await look(system)).names == {1: "e1"}


def test_the_table_is_swapped_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / TRANSPORTS
    path.parent.mkdir(parents=True)
    settings = Settings(state=tmp_path, simulate=True)
    allocate_ports(settings)
    table = Table(settings)
    assert table.usable() == {"e1"}
    table.write(frozenset())
    before = path.stat().st_ino
    table.write(frozenset())
    assert path.stat().st_ino == before
    table.write(frozenset({("e1", "google")}))
    assert "retry:4.7.0 suspended by Thurn: e1 at google" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    path.unlink()
    path.mkdir()
    table.write(frozenset())  # cannot be written: said in the log, tried again
    path.rmdir()
    table.write(frozenset())
    assert "suspended" not in path.read_text()


def test_keeper_looks_soon_after_the_table_was_swapped(tmp_path: Path) -> None:
    table = tmp_path / "transports"
    before = keeper.changed_at(table)
    (writing := threading.Timer(0.1, lambda: table.write_text("x"))).start()
    began = time.monotonic()
    keeper.wait(table, before, 600)
    assert time.monotonic() - began < 60
    writing.join()  # it makes the file, and then writes into it
    began = time.monotonic()
    keeper.wait(table, keeper.changed_at(table), 0.3)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(("found", "provider"), [(["mx.l.google.com"], "google"), ([], "yahoo")])
async def test_a_domain_is_asked_for_again_when_its_answer_is_old(
    clean: Settings,
    system: Connection,
    make_campaign: MakeCampaign,
    monkeypatch: pytest.MonkeyPatch,
    found: list[str],
    provider: str,
) -> None:
    asked: list[str] = []

    async def answer(resolver: object, domains: list[str]) -> dict[str, list[str]]:
        asked.extend(domains)
        return dict.fromkeys(domains, found)

    monkeypatch.setattr(snapshots, "mx_of_all", answer)
    await system.execute(
        """INSERT INTO provider_domain (domain, provider, expires_at) VALUES
             ('old.example', 'yahoo', now() - interval '1 s'), ('fresh.example', 'yahoo', now() + interval '1 h')"""
    )
    for domain in ("old.example", "fresh.example"):
        await snapshot(system, await make_campaign(1, domain=domain), clean)
    assert asked == ["old.example"]
    rows = await (await system.execute("SELECT provider FROM delivery ORDER BY id")).fetchall()
    assert [row["provider"] for row in rows] == [provider, "yahoo"], "no answer: it stays where it was"
    row = await (
        await system.execute("SELECT expires_at - now() AS left FROM provider_domain WHERE domain = 'old.example'")
    ).fetchone()
    assert row is not None
    assert (row["left"].days >= 6) == bool(found)


async def test_keeper_writes_the_table_for_a_new_egress_before_it_says_that_postfix_has_it(
    clean: Settings, system: Connection
) -> None:
    """A regular expression is not read again by itself: mail of the new one would leave by the first one."""
    for name in ("guard", "redis", "rspamd"):
        Secrets(clean.state).ensure(name)
    place(clean.state, directories())
    (clean.state / PLAN).unlink(missing_ok=True)
    path = clean.state / TRANSPORTS
    table = Table(clean)
    table.usable()
    table.write(frozenset({("e1", "google")}))
    await egress.add(system, clean, name="e2", bind4="127.0.0.2", helo="out2.brotzeit.example", pool="default")
    kept = {name: each for name, each in keeper.sources().items() if name in out_lanes.KEPT}
    done = await asyncio.to_thread(keeper.step, clean, kept)
    assert {"out/etc/main.cf", "out/etc/master.cf"} <= done
    text = path.read_text()
    assert text.startswith(r"/^b\.e1\.google\."), "what is suspended stays so"
    assert r"if /^b\.e2\./" in text
    assert (clean.state / "out/etc/transports-read").read_text() == text
    assert table.usable() == BOTH
    table.write(frozenset({("e1", "google")}))
    assert path.read_text() == text, "the sender says the same"
    assert await asyncio.to_thread(keeper.step, clean, kept) == set()
    table.write(frozenset())
    assert await asyncio.to_thread(keeper.step, clean, kept) == {"out/etc/transports-read"}
    (clean.state / PLAN).unlink()
    path.unlink()
