"""Outcomes, folded into the ledger, the event log, the rollups and the suppressions: all in one transaction.

One fold runs at a time (advisory lock); it is the only writer of a delivery that has been leased. An outcome row is
deleted in the transaction that applies it, so a killed fold repeats nothing and skips nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from thurn.audience.barring import PATTERN_CATEGORIES, Reason
from thurn.audience.suppression import Found, soft_pattern, suppress
from thurn.db.connect import Connection, Row
from thurn.delivery.ledger import Change, Entry, Fact, advance
from thurn.shaping.decide import SLOWING

_LOCK = 0x7468_666F  # "thfo": one fold per database

# Outcomes in one go. With fewer there is time for more to come: those of one mail together change its row once.
AT_ONCE = 2000

Key = tuple[int, int]  # campaign, delivery

# What was taken before lies dead at the table's beginning until autovacuum comes by: only the index begins behind it.
_BEGIN = "SELECT pg_try_advisory_xact_lock(%s) AS ok, set_config('enable_seqscan', 'off', true)"
_TAKE = """
DELETE FROM outcome WHERE id = ANY(ARRAY(SELECT id FROM outcome ORDER BY id LIMIT %s))
RETURNING id, campaign_id, delivery_id, kind, at, attempt, category, hard, reply, queue_id, source, report_id
"""

# Keyed on both columns of the primary key, so that each row is one index probe in one partition. ARRAY(…) so that it is
# planned that way even before PostgreSQL knows how large the ledger has become: else each batch of a campaign's first
# minute reads the whole campaign.
_LOOK = """
SELECT d.campaign_id, d.id, d.workspace_id, d.contact_id, d.recipient, d.provider, d.state::text AS state, d.attempt,
       d.deferrals, d.handed_over_at, d.settled_at, d.category, d.hard, d.reply, d.complained, d.replied,
       coalesce(d.egress, 1) AS egress
FROM delivery d WHERE d.campaign_id = %s AND d.id = ANY(ARRAY(SELECT unnest(%s::bigint[]))) FOR UPDATE
"""

_WRITE = """
WITH n AS MATERIALIZED (
  SELECT * FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::text[],
                       %s::bool[], %s::text[], %s::bool[], %s::bool[], %s::int[])
    AS n (id, state, deferrals, handed_over_at, settled_at, category, hard, reply, complained, replied, delay)
)
UPDATE delivery d
SET state = n.state::delivery_state, deferrals = n.deferrals, handed_over_at = n.handed_over_at,
    settled_at = n.settled_at, category = n.category, hard = n.hard, reply = n.reply, complained = n.complained,
    replied = n.replied,
    lease = CASE WHEN n.state <> 'queued' THEN d.lease END,
    send_at = CASE WHEN n.state = 'queued' THEN now() + make_interval(secs => n.delay * (0.75 + random() / 2))
                   ELSE d.send_at END
