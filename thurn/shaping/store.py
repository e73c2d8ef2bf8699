"""Shaping over the database: what was answered in, `pace` and alerts out. One step at a time, restartable at any point.

State, deeds and pace are written in one transaction under a lock, so a killed worker decides nothing twice: what it had
decided is in the state, or never happened.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from thurn.db.connect import Connection
from thurn.db.fetch import maybe, rows
from thurn.shaping import telling
from thurn.shaping.decide import FOREVER, Answers, Deed, State, decide, elsewhere
from thurn.shaping.rules import Rule, built_in, rule_of

Pair = tuple[int, str]  # egress id, provider

_LOCK = 0x7468_7368  # "thsh": one decision at a time
MOMENTS = ("until", "since", "changed_at", "deaf_until", "floor_since", "hold_until")
_KEPT = timedelta(hours=25)  # answers; a rule's period is a day at most


def to_json(state: State) -> dict[str, Any]:
    """A state as it is stored."""
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(state).items() if v is not None}


def of_json(stored: dict[str, Any]) -> State:
    """The state that was stored."""
    read: dict[str, Any] = {k: datetime.fromisoformat(v) if k in MOMENTS else v for k, v in stored.items()}
    return State(**read)


async def active_rules(db: Connection) -> list[Rule]:
    """Every rule that is to be used, in the order of asking: the operators' own, then ours; none that is off."""
    off = {row["name"] for row in await rows(db, "SELECT name FROM shaping_rule_off")}
    own = await rows(db, "SELECT * FROM shaping_rule ORDER BY name LIMIT 500")
    every = [*(rule_of(row, own=True) for row in own), *built_in()]
    return [rule for rule in every if rule.name not in off]


async def step(db: Connection) -> int:
    """Look at what was answered, decide, write it down; returns how many decisions were made."""
    async with db.transaction():
        locked = await maybe(db, "SELECT pg_try_advisory_xact_lock(%s) AS ok", [_LOCK])
        if not locked or not locked["ok"]:
            return 0
        now = datetime.now(UTC)
        if not await _restless(db, now):
            return 0
        return await _decide_all(db, now)


async def _restless(db: Connection, now: datetime) -> bool:
    """Whether anything could be decided: trouble was heard lately, or a pace is not normal. Two index probes."""
    row = await maybe(
        db,
        """SELECT EXISTS (SELECT FROM provider_answer WHERE at > %s AND outcome <> 'delivered')
               OR EXISTS (SELECT FROM pace WHERE state <> 'normal') AS it""",
        [now - timedelta(seconds=90)],
    )
    return bool(row and row["it"])


async def _decide_all(db: Connection, now: datetime) -> int:
    rules = await active_rules(db)
    longest = max((rule.period for rule in rules), default=1)
    heard = await _heard(db, now - timedelta(minutes=max(longest, 2)))
    states = await states_of(db)
    fired = await _fired(db, now - timedelta(minutes=longest))
    changed: dict[Pair, State] = {}
    done: list[tuple[Pair, Deed]] = []
    for pair in sorted({*heard, *states}):
        before = states.get(pair, State())
        after, deeds = decide(before, heard.get(pair, ()), rules, fired.get(pair, {}), now, pair[1])
        if after != before:
            changed[pair] = after
        done += [(pair, deed) for deed in deeds]
    egresses = [row["id"] for row in await rows(db, "SELECT id FROM egress ORDER BY id")]
    for (egress, provider), deed in done:
        if deed.everywhere:
            source = changed[egress, provider]
            for other in egresses:
                state = changed.get((other, provider)) or states.get((other, provider), State())
                if other != egress and (after := elsewhere(state, source, now)) is not state:
                    changed[other, provider] = after
    await save(db, changed)
    await note(db, done)
    await telling.tell(db, states, changed)
    return len(done)


