"""How full mailboxes get: a word to the owner in time, and when it will be full at this rate.

Dovecot writes down what each holds after every change (mta.note_usage). The word goes out once when 90 % are passed,
and again only after it fell below 80 %.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import structlog

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.mail.system import compose
from thurn.problems import Conflict
from thurn.settings import Settings
from thurn.spam.delivery import deliver
from thurn.web.words import size

log = structlog.get_logger()
_AT_A_TIME = 500
_KEPT = 90  # days of a mailbox's sizes
_SEEN, _LEAST = 60, 7  # days a forecast looks back on; with fewer there is none
_FURTHEST = 730  # days


async def warn_due(db: Connection, settings: Settings) -> int:
    """Write to the owners of mailboxes that got nearly full; returns to how many. `db` is autocommit: each is noted."""
    await db.execute(
        """UPDATE mailbox SET quota_warned_at = NULL
           WHERE quota_warned_at IS NOT NULL AND bytes_used * 10 < quota_bytes * 8"""
    )
    due = await rows(
        db,
        """SELECT id, address, bytes_used, quota_bytes FROM mailbox
           WHERE bytes_used * 10 >= quota_bytes * 9 AND quota_warned_at IS NULL AND enabled ORDER BY id LIMIT %s""",
        [_AT_A_TIME],
    )
    sent = 0
    for box in due:
        subject, text = words(box, f"{settings.url}/mailbox/storage")
        mail = compose(f"thurn@{settings.hostname}", box["address"], subject, text, ())
        try:
            await deliver(settings, box["address"], mail)
        except Conflict as refused:  # no room even for this: again in some minutes
            log.info("warning about a nearly full mailbox not delivered", mailbox=box["id"], why=str(refused))
            continue
        await db.execute("UPDATE mailbox SET quota_warned_at = now() WHERE id = %s", [box["id"]])
        sent += 1
    return sent


def words(box: Row, url: str) -> tuple[str, str]:
    """Subject and text of the warning."""
    part = min(99, int(100 * box["bytes_used"] / box["quota_bytes"]))
    lines = (
        f"Your mailbox {box['address']} holds {size(box['bytes_used'])} of {size(box['quota_bytes'])}.",
        "",
        "When it is full, new mail has to wait outside: servers of senders try again for some days,",
        "and what still finds no room then goes back to them.",
        "",
        f"To make room, empty Junk and Trash here: {url}",
        "Then delete large mails; in webmail a folder can be sorted by size.",
        "Or ask whoever runs your mail for more room.",
        "",
        "You get this once, and again only if it fills up anew.",
    )
    return f"Your mailbox is {part}% full", "\n".join(lines)


# ---------------------------------------------------------------- when it will be full


async def note_day(db: Connection) -> None:
    """Keep what each mailbox holds today, and forget what is too old to tell anything."""
    await db.execute(
        """INSERT INTO mailbox_size (workspace_id, mailbox_id, day, bytes)
           SELECT workspace_id, id, current_date, bytes_used FROM mailbox WHERE bytes_used IS NOT NULL
           ON CONFLICT (mailbox_id, day) DO UPDATE SET bytes = excluded.bytes"""
    )
    await db.execute("DELETE FROM mailbox_size WHERE day < current_date - %s::int", [_KEPT])


async def full_in(db: Connection, mailbox: Row) -> str:
    """“about 5 months”, at the rate of the last weeks; empty when that cannot be told, or is far away.

    `mailbox` has id, bytes_used and quota_bytes.
    """
    if mailbox["bytes_used"] is None:
        return ""
    sizes = await rows(
        db,
        "SELECT day, bytes FROM mailbox_size WHERE mailbox_id = %s AND day > current_date - %s::int ORDER BY day",
        [mailbox["id"], _SEEN],
    )
    points = [(row["day"], row["bytes"]) for row in sizes]
    return in_words(forecast(points, mailbox["bytes_used"], mailbox["quota_bytes"]))


def forecast(sizes: Sequence[tuple[date, int]], used: int, quota: int) -> int | None:
    """Days until a mailbox is full, by the straight line through its sizes; None when there is none to tell."""
    if len(sizes) < 2 or sizes[-1][0] - sizes[0][0] < timedelta(days=_LEAST) or used >= quota:
        return None
    days = [(day - sizes[0][0]).days for day, _ in sizes]
    mean_day, mean_size = sum(days) / len(days), sum(size for _, size in sizes) / len(sizes)
    slope = sum((d - mean_day) * (size - mean_size) for d, (_, size) in zip(days, sizes, strict=True)) / sum(
        (d - mean_day) ** 2 for d in days
    )
    if slope <= 0 or (quota - used) / slope > _FURTHEST:
        return None
    return max(1, round((quota - used) / slope))


def in_words(days: int | None) -> str:
    """As exact as such a thing can be."""
    if days is None:
        return ""
    if days < 14:
        return "about 1 day" if days == 1 else f"about {days} days"
    if days < 60:
        return f"about {round(days / 7)} weeks"
    if days < 350:
        return f"about {round(days / 30.4)} months"
    return "about a year" if days < 540 else "about 2 years"
