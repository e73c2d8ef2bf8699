"""How much a mailbox may send: recipients in any 24 hours, so that a stolen password does not burn the server's name.

Postfix asks at the end of each mail that a signed-in person hands in. The mailbox's row is locked while its day is
summed up, so two programs at once cannot pass the limit together.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from thurn.alerts.service import mended, notify
from thurn.db.connect import Connection, Pool, Row
from thurn.db.fetch import maybe, one, rows
from thurn.settings import Settings

DAY = timedelta(days=1)
STAGE = "END-OF-MESSAGE"


async def check(pool: Pool, settings: Settings, attributes: Mapping[str, str]) -> str:
    """Postfix's question (thurn/guard/policy.py): `DUNNO`, or a refusal that says when it works again."""
    login = attributes.get("sasl_username", "")
    if attributes.get("protocol_state") != STAGE or not login:
        return "DUNNO"
    count = attributes.get("recipient_count", "")
    recipients = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0
    async with pool.connection() as db, db.transaction():
        return await hand_in(db, login.lower(), max(recipients, 1))


async def hand_in(db: Connection, address: str, recipients: int) -> str:
    """Count a mail to so many recipients, or refuse it. Needs a transaction."""
    mailbox = await maybe(
        db,
        """SELECT id, workspace_id, address, send_limit, may_send, now() AS now FROM mailbox WHERE address = %s
           FOR NO KEY UPDATE""",
        [address],
    )
    if mailbox is None:
        return "550 5.7.1 This mailbox is not here any more"
    limit = mailbox["send_limit"]
    if not mailbox["may_send"] or limit == 0:
        return "550 5.7.1 This mailbox receives only. Your administrator can let it send."
    if recipients > limit:
        await _refused(db, mailbox, recipients)
        return (
            f"550 5.7.1 This mail has {recipients:,} recipients; this mailbox may write to {limit:,} in 24 hours. "
            "Send it to fewer, or ask your administrator for a higher limit."
        )
    sent = await _day(db, mailbox["id"])
    if sum(row["recipients"] for row in sent) + recipients > limit:
        free = free_at(sent, limit, recipients)
        wait = max(int((free - mailbox["now"]).total_seconds() // 60) + 1, 1)
        await _refused(db, mailbox, recipients)
        return (
            f"452 4.7.1 This mailbox has written to {limit:,} recipients in 24 hours, its limit. This mail can be sent "
            f"in {_words(wait)}. Your administrator can raise the limit."
        )
    await _note(db, mailbox, recipients, refused=False)
    return "DUNNO"


def free_at(sent: Sequence[Row], limit: int, recipients: int) -> datetime:
    """When so many more fit. `sent` is the last day, oldest first, and together with them it does not fit now."""
    total = sum(row["recipients"] for row in sent) + recipients
    for row in sent:
        total -= row["recipients"]
        if total <= limit:
            at: datetime = row["at"]
            return at + DAY
    raise ValueError("it never fits")


def _words(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest} min"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


async def raised(db: Connection, mailbox: Row, limit: int) -> None:
    """An administrator gave the mailbox a higher limit: if it has room now, the alert is answered."""
    if await sent_today(db, mailbox["id"]) < limit:
        await mended(db, mailbox["workspace_id"], _key(mailbox["address"]), mail=False)


async def close_alerts(db: Connection) -> int:
    """Close each alert about a limit whose day is over: no refusal in it, and room again; returns how many.

    While either holds it stays: closed at the first recipient that fits, it would come and go with every mail.
    """
    done = await db.execute(
        """UPDATE alert SET cleared_at = now()
           WHERE cleared_at IS NULL AND key LIKE 'send-limit %' AND NOT EXISTS (
             SELECT FROM mailbox m
             WHERE m.workspace_id = alert.workspace_id AND alert.key = 'send-limit ' || m.address
               AND (EXISTS (SELECT FROM mailbox_sent s
                            WHERE s.mailbox_id = m.id AND s.refused AND s.at > now() - interval '1 day')
                    OR m.send_limit <= (SELECT coalesce(sum(s.recipients), 0) FROM mailbox_sent s
                                        WHERE s.mailbox_id = m.id AND NOT s.refused
                                          AND s.at > now() - interval '1 day')))"""
    )
    return done.rowcount


async def sent_today(db: Connection, mailbox_id: int) -> int:
    """Recipients in the last 24 hours."""
    row = await one(
        db,
        """SELECT coalesce(sum(recipients), 0) AS n FROM mailbox_sent
           WHERE mailbox_id = %s AND NOT refused AND at > now() - interval '1 day'""",
        [mailbox_id],
    )
    return int(row["n"])


def _key(address: str) -> str:
    return f"send-limit {address}"


async def _day(db: Connection, mailbox_id: int) -> list[Row]:
    return await rows(
        db,
        """SELECT at, recipients FROM mailbox_sent
           WHERE mailbox_id = %s AND NOT refused AND at > now() - interval '1 day' ORDER BY at, id""",
        [mailbox_id],
    )


async def _note(db: Connection, mailbox: Row, recipients: int, *, refused: bool) -> None:
    await db.execute(
        "DELETE FROM mailbox_sent WHERE mailbox_id = %s AND at < now() - interval '1 day'", [mailbox["id"]]
    )
    await db.execute(
        # Not now(): that is when the transaction began to wait for the lock.
        """INSERT INTO mailbox_sent (workspace_id, mailbox_id, at, recipients, refused)
           VALUES (%s, %s, clock_timestamp(), %s, %s)""",
        [mailbox["workspace_id"], mailbox["id"], recipients, refused],
    )


async def _refused(db: Connection, mailbox: Row, recipients: int) -> None:
    """The first refusal of a day is told to the workspace's owners: it may be somebody who found a password."""
    told = await maybe(
        db,
        "SELECT 1 FROM mailbox_sent WHERE mailbox_id = %s AND refused AND at > now() - interval '1 day' LIMIT 1",
        [mailbox["id"]],
    )
    if told is not None:
        return
    await _note(db, mailbox, recipients, refused=True)
    address, limit = mailbox["address"], mailbox["send_limit"]
    await notify(
        db,
        mailbox["workspace_id"],
        f"{address} has reached its sending limit",
        f"{address} wanted to write to more than {limit:,} recipients in 24 hours, and mail from it is refused until "
        "fewer are counted. If this is not the person themselves, somebody knows the password: give the mailbox a new "
        "one and revoke its app passwords. If it is, raise the limit on the page of the mailbox.",
        _key(address),
        level="warn",
        link=f"/mailboxes/{address}",
        act="Look at the mailbox",
    )