async def _heard(db: Connection, since: datetime) -> dict[Pair, list[Answers]]:
    """Answers since then by pair. Deliveries are only counted, so they come by the minute when they are old."""
    found = await rows(
        db,
        """SELECT e.id, a.provider, a.domain, a.outcome, a.category, a.wording,
                  max(a.reply) AS reply, sum(a.n)::int AS n,
                  CASE WHEN a.outcome = 'delivered' AND a.at < now() - interval '3 minutes'
                       THEN date_trunc('minute', a.at) ELSE a.at END AS bucket
           FROM provider_answer a JOIN egress e ON e.name = a.egress
           WHERE a.at > %s GROUP BY 1, 2, 3, 4, 5, 6, bucket""",
        [since],
    )
    heard: dict[Pair, list[Answers]] = defaultdict(list)
    for r in found:
        heard[r["id"], r["provider"]].append(
            Answers(r["bucket"], r["outcome"], r["n"], r["category"], r["wording"], r["reply"], r["domain"])
        )
    return heard


async def states_of(db: Connection) -> dict[Pair, State]:
    """Every state that was ever stored; a pair without one is normal."""
    found = await rows(db, "SELECT egress_id, provider, state FROM shaping_state")
    return {(r["egress_id"], r["provider"]): of_json(r["state"]) for r in found}


async def _fired(db: Connection, since: datetime) -> dict[Pair, dict[str, datetime]]:
    found = await rows(
        db,
        """SELECT egress_id, provider, rule, max(at) AS at FROM shaping_deed WHERE at > %s GROUP BY 1, 2, 3""",
        [since],
    )
    fired: dict[Pair, dict[str, datetime]] = defaultdict(dict)
    for r in found:
        fired[r["egress_id"], r["provider"]][r["rule"]] = r["at"]
    return fired


async def save(db: Connection, changed: dict[Pair, State]) -> None:
    """Write states, and the paces that follow from them."""
    for (egress, provider), state in sorted(changed.items()):
        await db.execute(
            """INSERT INTO shaping_state (egress_id, provider, state) VALUES (%s, %s, %s)
               ON CONFLICT (egress_id, provider) DO UPDATE SET state = excluded.state, updated_at = now()""",
            [egress, provider, Jsonb(to_json(state))],
        )
        await db.execute(
            """INSERT INTO pace (egress_id, provider, factor, suspended_until, state, reason, evidence, since,
                               until, rule, moves)
               VALUES (%s, %s, %s, %s, %s, %s, %s, coalesce(%s, now()), %s, %s, %s)
               ON CONFLICT (egress_id, provider) DO UPDATE SET factor = excluded.factor,
                 suspended_until = excluded.suspended_until, state = excluded.state, reason = excluded.reason,
                 evidence = excluded.evidence, since = excluded.since, until = excluded.until, rule = excluded.rule,
                 moves = excluded.moves""",
            [
                egress, provider, state.factor, state.until, state.mode, state.reason, state.evidence[:2000],
                state.since, state.hold_until if state.mode == "slowed" else _finite(state.until), state.rule,
                state.moves,
            ],
        )  # fmt: skip


def _finite(until: datetime | None) -> datetime | None:
    return None if until == FOREVER else until


async def note(db: Connection, done: Iterable[tuple[Pair, Deed]], who: str = "") -> None:
    """Write down what was decided."""
    for (egress, provider), deed in done:
        await db.execute(
            """INSERT INTO shaping_deed (at, egress_id, provider, rule, action, until, n, of, evidence, who)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [deed.at, egress, provider, deed.rule, deed.action, _finite(deed.until), deed.n, deed.of,
             deed.evidence[:2000], who],
        )  # fmt: skip


async def tidy(db: Connection) -> int:
    """Forget answers that nobody asks for any more, and deeds after ninety days; called every few minutes."""
    await db.execute("DELETE FROM provider_answer WHERE at < %s", [datetime.now(UTC) - _KEPT])
    await db.execute("DELETE FROM shaping_deed WHERE at < now() - interval '90 days'")
    await db.execute("DELETE FROM give_up WHERE at < now() - interval '7 days'")
    return 0


async def in_lock(db: Connection) -> None:
    """Wait until no decision is under way; for those who change a state by hand, in their transaction."""
    await db.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
