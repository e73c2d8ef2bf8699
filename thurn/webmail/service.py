"""Opening webmail without a second password, and closing it.

Who signed in to the portal gets a token, good once, for half a minute and in one browser. Roundcube exchanges it, by
the guard, for an app password that opens webmail's own doors only. That password is the session: it ends when the
session does, when the portal's ends, when nobody used it for an hour, and after a day in any case.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows

TOKEN_LASTS = timedelta(seconds=30)
LONGEST = timedelta(hours=24)
IDLE = timedelta(minutes=75)  # longer than Roundcube's own patience, which ends a session first
_GRAIN = timedelta(minutes=5)  # how exactly the last use is known

OPERATORS_LINK = "a link made by the operator"  # who came by it, among the sign-ins of a mailbox


@dataclass(frozen=True, slots=True)
class Ticket:
    """What Roundcube gets for a token."""

    address: str
    name: str
    secret: str
    created_at: datetime  # of the mailbox: what Roundcube kept of an earlier one with this address is not its
    senders: list[Row]  # address, name: what one may write as; one's own first


def hashed(secret: str) -> bytes:
    """What the database keeps of a token or password."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


async def invite(
    db: Connection,
    workspace: int,
    mailbox_id: int,
    *,
    portal_session: bytes,
    bound: bytes,
    ip: str = "",
    user_agent: str = "",
) -> str:
    """A token for the browser that holds this session of the portal; an earlier one of the session is void.

    `bound`: SHA-256 of a number that only webmail and this browser know.
    """
    await db.execute(
        "DELETE FROM webmail_token WHERE mailbox_id = %s AND portal_session = %s", [mailbox_id, portal_session]
    )
    return await _token(db, workspace, mailbox_id, (portal_session, bound), TOKEN_LASTS, ip, user_agent)


async def link(db: Connection, workspace: int, mailbox_id: int, *, lasts: timedelta) -> str:
    """A token for a link that opens a mailbox once, whoever has it: for operators."""
    return await _token(db, workspace, mailbox_id, (None, None), lasts, "", OPERATORS_LINK)


async def _token(
    db: Connection,
    workspace: int,
    mailbox_id: int,
    by: tuple[bytes, bytes] | tuple[None, None],
    lasts: timedelta,
    ip: str,
    agent: str,
) -> str:
    token = secrets.token_urlsafe(32)
    await db.execute(
        """INSERT INTO webmail_token
             (token_hash, workspace_id, mailbox_id, portal_session, bound, expires_at, ip, user_agent)
           VALUES (%s, %s, %s, %s, %s, now() + %s, %s, %s)""",
        [hashed(token), workspace, mailbox_id, *by, lasts, ip, _printable(agent)[:300]],
    )
    return token


async def exchange(db: Connection, token: str, number: str = "") -> Ticket | None:
    """The ticket for a token, which is void from now on; None for one used, over, forged, or of another browser."""
    found = await maybe(
        db,
        """DELETE FROM webmail_token t USING mailbox m
           WHERE t.token_hash = %s AND m.id = t.mailbox_id
           RETURNING t.workspace_id, t.mailbox_id, t.portal_session, t.ip, t.user_agent, m.address, m.name,
             m.created_at,
             (t.bound IS NULL OR t.bound = %s) AND m.enabled AND t.expires_at > now()
               AND (t.portal_session IS NULL OR EXISTS (
               SELECT 1 FROM mailbox_session s WHERE s.token_hash = t.portal_session
                 AND s.mailbox_id = t.mailbox_id AND s.expires_at > now() AND NOT s.second_step)) AS good""",
        [hashed(token), hashed(number)],
    )
    if found is None or not found["good"]:
        return None
    secret = secrets.token_urlsafe(32)
    made = await one(
        db,
        """INSERT INTO app_password (workspace_id, mailbox_id, name, scope, secret_hash, expires_at, portal_session)
           VALUES (%s, %s, 'Webmail', 'webmail', %s, now() + %s, %s) RETURNING id""",
        [found["workspace_id"], found["mailbox_id"], hashed(secret), IDLE, found["portal_session"]],
    )
    await _record(db, found, made["id"])
    return Ticket(
        found["address"],
        found["name"],
        secret,
        found["created_at"],
        await _senders(db, found["address"], found["name"]),
    )


async def alive(db: Connection, secret: str) -> bool:
    """Whether the session of this password goes on; being asked is a use of it."""
    found = await maybe(
        db,
        """SELECT a.id, a.created_at, a.expires_at < now() + %s AS extend
           FROM app_password a JOIN mailbox m ON m.id = a.mailbox_id
           LEFT JOIN mailbox_session s ON s.token_hash = a.portal_session
           WHERE a.secret_hash = %s AND a.scope = 'webmail' AND m.enabled AND a.expires_at > now()
             AND (a.portal_session IS NULL OR s.expires_at > now())""",
        [IDLE - _GRAIN, hashed(secret)],
    )
    if found is None:
        return False
    if found["extend"]:
        await db.execute(
            """UPDATE app_password SET last_used_at = now(), expires_at = least(created_at + %s, now() + %s)
               WHERE id = %s""",
            [LONGEST, IDLE, found["id"]],
        )
    return True


async def end(db: Connection, secret: str, *, portal: bool = False) -> None:
    """End the session of this password; with `portal`, the portal's session that it was opened from, too."""
    gone = await maybe(
        db,
        "DELETE FROM app_password WHERE secret_hash = %s AND scope = 'webmail' RETURNING portal_session",
        [hashed(secret)],
    )
    if portal and gone is not None and gone["portal_session"] is not None:
        await db.execute("DELETE FROM mailbox_session WHERE token_hash = %s", [gone["portal_session"]])


async def sweep(db: Connection) -> int:
    """Take away what is over; returns how many passwords that were."""
    await db.execute("DELETE FROM webmail_token WHERE expires_at < now()")
    gone = await db.execute("DELETE FROM app_password WHERE scope = 'webmail' AND expires_at < now()")
    return gone.rowcount


async def _senders(db: Connection, address: str, name: str) -> list[Row]:
    """Addresses that Postfix lets this login send as; its own first. `@domain` names no single address."""
    found = await rows(
        db,
        """SELECT DISTINCT address FROM mta.sender_login
           WHERE %s = ANY (string_to_array(replace(login, ' ', ''), ',')) AND address NOT LIKE '@%%'
             AND address <> %s ORDER BY address LIMIT 200""",
        [address, address],
    )
    return [{"address": each, "name": name} for each in (address, *(row["address"] for row in found))]


async def _record(db: Connection, found: Row, app_password: int) -> None:
    await db.execute(
        """INSERT INTO mailbox_sign_in
             (workspace_id, mailbox_id, login, protocol, ip, succeeded, app_password_id, client)
           VALUES (%s, %s, %s, 'webmail', %s, true, %s, %s)""",
        [found["workspace_id"], found["mailbox_id"], found["address"], found["ip"], app_password, found["user_agent"]],
    )


def _printable(text: str) -> str:
    """What PostgreSQL can hold."""
    return "".join(filter(str.isprintable, text))
