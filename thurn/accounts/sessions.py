"""Signing in and staying signed in.

A session is a random token in a cookie, of which the database keeps only the hash. Signing in always makes a new one
and ends the one the browser came with (session fixation). Guessing is slowed down by the guard.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from thurn.accounts import passwords
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.guard import sign_ins

LASTS = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class SignedInAs:
    """A fresh session: `token` goes into the cookie and nowhere else."""

    account_id: int
    token: str
    csrf: str


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """Why not, in words, and how many seconds to wait before the next try (0: none)."""

    reason: str
    wait: int = 0


def hash_token(token: str) -> bytes:
    """What is stored of a session's token."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


async def sign_in(
    db: Connection, *, email: str, password: str, ip: str = "", user_agent: str = "", previous: str | None = None
) -> SignedInAs | SignInRefused:
    """Check the password and start a session; `previous` is the token the browser came with, which ends.

    Commit also after a refusal: the failure is counted in the same transaction.
    """
    address = _storable(email).strip().lower()[:320]
    verdict = await sign_ins.allowed(db, login=address, ip=ip)
    if not verdict.ok:
        return SignInRefused(verdict.text, verdict.wait)
    account = await maybe(db, "SELECT id, password_hash FROM account WHERE lower(email) = %s", [address])
    too_long = len(password) > passwords.LONGEST
    known = account["password_hash"] if account and not too_long else None
    right = await passwords.matches(known, password[: passwords.LONGEST])
    if not right or account is None:
        await sign_ins.record(db, login=address, protocol="web", ip=ip, succeeded=False)
        return SignInRefused("Address and password do not belong together.")
    await sign_ins.record(db, login=address, protocol="web", ip=ip, succeeded=True)
    if previous is not None:
        await sign_out(db, previous)
    return await start_session(db, account=account["id"], ip=ip, user_agent=user_agent)


async def start_session(db: Connection, *, account: int, ip: str = "", user_agent: str = "") -> SignedInAs:
    """A new session for an account whose password was checked."""
    started = SignedInAs(account, secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    await db.execute("DELETE FROM session WHERE account_id = %s AND expires_at < now()", [account])
    await db.execute(
        """INSERT INTO session (token_hash, account_id, csrf, expires_at, ip, user_agent)
           VALUES (%s, %s, %s, now() + %s, %s, %s)""",
        [hash_token(started.token), account, started.csrf, LASTS, ip, _storable(user_agent)[:300]],
    )
    return started


async def sign_out(db: Connection, token: str) -> None:
    """End the session; one that is unknown or over already is no error."""
    await db.execute("DELETE FROM session WHERE token_hash = %s", [hash_token(token)])


async def open_workspace(db: Connection, token: str, slug: str | None) -> Row | None:
    """Who the token belongs to and the workspace it opens (`slug`, or the first one), which this transaction then sees.

    None when the session is unknown or over. A member of no such workspace gets `workspace_id` None.
    """
    return await maybe(
        db,
        """SELECT a.id AS account_id, a.email, a.name, s.csrf, w.id AS workspace_id, w.slug AS workspace_slug,
                  w.name AS workspace_name, m.role,
                  EXISTS (SELECT 1 FROM membership o JOIN workspace h ON h.id = o.workspace_id
                          WHERE o.account_id = a.id AND o.role = 'owner' AND h.slug = 'main') AS operator,
                  set_config('thurn.workspace', coalesce(w.id::text, ''), true) AS entered
           FROM session s JOIN account a ON a.id = s.account_id
           LEFT JOIN LATERAL (
             SELECT m.workspace_id, m.role FROM membership m JOIN workspace v ON v.id = m.workspace_id
             WHERE m.account_id = a.id AND (%(slug)s::text IS NULL OR v.slug = %(slug)s) ORDER BY v.id LIMIT 1
           ) m ON true
           LEFT JOIN workspace w ON w.id = m.workspace_id
           WHERE s.token_hash = %(hash)s AND s.expires_at > now()""",
        {"slug": slug, "hash": hash_token(token)},
    )


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")
