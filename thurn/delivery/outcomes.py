"""What happened to deliveries, appended. Whoever learns something writes it here; only the fold changes the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from thurn.db.connect import Connection

Kind = Literal[
    "handed_over",  # `out` has taken the mail
    "delivered",  # the provider has taken it
    "deferred",  # the provider put it off
    "bounced",  # refused for good, in the session or by a bounce mail
    "complained",  # the recipient called it spam
    "replied",  # the recipient answered, by hand
    "returned",  # never reached `out`: queued again
    "suppressed",  # left out at the last moment: suppressed or unsubscribed since the snapshot
    "lost",  # handed over and gone from the queue, but what the provider said was lost in a crash
    "failed",  # could not be made into a mail, or `out` refused it for good
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that happened to one delivery. `attempt` is set by the sender, which must not undo a later attempt."""

    campaign_id: int
    delivery_id: int
    kind: Kind
    at: datetime
    attempt: int | None = None
    queue_id: str | None = None
    category: str | None = None
    hard: bool | None = None
    reply: str | None = None
    source: Literal["sender", "log", "reconcile", "mail"] = "sender"
    report_id: int | None = None  # incoming_report: the mail that said so


async def append(db: Connection, outcomes: Iterable[Outcome]) -> None:
    """Append outcomes in the transaction of `db`; they take effect when the fold has seen them, within a second."""
    async with (
        db.cursor() as cursor,
        cursor.copy(
            "COPY outcome (campaign_id, delivery_id, kind, at, attempt, queue_id, category, hard, reply, source,"
            " report_id) FROM STDIN"
        ) as copy,
    ):
        for o in outcomes:
            await copy.write_row(
                (
                    o.campaign_id,
                    o.delivery_id,
                    o.kind,
                    o.at,
                    o.attempt,
                    o.queue_id,
                    o.category,
                    o.hard,
                    _clean(o.reply),
                    o.source,
                    o.report_id,
                )
            )


def _clean(reply: str | None) -> str | None:
    """A reply comes from a stranger: PostgreSQL takes no NUL and no half character, nobody needs more than a screen."""
    return None if reply is None else reply.replace("\0", "")[:2000].encode("utf-8", "replace").decode()
