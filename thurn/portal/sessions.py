"""Signing in as a mailbox, and staying signed in. As accounts/sessions.py does it, for other people and another cookie.

A session is a random token in a cookie, of which the database keeps the hash. Signing in always makes a new one and
ends the one the browser came with (session fixation). A mailbox with two-factor gets there in two: the password gives
a session that opens nothing but the question for the code.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from thurn.accounts.sessions import SignInRefused as SignInRefused
from thurn.accounts.sessions import hash_token as hash_token
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.guard import sign_ins
from thurn.mailhost import passwords
from thurn.mailhost.mailboxes import stored
from thurn.portal import two_factor
from thurn.settings import Settings

LASTS = timedelta(days=14)
CODE_WITHIN = timedelta(minutes=10)  # between the password and the code
WRONG = "Address and password do not belong together."


@dataclass(frozen=True, slots=True)
class SignedInAs:
    """A fresh session: `token` goes into the cookie and nowhere else. `second_step`: the code is still to come."""

    mailbox_id: int
    token: str
    csrf: str
    second_step: bool = False


async def sign_in(
    db: Connection, *, address: str, password: str, ip: str = "", user_agent: str = "", previous: str | None = None
) -> SignedInAs | SignInRefused:
    """Check the password and start a session; `previous` is the token the browser came with, which ends.

    Commit also after a refusal: the try is recorded in the same transaction. Takes as long for an address nobody has.
    """
    login = stored(address[:400])
    verdict = await sign_ins.allowed(db, login=login, ip=ip)
    if not verdict.ok:
        return SignInRefused(verdict.text, verdict.wait)
    door = await maybe(db, "SELECT * FROM mailbox_door(%s)", [login])
    possible = 0 < len(password) <= passwords.LONGEST
    right = await passwords.matches(door["password_hash"] if door and possible else None, password)
    if previous is not None and right:
        await forget(db, previous)
    if door is not None:
        await enter_workspace(db, door["workspace_id"])
    if door is None or not right:
        await sign_ins.record(db, login=login, protocol="portal", ip=ip, succeeded=False, client=user_agent)
        return SignInRefused(WRONG)
    if not door["second_step"]:  # else it is not over yet
        await sign_ins.record(db, login=login, protocol="portal", ip=ip, succeeded=True, client=user_agent)
    return await start(
        db, door["workspace_id"], door["mailbox_id"], ip=ip, user_agent=user_agent, second_step=door["second_step"]
    )


async def give_code(
    db: Connection, settings: Settings, *, token: str, code: str, ip: str = "", user_agent: str = ""
) -> SignedInAs | SignInRefused | None:
    """The second step: trade a session that waits for its code for one that is signed in. None: it waits no more.

    Commit also after a refusal. After some wrong codes the session is over, and the password is asked for again.
    """
    row = await find(db, token, second_step=True)
    if row is None:
        return None
    verdict = await sign_ins.allowed(db, login=row["address"], ip=ip)
    if not verdict.ok:
        return SignInRefused(verdict.text, verdict.wait)
    right = await two_factor.check(db, settings, row["workspace_id"], row["mailbox_id"], code[:100])
    await sign_ins.record(db, login=row["address"], protocol="portal", ip=ip, succeeded=right, client=user_agent)
    if right:
        await end(db, row["mailbox_id"], row["session"])
        return await start(db, row["workspace_id"], row["mailbox_id"], ip=ip, user_agent=user_agent)
    counted = await one(
        db,
        "UPDATE mailbox_session SET wrong_codes = wrong_codes + 1 WHERE token_hash = %s RETURNING wrong_codes",
        [row["session"]],
    )
    if counted["wrong_codes"] >= two_factor.WRONG_CODES:
        await end(db, row["mailbox_id"], row["session"])
        return None
    return SignInRefused("This code is not the one, or was used already. Take the next one your app shows.")


async def enter_workspace(db: Connection, workspace: int) -> None:
    """Let the transaction see the workspace of the mailbox."""
    await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(workspace)])


async def start(
    db: Connection, workspace: int, mailbox_id: int, *, ip: str = "", user_agent: str = "", second_step: bool = False
) -> SignedInAs:
    """A new session of a mailbox whose password (or code, after it) was right."""
    started = SignedInAs(mailbox_id, secrets.token_urlsafe(32), secrets.token_urlsafe(32), second_step)
    await db.execute("DELETE FROM mailbox_session WHERE mailbox_id = %s AND expires_at < now()", [mailbox_id])
    await db.execute(
        """INSERT INTO mailbox_session
             (token_hash, workspace_id, mailbox_id, csrf, second_step, expires_at, ip, user_agent)
           VALUES (%s, %s, %s, %s, %s, now() + %s, %s, %s)""",
        [
            hash_token(started.token), workspace, mailbox_id, started.csrf, second_step,
            CODE_WITHIN if second_step else LASTS, ip, _printable(user_agent)[:300],
        ],
    )  # fmt: skip
    return started


async def find(db: Connection, token: str, *, second_step: bool = False) -> Row | None:
    """The session behind a token and its mailbox, whose workspace the transaction then sees; None if it is over.

    With `second_step`, one that still waits for its code; else one that is signed in.
    """
    door = await maybe(db, "SELECT * FROM mailbox_session_door(%s)", [hash_token(token)])
    if door is None or door["second_step"] != second_step:
        return None
    await enter_workspace(db, door["workspace_id"])
    return await maybe(
        db,
        """SELECT s.mailbox_id, m.address, m.name, s.workspace_id, w.name AS workspace_name, s.csrf,
                  s.token_hash AS session,
                  (SELECT count(*) FROM held_mail h WHERE h.mailbox_id = s.mailbox_id) AS held
           FROM mailbox_session s JOIN mailbox m ON m.id = s.mailbox_id JOIN workspace w ON w.id = s.workspace_id
           WHERE s.token_hash = %s""",
        [hash_token(token)],
    )


async def forget(db: Connection, token: str) -> None:
    """End the session behind a token, whoever's it is."""
    door = await maybe(db, "SELECT * FROM mailbox_session_door(%s)", [hash_token(token)])
    if door is not None:
        await enter_workspace(db, door["workspace_id"])
        await end(db, door["mailbox_id"], hash_token(token))


async def end(db: Connection, mailbox_id: int, session: bytes) -> None:
    """End one session of the mailbox; one that is over is no error."""
    await db.execute("DELETE FROM mailbox_session WHERE mailbox_id = %s AND token_hash = %s", [mailbox_id, session])


async def end_others(db: Connection, mailbox_id: int, session: bytes | None = None) -> int:
    """End every session of the mailbox but this one; returns how many there were."""
    gone = await db.execute(
        "DELETE FROM mailbox_session WHERE mailbox_id = %s AND token_hash IS DISTINCT FROM %s", [mailbox_id, session]
    )
    return gone.rowcount


async def of_mailbox(db: Connection, mailbox_id: int) -> list[Row]:
    """Who is signed in to the portal, newest first: session (hash), created_at, ip, user_agent."""
    return await rows(
        db,
        """SELECT token_hash AS session, created_at, ip, user_agent FROM mailbox_session
           WHERE mailbox_id = %s AND NOT second_step AND expires_at > now()
           ORDER BY created_at DESC LIMIT 100""",
        [mailbox_id],
    )


def _printable(text: str) -> str:
    """What PostgreSQL can hold."""
    return "".join(filter(str.isprintable, text))
