"""Claims: which deliveries a sender may take now, and taking them. A claim is committed before a byte goes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from thurn.audience.barring import condition
from thurn.db.connect import Connection
from thurn.delivery.outcomes import Outcome, append

log = structlog.get_logger()

# A campaign at a provider. One index probe for each, however long the queue is: LIMIT keeps the planner from
# joining all that waits. `speed`: mails a minute.
_WAITING = """
SELECT s.workspace_id, s.id AS campaign_id, p.provider, s.speed, s.weight, m.id AS domain_id
FROM campaign_due s JOIN campaign c ON c.id = s.id
LEFT JOIN domain m ON m.name = lower(split_part(c.from_address, '@', 2))
CROSS JOIN LATERAL (SELECT DISTINCT t.provider FROM campaign_tally t WHERE t.campaign_id = s.id) p
CROSS JOIN LATERAL (SELECT d.id FROM delivery d
                    WHERE d.campaign_id = s.id AND d.provider = p.provider AND d.state = 'queued'
                      AND d.send_at <= now() LIMIT 1) waiting
WHERE NOT EXISTS (SELECT 1 FROM hold h WHERE coalesce(h.workspace_id, s.workspace_id) = s.workspace_id
                  AND coalesce(h.provider, p.provider) = p.provider)
ORDER BY s.workspace_id, s.id, p.provider
"""

# Locked until the claim is committed: what it counts is what was claimed.
_CAP = "SELECT lock_day_cap(%(egress)s, %(provider)s) AS left"
_COUNT = """
UPDATE day_cap SET sent = sent + %(n)s
WHERE egress_id = %(egress)s AND provider = %(provider)s AND day = (SELECT s.day FROM sending_day() s)
"""

_DUE = "d.campaign_id = %(campaign)s AND d.provider = %(provider)s AND d.state = 'queued' AND d.send_at <= now()"
_FIRST = "ORDER BY d.send_at, d.id LIMIT %(limit)s"
# From the other end, and only while more wait than are to be left: those with whom an egress that warms up begins.
_LAST = f"""ORDER BY d.send_at DESC, d.id DESC LIMIT least(%(limit)s, greatest(0, -%(spare)s + (
  SELECT count(*) FROM (SELECT FROM delivery d WHERE {_DUE} LIMIT %(spare)s + %(limit)s) waiting)))"""  # noqa: S608 - a constant

# ARRAY(…) and LIMIT 1 make each row one index probe. A planner that knows neither the limit nor, in a campaign's first
# minute, how large the ledger has become would read the whole of it, and all contacts, for each batch.
_TAKE = """
WITH candidate AS MATERIALIZED (
  SELECT d.id FROM delivery d
  WHERE {due} AND EXISTS (SELECT 1 FROM campaign c WHERE c.id = %(campaign)s AND c.state = 'sending')
  {order} FOR UPDATE OF d SKIP LOCKED
), leased AS (
  UPDATE delivery d SET state = 'leased', lease = %(life)s, attempt = d.attempt + 1, egress = %(egress)s
  WHERE d.campaign_id = %(campaign)s AND d.id = ANY(ARRAY(SELECT id FROM candidate))
  RETURNING d.id, d.workspace_id, d.contact_id, d.recipient, d.provider, d.attempt
)
SELECT l.id, l.recipient, l.provider, l.attempt, c.fields,
       CASE WHEN c.id IS NULL THEN 'deleted'
            WHEN c.unsubscribed_at IS NOT NULL THEN 'unsubscribed'
            ELSE (SELECT s.reason FROM suppression s WHERE {barring}
                  LIMIT 1) END AS barred
FROM leased l
LEFT JOIN LATERAL (SELECT c.id, c.fields, c.unsubscribed_at FROM contact c WHERE c.id = l.contact_id LIMIT 1) c ON true
"""
_BARRING = condition("l.recipient", "l.workspace_id")
_CLAIM = _TAKE.format(due=_DUE, order=_FIRST, barring=_BARRING)
_CLAIM_LAST = _TAKE.format(due=_DUE, order=_LAST, barring=_BARRING)


@dataclass(frozen=True, slots=True)
class Lane:
    """Deliveries of one campaign to one provider."""

    workspace: int
    campaign: int
    provider: str
    speed: float | None = None  # mails a minute that the campaign may do, at all providers together
    weight: int = 1  # turns in its workspace
    domain: int | None = None  # domain.id of its sender


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this sender alone may hand over, once."""

    campaign: int
    delivery: int
    attempt: int
    recipient: str
    provider: str
    fields: Mapping[str, str]
    egress: int = 1  # egress.id


