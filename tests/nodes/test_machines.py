"""Machines in the database: what each may take, and how one is let go or given up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from tests.nodes.conftest import keeper, number
from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection, connect, conninfo
from thurn.db.fetch import maybe, one, rows
from thurn.delivery import egress
from thurn.delivery.claims import Claim, Lane, begin_life, claim
from thurn.delivery.egress_check import look
from thurn.delivery.fold import fold
from thurn.delivery.ledger import Entry, Fact, advance
from thurn.delivery.outcomes import Outcome, append
from thurn.nodes import gate, service
from thurn.nodes.fence import AWAY, FENCED, Fence
from thurn.nodes.jobs import watch
from thurn.nodes.token import Token
from thurn.nodes.watch import Watch, let_go
from thurn.problems import Conflict, Invalid
from thurn.settings import Settings
from thurn.stack import control
from thurn.stack.control import RoleStatus, StackError
from thurn.stack.supervision import Process, Supervisor

MakeCampaign = Callable[..., Awaitable[int]]


async def take(settings: Settings, campaign: int, n: int, egress: int) -> list[Claim]:
    async with await connect(settings, "system", autocommit=True) as db:
        life = await begin_life(db, settings.node, first=not settings.joined)
        return await claim(db, Lane(1, campaign, "other"), life, n, egress)


async def states(system: Connection, campaign: int) -> dict[str, int]:
    found = await rows(
        system, "SELECT state::text AS state, count(*) AS n FROM delivery WHERE campaign_id = %s GROUP BY 1", [campaign]
    )
    return {row["state"]: row["n"] for row in found}


async def test_two_machines_that_claim_at_once_never_get_the_same(
    clean: Settings, system: Connection, joined: Settings, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(200)
    await snapshot(system, campaign, clean)
    two = await number(system, "n2")
    both = asyncio.Barrier(2)

    async def all_of(settings: Settings, egress: int) -> list[int]:
        mine: list[int] = []
        async with await connect(settings, "system", autocommit=True) as db:
            life = await begin_life(db, settings.node, first=not settings.joined)
            await both.wait()
            while claims := await claim(db, Lane(1, campaign, "other"), life, 7, egress):
                mine += [each.delivery for each in claims]
                await append(
                    db,
                    [Outcome(campaign, c.delivery, "handed_over", datetime.now(UTC), c.attempt) for c in claims],
                )
        return mine

    first, second = await asyncio.gather(all_of(clean, 1), all_of(joined, two))
    assert first
    assert second
    assert len(first) + len(second) == len({*first, *second}) == 200
    while await fold(system):
        pass
    assert await states(system, campaign) == {"handed_over": 200}
    lanes = await rows(system, "SELECT egress_id, n FROM lane_tally WHERE measure = 'handed_over'", [])
    assert {row["egress_id"]: row["n"] for row in lanes} == {1: len(first), two: len(second)}


async def test_a_claim_of_a_further_machine_uses_the_index_too(
    clean: Settings, system: Connection, joined: Settings, make_campaign: MakeCampaign, analyze: Callable[[str], None]
) -> None:
    campaign = await make_campaign(3000)
    await snapshot(system, campaign, clean)
    analyze("delivery")
    async with await connect(joined, "system", autocommit=True) as db:
        plan = await rows(
            db,
            """EXPLAIN SELECT id FROM delivery WHERE campaign_id = %s AND provider = 'other' AND state = 'queued'
               AND send_at <= now() ORDER BY send_at, id LIMIT 10 FOR UPDATE SKIP LOCKED""",
            [campaign],
        )
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "delivery_claim" in text or "_campaign_id_provider_send_at_id_idx" in text, text
    assert "Sort" not in text, text


async def test_what_is_given_up_is_unknown_and_the_machine_takes_nothing_from_that_moment(
    clean: Settings, system: Connection, joined: Settings, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(10)
    await snapshot(system, campaign, clean)
    claims = await take(joined, campaign, 5, await number(system, "n2"))
    now = datetime.now(UTC)
    handed, deferred, delivered, seen, leased = [c.delivery for c in claims]
    await append(system, [Outcome(campaign, d, "handed_over", now, 1) for d in (handed, deferred, delivered)])
    await append(system, [Outcome(campaign, deferred, "deferred", now), Outcome(campaign, delivered, "delivered", now)])
    await fold(system)
    await append(system, [Outcome(campaign, seen, "handed_over", now, 1)])  # told, and not folded yet
    was = {row["delivery_id"]: row["was"] for row in await service.people(system, "two")}
    assert was == {handed: "handed_over", deferred: "deferred", seen: "handed_over", leased: "leased"}
    with pytest.raises(Conflict, match="may still be sending"):
        await service.lose(system, clean, "two", confirm="two")
    await system.execute("UPDATE node SET seen_at = now() - interval '12 minutes' WHERE name = 'two'")
    for wrong in ("", "Two", "two "):
        with pytest.raises(Invalid, match="Type two"):
            await service.lose(system, clean, "two", confirm=wrong)
    assert await service.lose(system, clean, "two", confirm="two", again=True) == 4
    with pytest.raises(Conflict, match="given up"):
        await service.lose(system, clean, "two", confirm="two")
    # Before anybody has taken its right to sign in away:
    assert await take(joined, campaign, 5, 1) == []
    await fold(system)
    assert await states(system, campaign) == {"delivered": 1, "unknown": 3, "queued": 6}
    assert {(r["delivery_id"], r["was"], r["again"], r["state"]) for r in await service.people(system, "two")} == {
        (handed, "handed_over", False, "unknown"), (deferred, "deferred", False, "unknown"),
        (seen, "handed_over", False, "unknown"), (leased, "leased", True, "queued"),
    }  # fmt: skip
    assert "no longer belongs" in gate.refusal(joined)
    keeper(clean).look()
    assert "no longer belongs" in gate.refusal(joined)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(conninfo(joined, "system"))
    assert await maybe(system, "SELECT FROM egress WHERE node = 'two' AND enabled", []) is None
    # Its last words, which were on their way, are still heard.
    await append(system, [Outcome(campaign, handed, "delivered", now, source="log")])
    await fold(system)
    assert (await states(system, campaign))["delivered"] == 2


def test_a_lease_becomes_unknown_only_by_its_own_attempt() -> None:
    leased = Entry("leased", attempt=2)
    assert advance(leased, Fact("lost", datetime.now(UTC))) is None
    assert advance(leased, Fact("lost", datetime.now(UTC), attempt=1)) is None
    change = advance(leased, Fact("lost", datetime.now(UTC), attempt=2))
    assert change is not None
    assert change.entry.state == "unknown"
    assert change.tallies == {"handed_over": 1, "unknown": 1}, "nothing of its lane is on its way any more"
    back = advance(replace(change.entry), Fact("delivered", datetime.now(UTC)))
    assert back is not None
    assert back.tallies == {"unknown": -1, "delivered": 1}


async def test_operators_hear_of_a_silent_machine_and_when_it_is_back(system: Connection, joined: Settings) -> None:
    async def open_alerts() -> list[str]:
        found = await rows(system, "SELECT key, text FROM alert WHERE cleared_at IS NULL ORDER BY key", [])
        return [f"{row['key']} {row['text']}" for row in found]

    await watch(system)
    assert await open_alerts() == []
    assert not (await service.get(system, "two"))["silent"]
    await system.execute("UPDATE node SET seen_at = now() - interval '20 seconds' WHERE name = 'two'")
    assert (await service.get(system, "two"))["silent"], "its part is taken over"
    await watch(system)
    assert await open_alerts() == [], "most are back before anybody has read it"
    await system.execute("UPDATE node SET seen_at = now() - interval '3 minutes' WHERE name = 'two'")
    await watch(system)
    await watch(system)
    (alert,) = await open_alerts()
    assert alert.startswith("node:two Nothing has been heard of it since")
    await system.execute("UPDATE node SET seen_at = now(), trouble = 'The role out does not run.' WHERE name = 'two'")
    await watch(system)
    (alert,) = await open_alerts()
    assert alert.startswith("node-unable:two The role out does not run.")
    await system.execute("UPDATE node SET trouble = '' WHERE name = 'two'")
    await watch(system)
    assert await open_alerts() == []


async def test_a_machine_leaves_when_nothing_of_it_is_on_its_way(
    clean: Settings, system: Connection, joined: Settings, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(2)
    await snapshot(system, campaign, clean)
    (mine,) = await take(joined, campaign, 1, await number(system, "n2"))
    await system.execute("INSERT INTO pool (name) VALUES ('only')")
    await system.execute(
        """INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e
           WHERE p.name = 'only' AND e.name = 'n2'"""
    )
    await system.execute("INSERT INTO pool_rule (stream, pool_id) SELECT 'marketing', id FROM pool WHERE name = 'only'")
    with pytest.raises(Conflict, match="pool “only”"):
        await service.remove(system, clean, "two")
    await system.execute("DELETE FROM pool_rule")
    with pytest.raises(Conflict, match="It stays"):
        await service.remove(system, clean, "main")
    row = await service.remove(system, clean, "two")
    assert row is not None
    assert row["state"] == "leaving"

    def go() -> list[str]:
        with psycopg.connect(conninfo(clean, "system"), autocommit=True) as db:
            return let_go(db)

    assert go() == [], "its address is still there"
    await system.execute("DELETE FROM egress WHERE name = 'n2'")
    assert go() == [], "one is claimed"
    await append(system, [Outcome(campaign, mine.delivery, "delivered", datetime.now(UTC), 1)])
    await fold(system)
    assert go() == ["two"]
    keeper(clean).look()
    assert "no longer belongs" in gate.refusal(joined)
    with pytest.raises(Conflict, match="no machine had"):
        await service.add(system, clean.model_copy(update={"database_listen": "127.0.0.1"}), "two")


async def test_an_address_belongs_to_a_machine_that_is_here(
    clean: Settings, system: Connection, joined: Settings
) -> None:
    with pytest.raises(Invalid, match="no sending machine"):
        await egress.add(system, clean, name="x", bind4="127.0.0.3", node="nobody\0")
    await egress.add(system, clean, name="x", bind4="127.0.0.3", node="two")
    row = await egress.get(system, "x")
    assert row["node"] == "two"
    await system.execute("UPDATE node SET missing = '{127.0.0.3}', hostname = 'two.example' WHERE name = 'two'")
    row = await egress.get(system, "x")
    assert (await look(row, clean))[0].what == (
        "The sending machine two does not have the address 127.0.0.3. Mail waits until it does."
    )
    # The last address of a further machine may go: others carry the mail.
    await egress.remove(system, "x", now=True)
    await egress.remove(system, "n2", now=True)
    with pytest.raises(Conflict, match="only sending address"):
        await egress.remove(system, "e1")


async def test_another_version_does_not_start(
    system: Connection, joined: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate.refusal(joined) == ""
    monkeypatch.setattr(gate, "newest", lambda: "9999")
    assert "another version" in gate.refusal(joined)
    monkeypatch.setattr(gate, "_PATIENCE", 0.0)
    away = joined.model_copy(update={"database_url": "host=127.0.0.1 port=1 dbname=none"})
    assert "cannot be reached" in gate.refusal(away)


async def test_postfix_stops_when_the_database_is_long_away_or_says_no(
    clean: Settings, system: Connection, joined: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Supervisor, "processes", lambda *_: {"out": Process("running", 1, None)})
    monkeypatch.setattr(Supervisor, "stop", lambda *given: calls.append(f"stop {given[-1]}"))
    monkeypatch.setattr(Supervisor, "start", lambda *given: calls.append(f"start {given[-1]}"))
    machine = Watch(joined)
    fence = machine._fence
    assert fence is not None
    machine.look()
    fence.look()
    assert calls == []
    row = await one(system, "SELECT able, trouble, hostname FROM node WHERE name = 'two'")
    assert row == {"able": False, "trouble": "The role sender does not run.", "hostname": "two.example"}
    cut = joined.model_copy(update={"database_url": "host=127.0.0.1 port=1 dbname=none"})
    machine._settings = cut
    with pytest.raises(psycopg.OperationalError):
        machine.look()
    fence.look()
    assert calls == [], "not at once"
    fence._reached -= cut.node_patience + 1
    fence.look()  # nobody waits for a `look` that hangs
    assert calls == ["stop out"]
    # A keeper that starts anew remembers, whatever its own clock says, and has the other's work undone.
    (joined.state / "run" / "ctl" / "contact").write_text("1.0")
    another = Watch(cut)
    assert another._fence is not None
    another._fence.look()
    assert calls == ["stop out", "stop out"]
    another._settings = joined
    another.look()
    another.look()
    assert calls == ["stop out", "stop out", "start out"]
    machine._settings = joined
    machine.look()
    assert calls[3:] == [], "it is not started again and again"
    await system.execute("UPDATE node SET state = 'lost' WHERE name = 'two'")
    machine.look()
    assert calls[3:] == ["stop out"]


def test_what_an_answer_that_came_late_says_is_as_old_as_the_question(
    joined: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine counts from when it heard of us; the answer may have hung behind a cable for a while."""
    fence = Fence(joined.state, 10)
    calls: list[str] = []
    monkeypatch.setattr(Supervisor, "processes", lambda *_: {"out": Process("running", 1, None)})
    monkeypatch.setattr(Supervisor, "stop", lambda *given: calls.append(f"stop {given[-1]}"))
    wall, monotonic = fence.asked()
    fence.reached((wall, monotonic - 11))
    fence.look()
    assert calls == ["stop out"]