FROM n WHERE d.campaign_id = %s AND d.id = ANY(ARRAY(SELECT n.id FROM n)) AND d.id = n.id
"""

# Not COPY, which PostgreSQL refuses on a table with row-level security.
_EVENTS = """
INSERT INTO event (at, workspace_id, campaign_id, delivery_id, contact_id, kind, detail)
SELECT * FROM unnest(%s::timestamptz[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::jsonb[])
"""

_TALLY = """
INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
SELECT * FROM unnest(%s::int[], %s::bigint[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (campaign_id, provider, measure) DO UPDATE SET n = campaign_tally.n + excluded.n
"""

# What pacing asks: how much of each lane is on its way.
_LANES = """
INSERT INTO lane_tally (campaign_id, egress_id, provider, measure, n)
SELECT * FROM unnest(%s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (campaign_id, egress_id, provider, measure) DO UPDATE SET n = lane_tally.n + excluded.n
"""
# How a day of a warm-up goes; nothing where none caps.
_WARMING = """
INSERT INTO warmup_day (egress_id, provider, day, delivered, bounced, put_off, complained)
SELECT w.egress_id, w.provider, (SELECT s.day FROM sending_day() s), n.delivered, n.bounced, n.put_off, n.complained
FROM unnest(%s::smallint[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[])
  AS n (egress_id, provider, delivered, bounced, put_off, complained)
JOIN warmup w ON w.egress_id = n.egress_id AND w.provider = n.provider AND w.state IN ('running', 'paused')
ORDER BY 1, 2
ON CONFLICT (egress_id, provider, day) DO UPDATE
SET delivered = warmup_day.delivered + excluded.delivered, bounced = warmup_day.bounced + excluded.bounced,
    put_off = warmup_day.put_off + excluded.put_off, complained = warmup_day.complained + excluded.complained
"""
_OF_DAYS = {"delivered": 0, "bounced_hard": 1, "deferred": 2, "complained": 3}
_OF_LANES = frozenset({"handed_over", "delivered", "deferred", "bounced_hard", "bounced_soft", "unknown"})


@dataclass(slots=True)
class _Batch:
    """What a batch of outcomes comes to, before it is written."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    tallies: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    lanes: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    days: dict[tuple[int, str], list[int]] = field(default_factory=dict)  # egress, provider -> as in _OF_DAYS
    events: list[tuple[Any, ...]] = field(default_factory=list)
    suppressions: list[Found] = field(default_factory=list)
    soft: dict[int, Found] = field(default_factory=dict)  # contact -> what it is suppressed for if it is a pattern


async def fold(db: Connection, limit: int = AT_ONCE) -> int:
    """Apply up to `limit` outcomes in id order and return how many were taken; 0 also if another fold is at work."""
    async with db.transaction():
        locked = await (await db.execute(_BEGIN, [_LOCK])).fetchone()
        if not locked or not locked["ok"]:
            return 0
        taken = await (await db.execute(_TAKE, [limit])).fetchall()
        if not taken:
            return 0
        taken.sort(key=lambda row: row["id"])
        rows = await _look(db, {(row["campaign_id"], row["delivery_id"]) for row in taken})
        await _write(db, apply(taken, rows))
    return len(taken)


async def _look(db: Connection, keys: Iterable[Key]) -> dict[Key, Row]:
    by_campaign: dict[int, list[int]] = {}
    for campaign, delivery in sorted(keys):
        by_campaign.setdefault(campaign, []).append(delivery)
    found: dict[Key, Row] = {}
    for campaign, deliveries in by_campaign.items():
        for row in await (await db.execute(_LOOK, [campaign, deliveries])).fetchall():
            found[campaign, row["id"]] = row
    return found


def apply(taken: list[Row], rows: dict[Key, Row]) -> _Batch:
    """Run outcomes through the ledger's rules; those of deliveries that no longer exist change nothing."""
    batch = _Batch()
    for outcome in taken:
        key = outcome["campaign_id"], outcome["delivery_id"]
        row = rows.get(key)
        if row is None:
            continue
        entry = batch.entries.get(key) or _entry(row)
        fact = Fact(*(outcome[name] for name in ("kind", "at", "attempt", "category", "hard", "reply")))
        change = advance(entry, fact)
        if change is not None:
            batch.entries[key] = change.entry
            _note(batch, row, outcome, change)
    return batch


def _entry(row: Row) -> Entry:
    return Entry(
        row["state"],
        row["attempt"],
        row["deferrals"],
        row["handed_over_at"],
        row["settled_at"],
        row["category"],
        row["hard"],
        row["reply"],
        row["complained"],
        row["replied"],
    )


def _note(batch: _Batch, row: Row, outcome: Row, change: Change) -> None:
    for measure, n in change.tallies.items():
        batch.tallies[row["workspace_id"], row["campaign_id"], row["provider"], measure] += n
        if measure in _OF_LANES:
            batch.lanes[row["campaign_id"], row["egress"], row["provider"], measure] += n
        if n > 0 and measure in _OF_DAYS and (measure != "deferred" or outcome["category"] in SLOWING):
            batch.days.setdefault((row["egress"], row["provider"]), [0, 0, 0, 0])[_OF_DAYS[measure]] += n
    if change.event:
        detail = {
            name: outcome[name]
            for name in ("category", "hard", "reply", "queue_id", "source", "report_id")
            if outcome[name] is not None
        }
        batch.events.append(
            (
                outcome["at"],
                row["workspace_id"],
                row["campaign_id"],
                row["id"],
                row["contact_id"],
                outcome["kind"],
                Jsonb(detail),
            )
        )
    if change.suppress:
        batch.suppressions.append(_found(row, outcome, change.suppress))
    elif outcome["kind"] == "bounced" and outcome["category"] in PATTERN_CATEGORIES:
        batch.soft[row["contact_id"]] = _found(row, outcome, "soft-bounces")


def _found(row: Row, outcome: Row, reason: Reason) -> Found:
    return Found(
        row["workspace_id"],
        row["recipient"],
        reason,
        outcome["reply"] or "",
        category=outcome["category"] or "",
        source=outcome["source"],
        campaign=row["campaign_id"],
        report=outcome["report_id"],
    )


async def _write(db: Connection, batch: _Batch) -> None:
    by_campaign: dict[int, list[tuple[Any, ...]]] = {}
    for (campaign, delivery), e in sorted(batch.entries.items()):
        by_campaign.setdefault(campaign, []).append(
            (
                delivery,
                e.state,
                e.deferrals,
                e.handed_over_at,
                e.settled_at,
                e.category,
                e.hard,
                e.reply,
                e.complained,
                e.replied,
                e.delay,
            )
        )
    for campaign, values in by_campaign.items():
        await db.execute(_WRITE, [*map(list, zip(*values, strict=True)), campaign])
    if batch.events:
        await db.execute(_EVENTS, [*map(list, zip(*batch.events, strict=True))])
    for query, counted in ((_TALLY, batch.tallies), (_LANES, batch.lanes)):
        moved = sorted((key, n) for key, n in counted.items() if n)
        if moved:
            await db.execute(query, [*map(list, zip(*[(*key, n) for key, n in moved], strict=True))])
    if batch.days:
        await db.execute(_WARMING, [*map(list, zip(*[(*key, *n) for key, n in batch.days.items()], strict=True))])
    for found in batch.suppressions:
        await suppress(db, found)
    for contact, found in batch.soft.items():  # after the events, which they are counted from
        if await soft_pattern(db, found.workspace, contact, found.address):
            await suppress(db, found)
