"""Claims: which deliveries a sender may take now, and taking them. A claim is committed before a byte goes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from thurn.audience.barring import condition
from thurn.db.connect import Connection
from thurn.delivery.outcomes import Outcome, append

# Handed over and not yet answered by the provider, per provider. Postfix holds minutes, never campaigns: beyond this
# the rest waits in the ledger, where pause and cancel reach it.
IN_FLIGHT = 5000

# A lane is a campaign at a provider. One index probe per lane, however long the queue is.
_LANES = f"""
WITH sending AS MATERIALIZED (SELECT id, workspace_id FROM campaign WHERE state = 'sending'),
busy AS MATERIALIZED (
  SELECT t.provider FROM campaign_tally t JOIN sending s ON s.id = t.campaign_id
  WHERE t.measure IN ('handed_over', 'delivered', 'deferred', 'bounced_hard', 'bounced_soft', 'unknown')
  GROUP BY t.provider
  HAVING sum(CASE WHEN t.measure = 'handed_over' THEN t.n ELSE -t.n END) > {IN_FLIGHT}
)
SELECT s.workspace_id, s.id AS campaign_id, p.provider
FROM sending s
CROSS JOIN LATERAL (SELECT DISTINCT t.provider FROM campaign_tally t WHERE t.campaign_id = s.id) p
WHERE p.provider NOT IN (SELECT provider FROM busy)
  AND EXISTS (SELECT 1 FROM delivery d WHERE d.campaign_id = s.id AND d.provider = p.provider AND d.state = 'queued'
              AND d.send_at <= now())
ORDER BY s.workspace_id, s.id, p.provider
"""  # noqa: S608 - a constant

_CLAIM = f"""
WITH candidate AS MATERIALIZED (
  SELECT d.id FROM delivery d
  WHERE d.campaign_id = %(campaign)s AND d.provider = %(provider)s AND d.state = 'queued' AND d.send_at <= now()
    AND EXISTS (SELECT 1 FROM campaign c WHERE c.id = %(campaign)s AND c.state = 'sending')
  ORDER BY d.send_at, d.id LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
), leased AS (
  UPDATE delivery d SET state = 'leased', lease = %(life)s, attempt = d.attempt + 1
  FROM candidate WHERE d.campaign_id = %(campaign)s AND d.id = candidate.id
  RETURNING d.id, d.workspace_id, d.contact_id, d.recipient, d.provider, d.attempt
)
SELECT l.id, l.recipient, l.provider, l.attempt, c.fields,
       CASE WHEN c.id IS NULL THEN 'deleted'
            WHEN c.unsubscribed_at IS NOT NULL THEN 'unsubscribed'
            ELSE (SELECT s.reason FROM suppression s WHERE {condition("l.recipient", "l.workspace_id")}
                  LIMIT 1) END AS barred
FROM leased l LEFT JOIN contact c ON c.id = l.contact_id
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Lane:
    """Deliveries of one campaign to one provider."""

    workspace: int
    campaign: int
    provider: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this sender alone may hand over, once."""

    campaign: int
    delivery: int
    attempt: int
    recipient: str
    provider: str
    fields: Mapping[str, str]


async def open_lanes(db: Connection) -> list[Lane]:
    """Lanes with something to send now, at providers that are not full."""
    rows = await (await db.execute(_LANES)).fetchall()
    return [Lane(r["workspace_id"], r["campaign_id"], r["provider"]) for r in rows]


async def claim(db: Connection, lane: Lane, life: int, limit: int) -> list[Claim]:
    """Take up to `limit` deliveries of a lane for this life of the sender, in one transaction of its own.

    Suppression and consent are looked at here, at the last moment: who left a second ago gets nothing.
    """
    async with db.transaction():
        values = {"campaign": lane.campaign, "provider": lane.provider, "life": life, "limit": limit}
        rows = await (await db.execute(_CLAIM, values)).fetchall()
        barred = [row for row in rows if row["barred"]]
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
        )
        for row in rows
        if not row["barred"]
    ]


async def begin_life(db: Connection, node: str) -> int:
    """A new life of the sender on `node`; returns its id."""
    row = await (await db.execute("INSERT INTO sender_life (node) VALUES (%s) RETURNING id", [node])).fetchone()
    return int(row["id"]) if row else 0
