"""The list of what is newly held, by mail to each mailbox's owner once a day.

Its link opens the portal, where letting through is a button: scanners of mail follow links, and must not release spam.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.mail.system import compose
from thurn.problems import Conflict
from thurn.settings import Settings
from thurn.spam.delivery import deliver
from thurn.spam.preferences import DIGEST_HOUR
from thurn.spam.reasons import reasons

log = structlog.get_logger()
_LISTED = 20


async def send_due(db: Connection, settings: Settings, now: datetime) -> int:
    """Send every list that is due; returns how many. `db` is autocommit: what was sent is noted one by one."""
    today = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    due = await rows(
        db,
        """SELECT m.id, m.address, w.name AS house
           FROM mailbox m JOIN workspace w ON w.id = m.workspace_id
             LEFT JOIN spam_setting d ON d.domain_id = m.domain_id AND d.mailbox_id IS NULL
             LEFT JOIN spam_setting o ON o.mailbox_id = m.id
           WHERE m.enabled AND coalesce(o.digest, d.digest, true)
             AND coalesce(o.digest_hour, d.digest_hour, %(hour)s) <= %(now)s
             AND coalesce(m.digested_at < %(today)s, true)
             AND EXISTS (SELECT 1 FROM held_mail h
                         WHERE h.mailbox_id = m.id AND coalesce(h.at > m.digested_at, true))
           ORDER BY m.id""",
        {"hour": DIGEST_HOUR, "now": now.astimezone().hour, "today": today},
    )
    sent = 0
    for box in due:
        held = await rows(
            db,
            """SELECT h.header_from, h.mail_from, h.subject, h.at, h.symbols
               FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id
               WHERE m.id = %s AND coalesce(h.at > m.digested_at, true) ORDER BY h.id DESC LIMIT 500""",
            [box["id"]],
        )
        subject, text = words(held, f"{settings.url}/mailbox/held")
        mail = compose(f"thurn@{settings.hostname}", box["address"], subject, text, ())
        try:
            await deliver(settings, box["address"], mail)
        except Conflict as refused:  # tomorrow again
            log.warning("list of held mail not delivered", mailbox=box["id"], why=str(refused))
            continue
        await db.execute("UPDATE mailbox SET digested_at = %s WHERE id = %s", [now, box["id"]])
        sent += 1
    return sent


def words(held: Sequence[Row], url: str) -> tuple[str, str]:
    """Subject and text of the list; a sender's subject stays one line of its own."""
    one = len(held) == 1
    subject = "1 mail is held for you" if one else f"{len(held)} mails are held for you"
    lines = [f"{'This mail looked' if one else 'These mails looked'} like spam and did not get into your mailbox:", ""]
    for row in held[:_LISTED]:
        why = reasons(row["symbols"], header_from=row["header_from"], mail_from=row["mail_from"], most=1)[0]
        lines += [
            f"* {row['subject'] or '(no subject)'}",
            f"  from {row['header_from'] or row['mail_from'] or 'nobody'}, {row['at'].astimezone():%d %b %H:%M}",
            f"  {why.text}",
            "",
        ]
    if len(held) > _LISTED:
        lines += [f"… and {len(held) - _LISTED} more.", ""]
    lines += [
        f"To let one through or delete it, sign in: {url}",
        "",
        f"Nothing needs to be done: it is deleted after 30 days. The {'sender was' if one else 'senders were'} told.",
        "You can turn this list off there.",
    ]
    return subject, "\n".join(lines)