async def by_index(db: Connection) -> None:
    """Set a connection up for claims: nothing here is faster by reading a table from its beginning.

    Row-level security hides from the planner how few deliveries still wait. It takes them for every second one, and
    would look for the next among all that have gone.
    """
    await db.execute("SET enable_seqscan = off")


async def open_lanes(db: Connection) -> list[Lane]:
    """Lanes with something to send now; which egress may take how much of it is decided by pacing."""
    rows = await (await db.execute(_WAITING)).fetchall()
    return [
        Lane(r["workspace_id"], r["campaign_id"], r["provider"], r["speed"], r["weight"], r["domain_id"]) for r in rows
    ]


async def claim(db: Connection, lane: Lane, life: int, limit: int, egress: int = 1, *, spare: int = 0) -> list[Claim]:
    """Take up to `limit` deliveries of a lane for this life of the sender, in one transaction of its own.

    Suppression and consent are looked at here, at the last moment: who left a second ago gets nothing. So is the day's
    cap of the egress at the provider: what is claimed counts, also if it is given back. With `spare`, so many are left
    in the queue, those that engage most.
    """
    async with db.transaction():
        values = {
            "campaign": lane.campaign,
            "provider": lane.provider,
            "life": life,
            "limit": limit,
            "egress": egress,
            "spare": spare,
            "n": 0,
        }
        found = await (await db.execute(_CAP, values)).fetchone()
        left = found["left"] if found else None
        if left is not None:
            values["limit"] = max(0, min(limit, left))
        rows = await (await db.execute(_CLAIM_LAST if spare else _CLAIM, values)).fetchall()
        barred = [row for row in rows if row["barred"]]
        if left is not None and len(rows) > len(barred):
            await db.execute(_COUNT, values | {"n": len(rows) - len(barred)})
        if barred:
            now = datetime.now(UTC)
            await append(
                db,
                [
                    Outcome(lane.campaign, r["id"], "suppressed", now, attempt=r["attempt"], category=r["barred"])
                    for r in barred
                ],
            )
    return [
        Claim(
            lane.campaign,
            row["id"],
            row["attempt"],
            row["recipient"],
            row["provider"],
            {key: value if isinstance(value, str) else str(value) for key, value in row["fields"].items()},
            egress,
        )
        for row in rows
        if not row["barred"]
    ]


async def stopped(db: Connection, campaigns: list[int]) -> set[int]:
    """Those of `campaigns` that were paused, cancelled or held: what is claimed of them goes back."""
    rows = await db.execute(
        """SELECT id FROM campaign c WHERE id = ANY(%s) AND (state <> 'sending' OR EXISTS (
             SELECT 1 FROM hold h WHERE h.provider IS NULL AND coalesce(h.workspace_id, c.workspace_id) = c.workspace_id
           ))""",
        [campaigns],
    )
    return {row["id"] async for row in rows}


async def pause(db: Connection, campaign: int, reason: str) -> None:
    """Pause a campaign that cannot be sent, and say why."""
    log.warning("campaign paused", campaign=campaign, reason=reason)
    await db.execute(
        "UPDATE campaign SET state = 'paused', state_reason = %s WHERE id = %s AND state = 'sending'",
        [reason, campaign],
    )


async def begin_life(db: Connection, node: str, *, first: bool = True) -> int:
    """A new life of the sender on `node`; returns its id.

    The egress of the installation is made before anybody knows what its machine is called: the sender of the machine
    that came `first` takes it.
    """
    if first:
        await db.execute(
            """UPDATE egress SET node = %(node)s
               WHERE name = 'e1' AND node = 'main' AND NOT EXISTS (SELECT 1 FROM sender_life WHERE node = 'main')
                 AND NOT EXISTS (SELECT 1 FROM egress WHERE node = %(node)s)""",
            {"node": node},
        )
    row = await (await db.execute("INSERT INTO sender_life (node) VALUES (%s) RETURNING id", [node])).fetchone()
    return int(row["id"]) if row else 0
