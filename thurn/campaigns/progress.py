"""How far a campaign is, read from the rollups."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from thurn.db.connect import Connection, Row

# A recipient is in one of these at a time; what is left of the recipients waits.
SETTLED = ("delivered", "bounced_hard", "bounced_soft", "suppressed", "cancelled", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why mails were put off or refused: a category, how many recipients, and what a server said."""

    category: str
    state: str  # deferred | bounced | failed
    n: int
    reply: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of people, never of hits. `waiting` have not been handed over; `deferred` are being retried now."""

    state: str
    state_reason: str
    recipients: int
    tallies: dict[str, int]
    by_provider: dict[str, dict[str, int]]
    waiting: int
    rate_per_minute: float
    seconds_left: float | None

    @property
    def done(self) -> bool:
        """Whether every recipient has a final outcome."""
        return self.state in ("sent", "cancelled")


async def tallies(db: Connection, campaign_ids: list[int]) -> dict[int, dict[str, int]]:
    """Campaign id -> measure -> people; a measure nobody has is 0."""
    rows = await db.execute(
        """SELECT campaign_id, measure, sum(n)::bigint AS n FROM campaign_tally
           WHERE campaign_id = ANY(%s) GROUP BY campaign_id, measure""",
        [campaign_ids],
    )
    found: dict[int, dict[str, int]] = {id_: defaultdict(int) for id_ in campaign_ids}
    async for row in rows:
        found[row["campaign_id"]][row["measure"]] = row["n"]
    return found


async def progress(db: Connection, campaign: int) -> Progress | None:
    """The progress of one campaign, or None if there is none."""
    row = await (await db.execute("SELECT * FROM campaign WHERE id = %s", [campaign])).fetchone()
    if row is None:
        return None
    by_provider: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    total: dict[str, int] = defaultdict(int)
    rows = await db.execute("SELECT provider, measure, n FROM campaign_tally WHERE campaign_id = %s", [campaign])
    async for tally in rows:
        by_provider[tally["provider"]][tally["measure"]] = tally["n"]
        total[tally["measure"]] += tally["n"]
    for counts in by_provider.values():
        counts["waiting"] = _waiting(counts.get("recipients", 0), counts)
    waiting = _waiting(row["recipients"], total)
    rate = await _rate_per_minute(db, row)
    left = waiting / rate * 60 if rate and row["state"] == "sending" else None
    return Progress(
        state=row["state"],
        state_reason=row["state_reason"],
        recipients=row["recipients"],
        tallies=total,
        by_provider=dict(by_provider),
        waiting=waiting,
        rate_per_minute=rate,
        seconds_left=left,
    )


def _waiting(recipients: int, counts: dict[str, int]) -> int:
    gone = sum(counts.get(measure, 0) for measure in ("handed_over", "suppressed", "cancelled", "failed"))
    return max(0, recipients - gone)


async def _rate_per_minute(db: Connection, campaign: Row) -> float:
    """Hand-overs in the last minute of sending, so that the figure follows what happens now."""
    if campaign["started_at"] is None or campaign["state"] != "sending":
        return 0.0
    row = await (
        await db.execute(
            """SELECT count(*) AS n FROM event
               WHERE campaign_id = %s AND kind = 'handed_over' AND at > now() - interval '1 minute'""",
            [campaign["id"]],
        )
    ).fetchone()
    seconds = (datetime.now(UTC) - campaign["started_at"]).total_seconds()
    return row["n"] / min(60.0, max(seconds, 1.0)) * 60 if row else 0.0


async def reasons(db: Connection, campaign: int, limit: int = 12) -> list[Reason]:
    """Why recipients of a campaign are put off, bounced or failed, most frequent first, with a reply as it came."""
    rows = await db.execute(
        """SELECT coalesce(category, 'other') AS category, state::text AS state, count(*) AS n, max(reply) AS reply
           FROM delivery WHERE campaign_id = %s AND state IN ('deferred', 'bounced', 'failed')
           GROUP BY 1, 2 ORDER BY n DESC LIMIT %s""",
        [campaign, limit],
    )
    return [Reason(r["category"], r["state"], r["n"], _their_words(r["reply"] or "")) for r in await rows.fetchall()]


def _their_words(reply: str) -> str:
    """What the server said, without the note that Postfix adds to it."""
    return reply.partition(" (in reply to ")[0]


async def links(db: Connection, campaign: int) -> list[Row]:
    """The links of a campaign in order: number, url, hits by people (`human`) and by machines (`machine`)."""
    rows = await db.execute(
        """SELECT l.number, l.url, coalesce(sum(t.n) FILTER (WHERE t.actor = 'human'), 0)::bigint AS human,
                  coalesce(sum(t.n) FILTER (WHERE t.actor = 'machine'), 0)::bigint AS machine
           FROM campaign_link l LEFT JOIN link_tally t USING (campaign_id, number)
           WHERE l.campaign_id = %s GROUP BY l.number, l.url ORDER BY l.number""",
        [campaign],
    )
    return await rows.fetchall()
