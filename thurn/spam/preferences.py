"""What a domain and a mailbox want to happen with spam, and whom they always or never want mail from."""

from dataclasses import dataclass
from typing import LiteralString

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound
from thurn.spam.senders import Listed, entry
from thurn.spam.wishes import GREYLIST_AT, JUNK_AT, NEVER, REFUSE_AT

DIGEST_HOUR = 7
_MOST = 500  # senders of one list


@dataclass(frozen=True, slots=True)
class Preferences:
    """Own wishes; None: as the domain says, or Thurn where it says nothing."""

    junk_at: int | None = None
    refuse_at: int | None = None
    greylist: bool | None = None
    digest: bool | None = None
    digest_hour: int | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """What comes of all wishes together."""

    junk_at: int = JUNK_AT
    refuse_at: int = REFUSE_AT
    greylist: bool = True
    digest: bool = True
    digest_hour: int = DIGEST_HOUR

    def under(self, own: Preferences) -> "Effective":
        """With somebody's own wishes in place of these."""
        chosen = {
            name: getattr(self, name) if getattr(own, name) is None else getattr(own, name)
            for name in ("junk_at", "refuse_at", "greylist", "digest", "digest_hour")
        }
        return Effective(**chosen)


def outcome(wish: Effective) -> list[str]:
    """What would happen, in words."""
    junk, refuse = wish.junk_at, max(wish.junk_at, wish.refuse_at)
    said = [
        "No mail is sorted into Junk for its points."
        if junk >= NEVER
        else f"A mail with {junk} points or more goes to Junk.",
        "No mail is refused for its points."
        if refuse >= NEVER
        else f"With {refuse} points or more it is refused, its sender is told, and it is held here for 30 days.",
    ]
    if wish.greylist:
        said.append(
            f"From {min(GREYLIST_AT, junk)} points a sender’s server is asked to come again after 5 minutes. "
            "Real ones do, most of those that send spam do not."
        )
    if wish.digest and refuse < NEVER:
        said.append(f"When something new is held, a list comes by mail at {wish.digest_hour}:00.")
    return said


_COLUMNS: LiteralString = "junk_at, refuse_at, greylist, digest, digest_hour"


async def get(db: Connection, domain_id: int, mailbox_id: int | None = None) -> tuple[Preferences, Effective]:
    """Own wishes of a domain or of one of its mailboxes, and what is true together with those above."""
    effective, own = Effective(), Preferences()
    for level in (None,) if mailbox_id is None else (None, mailbox_id):
        row = await maybe(
            db,
            f"SELECT {_COLUMNS} FROM spam_setting WHERE domain_id = %s AND mailbox_id IS NOT DISTINCT FROM %s",  # noqa: S608
            [domain_id, level],
        )
        own = Preferences(**row) if row else Preferences()
        effective = effective.under(own)
    return own, effective


async def put(
    db: Connection, workspace: int, domain_id: int, mailbox_id: int | None = None, *, wish: Preferences
) -> None:
    """Replace the own wishes. Raises `Invalid` for points or an hour that cannot be."""
    for name, value in (("junk_at", wish.junk_at), ("refuse_at", wish.refuse_at)):
        if value is not None and not 1 <= value <= NEVER:
            raise Invalid(name, f"Give points from 1 to 100, or {NEVER} for never.")
    if wish.digest_hour is not None and not 0 <= wish.digest_hour <= 23:
        raise Invalid("digest_hour", "Give an hour from 0 to 23.")
    if wish.junk_at is not None and wish.refuse_at is not None and wish.refuse_at < wish.junk_at:
        raise Invalid("refuse_at", "Refuse from as many points as Junk, or more: else nothing would get to Junk.")
    await db.execute(
        f"""INSERT INTO spam_setting (workspace_id, domain_id, mailbox_id, {_COLUMNS})
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (domain_id, mailbox_id) DO UPDATE SET ({_COLUMNS}) =
              (excluded.junk_at, excluded.refuse_at, excluded.greylist, excluded.digest, excluded.digest_hour)""",  # noqa: S608
        [
            *(workspace, domain_id, mailbox_id, wish.junk_at, wish.refuse_at, wish.greylist),
            *(wish.digest, wish.digest_hour),
        ],
    )


async def senders(db: Connection, domain_id: int, mailbox_id: int | None = None) -> list[Row]:
    """The list of a domain, or a mailbox's own, by sender."""
    return await rows(
        db,
        """SELECT sender, verdict, created_at FROM spam_sender
           WHERE domain_id = %s AND mailbox_id IS NOT DISTINCT FROM %s ORDER BY sender LIMIT 1000""",
        [domain_id, mailbox_id],
    )


async def add_sender(
    db: Connection, workspace: int, domain_id: int, mailbox_id: int | None = None, *, sender: str, verdict: Listed
) -> str:
    """Put a sender on the list, or change what it says; returns it as stored."""
    stored = entry(sender)
    n = await one(
        db,
        "SELECT count(*) AS n FROM spam_sender WHERE domain_id = %s AND mailbox_id IS NOT DISTINCT FROM %s",
        [domain_id, mailbox_id],
    )
    if n["n"] >= _MOST:
        raise Conflict(f"This list is full: {_MOST} senders fit. A *.domain covers all below it.")
    await db.execute(
        """INSERT INTO spam_sender (workspace_id, domain_id, mailbox_id, verdict, sender) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (domain_id, mailbox_id, sender) DO UPDATE SET verdict = excluded.verdict""",
        [workspace, domain_id, mailbox_id, verdict, stored],
    )
    return stored


async def remove_sender(db: Connection, domain_id: int, mailbox_id: int | None = None, *, sender: str) -> None:
    """Take a sender off the list; `NotFound` if it is not on it."""
    try:
        stored = entry(sender)
    except Invalid as wrong:
        raise NotFound("There is no such sender on this list.") from wrong
    gone = await db.execute(
        "DELETE FROM spam_sender WHERE domain_id = %s AND mailbox_id IS NOT DISTINCT FROM %s AND sender = %s",
        [domain_id, mailbox_id, stored],
    )
    if not gone.rowcount:
        raise NotFound(f"{stored} is not on this list.")
