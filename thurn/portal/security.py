"""Who gets into a mailbox: its password, who used which door lately, and what to do when it was somebody else."""

import re
from dataclasses import dataclass
from datetime import datetime

from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.guard import sign_ins
from thurn.mailhost import app_passwords, mailboxes, passwords
from thurn.portal import changes, sessions
from thurn.problems import Invalid
from thurn.webmail.service import OPERATORS_LINK

_PROTOCOLS = {
    "imap": "Mail program", "pop3": "Mail program (POP3)", "smtp": "Mail program, sending",
    "sieve": "Mail program, rules", "portal": "This portal", "webmail": "Webmail",
}  # fmt: skip
_BROWSERS = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Chromium", "Chromium"),
    ("Safari", "Safari"), ("curl", "curl"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """One way a mailbox was reached lately: by which door, with what, from where; how often and when last."""

    what: str
    ip: str
    succeeded: bool
    times: int
    last: datetime
    by_password: bool  # a mail program that used the password proper


async def ways(db: Connection, mailbox_id: int, *, limit: int = 20, days: int = 30) -> list[Way]:
    """How the mailbox was reached or tried lately, last first. A phone that looks every minute is one line."""
    found = await rows(
        db,
        """SELECT s.protocol, s.ip, s.succeeded, s.client, a.name AS app, a.scope, count(*) AS times, max(s.at) AS last
           FROM mailbox_sign_in s LEFT JOIN app_password a ON a.id = s.app_password_id
           WHERE s.mailbox_id = %s AND s.at > now() - make_interval(days => %s)
             AND coalesce(a.scope, 'programs') = 'programs'
           GROUP BY s.protocol, s.ip, s.succeeded, s.client, a.name, a.scope ORDER BY last DESC LIMIT %s""",
        [mailbox_id, days, limit],
    )
    return [
        Way(
            _what(row["protocol"], row["client"], row["app"]), row["ip"], row["succeeded"], row["times"], row["last"],
            row["app"] is None and row["succeeded"] and row["protocol"] not in ("portal", "webmail"),
        )
        for row in found
    ]  # fmt: skip


def _what(protocol: str, client: str, app: str | None) -> str:
    if app:
        return f"“{app}”"
    named = _PROTOCOLS.get(protocol, protocol)
    seen = ""
    if protocol in ("portal", "webmail"):
        seen = client if client == OPERATORS_LINK else device(client)
    return f"{named}, {seen}" if seen else named


def device(user_agent: str) -> str:
    """“Firefox on Windows” for what a browser calls itself; empty when that says nothing."""
    browser = next((name for mark, name in _BROWSERS if re.search(rf"\b{mark}\b", user_agent)), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if browser and system else browser or system


async def check_password(db: Connection, mailbox_id: int, password: str, ip: str, field: str = "current") -> None:
    """Raise `Invalid` unless this is the mailbox's password. A guess counts as one at the door."""
    row = await one(db, "SELECT address, password_hash FROM mailbox WHERE id = %s", [mailbox_id])
    verdict = await sign_ins.allowed(db, login=row["address"], ip=ip)
    if not verdict.ok:
        raise Invalid(field, verdict.text)
    if not await passwords.matches(row["password_hash"], password) or len(password) > passwords.LONGEST:
        await sign_ins.record(db, login=row["address"], protocol="portal", ip=ip, succeeded=False)
        raise Invalid(field, "This is not the password of the mailbox. Capitals count.")


async def change_password(
    db: Connection, workspace: int, mailbox_id: int, *, current: str, new: str, again: str, ip: str
) -> None:
    """A new password; whoever is signed in to the portal is so no more. `Invalid` (current, password, again)."""
    row = await one(db, "SELECT address FROM mailbox WHERE id = %s", [mailbox_id])
    passwords.check(new, row["address"])
    if new != again:
        raise Invalid("again", "This is not the same as above.")
    await check_password(db, mailbox_id, current, ip)
    if new == current:
        raise Invalid("password", "This is the password you have. Take another one.")
    await mailboxes.set_password(db, row["address"], new)
    await changes.note(db, workspace, mailbox_id, "The password was changed")


async def not_me(db: Connection, workspace: int, mailbox_id: int, session: bytes) -> None:
    """Somebody else was in: end every other session and revoke every app password. The password is asked for next."""
    await sessions.end_others(db, mailbox_id, session)
    for row in await app_passwords.of_mailbox(db, mailbox_id):
        await app_passwords.revoke(db, mailbox_id, row["id"])
    await changes.note(db, workspace, mailbox_id, "“One of these was not me”: everybody signed out, app passwords gone")
