"""What waits, where and why; hold and release; try again now. For operators: it spans all workspaces."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.delivery.providers import PROVIDERS
from thurn.problems import Conflict, Invalid, NotFound

_RATES = """
SELECT e.id AS egress_id, a.provider, sum(a.n)::bigint AS n FROM provider_answer a JOIN egress e ON e.name = a.egress
WHERE a.outcome = 'delivered' AND a.at > now() - interval '1 minute' GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why mails are being retried: a category, how many, since when the first, and a server's reply as it came."""

    category: str
    mails: int
    oldest: datetime | None
    reply: str


@dataclass(slots=True)
class Lane:
    """An egress at a provider: what `out` has of it."""

    egress: str
    provider: str
    on_the_way: int = 0  # handed to `out`, not answered yet
    retrying: int = 0  # put off by the provider
    per_minute: int = 0  # delivered in the last minute
    oldest: datetime | None = None  # of those being retried
    reasons: list[Reason] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a campaign waits for a provider in our own queue."""

    campaign_id: int
    campaign: str
    workspace_id: int
    workspace: str
    state: str
    priority: str
    provider: str
    waiting: int
    since: datetime | None
    held: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that is held back; None means all."""

    id: int
    workspace_id: int | None
    workspace: str | None
    provider: str | None
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """Everything that waits. `waiting` is in our own queue, most first; `lanes` are what Postfix has."""

    waiting: list[Waiting]
    lanes: list[Lane]
    holds: list[Hold]

    def by_provider(self) -> dict[str, int]:
        """Provider -> mails that wait in our own queue."""
        total: dict[str, int] = defaultdict(int)
        for each in self.waiting:
            total[each.provider] += each.waiting
        return dict(total)


async def look(db: Connection) -> Queue:
    """The queue as it is now."""
    holds = await holds_of(db)
    waiting = [
        Waiting(**row, held=any(_covers(hold, row) for hold in holds))
        for row in await rows(db, "SELECT * FROM queue_campaigns() ORDER BY waiting DESC, campaign_id")
    ]
    names = {row["id"]: row["name"] for row in await rows(db, "SELECT id, name FROM egress")}
    lanes: dict[tuple[int, str], Lane] = {}

    def lane(row: Row) -> Lane:
        key = row["egress_id"], row["provider"]
        return lanes.setdefault(key, Lane(names.get(key[0], f"{key[0]}, removed"), key[1]))

    for row in await rows(db, "SELECT * FROM queue_lanes()"):
        if row["on_the_way"] or row["retrying"]:
            found = lane(row)
            found.on_the_way, found.retrying = row["on_the_way"], row["retrying"]
    for row in await rows(db, _RATES):
        lane(row).per_minute = row["n"]
    for row in await rows(db, "SELECT * FROM queue_reasons() ORDER BY mails DESC"):
        found = lane(row)
        reply = (row["reply"] or "").partition(" (in reply to ")[0]
        found.reasons.append(Reason(row["category"], row["mails"], row["oldest"], reply))
        found.oldest = min(filter(None, (found.oldest, row["oldest"])), default=None)
    order = sorted(lanes.values(), key=lambda each: (-each.retrying - each.on_the_way, each.egress, each.provider))
    return Queue(waiting, order, holds)


def _covers(hold: Hold, row: Row) -> bool:
    return hold.workspace_id in (None, row["workspace_id"]) and hold.provider in (None, row["provider"])


async def holds_of(db: Connection) -> list[Hold]:
    """What is held back, the widest first."""
    found = await rows(
        db,
        """SELECT h.id, h.workspace_id, w.name AS workspace, h.provider, h.reason, h.since
           FROM hold h LEFT JOIN workspace w ON w.id = h.workspace_id
           ORDER BY h.workspace_id NULLS FIRST, h.provider NULLS FIRST""",
    )
    return [Hold(**row) for row in found]


async def hold(db: Connection, *, workspace: int | None = None, provider: str | None = None, reason: str = "") -> int:
    """Hand over nothing of it, and put what `out` has of it aside; returns the hold's id. None means all.

    Raises `Invalid` for a provider or workspace that is not there, `Conflict` if the very same is held already.
    """
    _check(provider)
    if workspace is not None and not await rows(db, "SELECT 1 FROM workspace WHERE id = %s", [workspace]):
        raise Invalid("workspace_id", "There is no such workspace.")
    made = await rows(
        db,
        """INSERT INTO hold (workspace_id, provider, reason) VALUES (%s, %s, %s)
           ON CONFLICT DO NOTHING RETURNING id""",
        [workspace, provider, " ".join(reason.split())[:500]],
    )
    if not made:
        raise Conflict("This is held already.")
    return int(made[0]["id"])


async def release(db: Connection, number: int) -> None:
    """Let it go on; raises `NotFound`."""
    if not await rows(db, "DELETE FROM hold WHERE id = %s RETURNING id", [number]):
        raise NotFound("There is no such hold. Somebody may have released it.")


async def retry(db: Connection, *, provider: str | None = None) -> None:
    """Try what was put off again now; the keeper of each node does it within two seconds."""
    _check(provider)
    await rows(
        db,
        """INSERT INTO queue_retry (node, provider)
           SELECT DISTINCT e.node, %(provider)s FROM egress e
           WHERE NOT EXISTS (SELECT 1 FROM queue_retry r WHERE r.node = e.node AND r.done_at IS NULL
                             AND r.provider IS NOT DISTINCT FROM %(provider)s)
           RETURNING id""",
        {"provider": provider},
    )


def _check(provider: str | None) -> None:
    if provider is not None and provider not in PROVIDERS:
        raise Invalid("provider", f"There is no provider “{provider[:40]}”. They are: {', '.join(PROVIDERS)}.")


def as_data(queue: Queue) -> dict[str, Any]:
    """For JSON."""
    return {
        "waiting": [{name: getattr(each, name) for name in each.__slots__} for each in queue.waiting],
        "lanes": [
            {name: getattr(each, name) for name in each.__slots__ if name != "reasons"}
            | {"reasons": [{name: getattr(reason, name) for name in reason.__slots__} for reason in each.reasons]}
            for each in queue.lanes
        ],
        "holds": [{name: getattr(each, name) for name in each.__slots__} for each in queue.holds],
    }
