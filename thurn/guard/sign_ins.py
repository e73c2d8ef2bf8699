"""Guessing passwords is slowed down, then banned, at every door alike: mail programs, portal, webmail, web interface.

Counted are different failures: by client, and by login, where whoever comes from a network that signed in before does
not wait for what strangers do. Nobody's mailbox is ever locked.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.guard import bans, limits
from thurn.guard.clients import NOBODY, client_of, is_ours, neighbourhood_of
from thurn.guard.figures import DOORS

_LONGEST_LOGIN = 320


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password may be tried now; if not, why in words, and how many seconds to wait."""

    ok: bool
    text: str = ""
    wait: int = 0
    banned: bool = False


async def allowed(db: Connection, *, login: str, ip: str) -> Verdict:
    """Whether `ip` may try a password of `login` now. One try at a time: until the transaction is over, no other is.

    Then `record` what came of it, and commit also after a refusal.
    """
    login = stored(login)
    locked = await one(db, "SELECT pg_try_advisory_xact_lock(hashtext('sign-in'), hashtext(%s)) AS mine", [login])
    if not locked["mine"]:
        return Verdict(False, "Somebody is trying to sign in with this address right now. Try again in a moment.", 1)
    return await weigh(db, login=login, ip=ip)


async def weigh(db: Connection, *, login: str, ip: str) -> Verdict:
    """As `allowed`, without keeping others waiting."""
    login, client = stored(login), client_of(ip)
    banned = await bans.of_client(db, ip)
    if banned:
        left = limits.duration(banned["left"])
        return Verdict(
            False,
            f"There were too many failed sign-ins from your network. Try again in {left}, or ask whoever runs this "
            "server to lift the ban.",
            max(1, round(banned["left"])),
            banned=True,
        )
    seconds = await _wait(db, login, client, ip)
    if seconds:
        return Verdict(False, f"Too many attempts. Try again in {seconds} s; your account is not locked.", seconds)
    return Verdict(True)


async def record(
    db: Connection, *, login: str, protocol: str, ip: str, succeeded: bool, client: str = "",
    app_password_id: int | None = None, mark: str = "", checked: bool = True,
) -> None:  # fmt: skip
    """Count what came of a try. `protocol`: imap pop3 sieve smtp portal webmail, or `web` for accounts.

    `mark` tells wrong passwords apart (see `mark_of`); without one each failure counts. One that was not `checked`, for
    it had to wait, brings its client nearer to a ban and keeps nobody else waiting.
    """
    login = stored(login)
    if succeeded:
        await _succeeded(db, login, ip)
    else:
        await _failed(db, login, ip, protocol, mark, checked)
    if protocol != "web":
        await db.execute(
            "SELECT note_sign_in(%s, %s, %s, %s, %s, %s)",
            [login, protocol, printable(ip, 45), succeeded, app_password_id, printable(client, 200)],
        )


async def recent(db: Connection, mailbox_id: int, limit: int = 50) -> list[Row]:
    """The last sign-ins to a mailbox, newest first: at, protocol, ip, succeeded, client, app_password (its name)."""
    return await rows(
        db,
        """SELECT s.at, s.protocol, s.ip, s.succeeded, s.client, coalesce(a.name, '') AS app_password
           FROM mailbox_sign_in s LEFT JOIN app_password a ON a.id = s.app_password_id
           WHERE s.mailbox_id = %s ORDER BY s.at DESC, s.id DESC LIMIT %s""",
        [mailbox_id, limit],
    )


def mark_of(nonce: bytes, login: str, password: str) -> str:
    """Twelve bits of the password's hash: enough to see the same one again, too few to find out which it is."""
    text = nonce + stored(login).encode() + b"\0" + password.encode("utf-8", "surrogatepass")
    return sha256(text).hexdigest()[:3]


def stored(login: str) -> str:
    """A login as it is counted: printable, in lower case, not longer than an address can be."""
    return printable(login.strip().lower(), _LONGEST_LOGIN)


def printable(text: str, most: int) -> str:
    """What PostgreSQL can hold and a line can show, cut off at `most` characters."""
    return "".join(filter(str.isprintable, text))[:most]


async def _wait(db: Connection, login: str, client: str, ip: str) -> int:
    """Seconds until the next try. Those on the never-ban list and our own do not wait for what their network did."""
    row = await one(
        db,
        """SELECT
             (SELECT count(*) FROM guard_failure WHERE login = %(login)s AND checked AND at > now() - %(window)s)
               AS by_login,
             (SELECT count(*) FROM guard_failure WHERE client = %(client)s AND at > now() - %(window)s) AS by_client,
             (SELECT extract(epoch FROM now() - max(at))::float FROM guard_failure
              WHERE login = %(login)s AND checked) AS login_ago,
             (SELECT extract(epoch FROM now() - max(at))::float FROM guard_failure
              WHERE client = %(client)s AND checked) AS client_ago,
             EXISTS (SELECT 1 FROM guard_known WHERE login = %(login)s AND network = %(around)s
                       AND at > now() - %(known)s) AS known,
             EXISTS (SELECT 1 FROM guard_allow WHERE network >>= %(client)s) AS exempt""",
        {"login": login, "client": client, "around": neighbourhood_of(ip), "window": limits.REMEMBERED,
         "known": limits.KNOWN},
    )  # fmt: skip
    waits = [0]
    if not row["known"]:
        waits.append(limits.wait(row["by_login"], limits.FREE_BY_LOGIN, row["login_ago"]))
    if not (row["exempt"] or is_ours(ip)):
        waits.append(limits.wait(row["by_client"], limits.FREE_BY_CLIENT, row["client_ago"]))
    return max(waits)


async def _succeeded(db: Connection, login: str, ip: str) -> None:
    """Forget this client's failures with this login, not those of others: somebody may be guessing right now."""
    client = client_of(ip)
    await db.execute("DELETE FROM guard_failure WHERE client = %s AND login = %s", [client, login])
    if client != NOBODY:
        await db.execute(
            """INSERT INTO guard_known (login, network) VALUES (%s, %s)
               ON CONFLICT (login, network)
                 DO UPDATE SET at = now() WHERE guard_known.at < now() - interval '1 hour'""",
            [login, neighbourhood_of(ip)],
        )


async def _failed(db: Connection, login: str, ip: str, door: str, mark: str, checked: bool) -> None:
    client = client_of(ip)
    await db.execute(
        """INSERT INTO guard_failure AS f (client, login, mark, door, checked) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (client, login, mark) DO UPDATE SET
             at = CASE WHEN excluded.checked OR NOT f.checked THEN now() ELSE f.at END,
             times = f.times + 1, door = excluded.door, checked = f.checked OR excluded.checked""",
        [client, login, printable(mark, 64) or secrets.token_hex(8), door, checked],
    )
    counted = await maybe(
        db,
        """SELECT count(*) AS failures, count(DISTINCT login) AS logins FROM guard_failure
           WHERE client = %s AND at > now() - %s HAVING count(*) >= %s""",
        [client, limits.REMEMBERED, limits.BAN_CLIENT],
    )
    if counted:
        who, last = _logins(counted["logins"], login), DOORS.get(door, door)
        detail = f"{counted['failures']} failed sign-ins as {who}, the last by {last}"
        await bans.ban(db, ip, cause="sign-ins", detail=detail)


def _logins(count: int, last: str) -> str:
    return last if count == 1 else f"{count} different logins"