def test_a_token_proves_and_seals_and_nothing_else_does() -> None:
    token, other = Token.fresh(), Token.fresh()
    assert not any(str(Token.fresh()).startswith("-") for _ in range(1000)), "typed, it would be an option"
    said = {"id": token.id, "nonce": "n"}
    assert Token(f" {token}\n").proof(said) == token.proof(said)
    assert other.proof(said) != token.proof(said) != token.proof({**said, "nonce": "m"})
    sealed = token.seal({"password": "geheim"}, "n")
    changed = ("B" if sealed[0] == "A" else "A") + sealed[1:]
    assert token.unseal(sealed, "n") == {"password": "geheim"}
    assert "geheim" not in sealed
    for which, text, nonce in ((other, sealed, "n"), (token, sealed, "m"), (token, changed, "n"),
                               (token, "", "n"), (token, "!", "n"), (token, "é", "n")):  # fmt: skip
        with pytest.raises(ValueError, match="not an answer"):
            which.unseal(text, nonce)
    for text in ("", "a.b", f"{token}x", f"{token.id}.", "../../etc.passwd", "\0"):
        with pytest.raises(ValueError, match="not a token"):
            Token(text)


def test_whoever_starts_a_machine_that_may_not_send_yet_waits_for_it_or_is_told_why(
    joined: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back after a while, its keeper stops `out` until it has reached the database."""
    mark = joined.state / FENCED
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(AWAY)
    monkeypatch.setattr(
        control, "role_status", lambda _, __, found: RoleStatus(found, "ok" if found.state == "running" else "-")
    )
    states = ["stopped", "stopped", "starting", "running"]

    def processes(_: Supervisor) -> dict[str, Process]:
        if states[0] == "starting":
            mark.unlink()
        return {"out": Process(states.pop(0), 1, None)}

    monkeypatch.setattr(Supervisor, "processes", processes)
    control.wait_until_healthy(joined, Supervisor(joined.state), ["out"])
    assert states == []

    mark.write_text(AWAY)
    monkeypatch.setattr(control, "_PATIENCE", 0.3)
    monkeypatch.setattr(Supervisor, "processes", lambda _: {"out": Process("stopped", 0, None)})
    with pytest.raises(StackError, match="sends nothing, so “out” is kept stopped: the database cannot be reached"):
        control.wait_until_healthy(joined, Supervisor(joined.state), ["out"])
    mark.unlink()
    with pytest.raises(StackError, match="does not come up"):
        control.wait_until_healthy(joined, Supervisor(joined.state), ["out"])
