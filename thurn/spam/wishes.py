"""What the recipients of one mail want, as Rspamd asks it before it judges.

A score is of the mail, wishes are of people. With several recipients here the mildest wish decides what is refused or
put off, for the one answer at SMTP goes to all. Junk is decided for each mailbox at delivery, by its own wish.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from thurn.db.connect import Connection
from thurn.db.fetch import maybe, rows
from thurn.spam.senders import Entry, keys, listed

JUNK_AT, REFUSE_AT, GREYLIST_AT, NEVER = 6, 15, 4, 1000
_DEPTH = 8  # aliases of aliases
_MOST = 100  # recipients looked at; Postfix hands over no more than smtpd_recipient_limit


@dataclass(frozen=True, slots=True)
class Wish:
    """What one mailbox wants of mail from this sender."""

    junk_at: int = JUNK_AT
    refuse_at: int = REFUSE_AT
    greylist: bool = True
    allowed: bool = False
    blocked: bool = False
    mark: str = ""
    domain: str = ""


def answer(wishes: Sequence[Wish]) -> dict[str, Any]:
    """What Rspamd does with it: thresholds, and whether a sender is on everybody's list."""
    wishes = wishes or [Wish()]
    junk, refuse = max(w.junk_at for w in wishes), max(w.refuse_at for w in wishes)
    grey = min(GREYLIST_AT, junk) if all(w.greylist for w in wishes) else NEVER
    blocked = [w for w in wishes if w.blocked]
    allowed = all(w.allowed for w in wishes)
    return {
        "actions": {"greylist": NEVER if allowed else grey, "add header": junk, "reject": refuse},
        "allowed": allowed,
        "blocked": len(blocked) == len(wishes),
        # Each domain's filter learns by itself: people of one house shape nobody else's mail, and show them nothing.
        "memory": wishes[0].domain if len({w.domain for w in wishes}) == 1 else "",
        "junk_for": [w.mark for w in blocked] if len(blocked) < len(wishes) else [],
    }


async def wishes_of(db: Connection, recipients: Iterable[str], *, header_from: str, mail_from: str) -> list[Wish]:
    """The wish of every mailbox that these recipients lead to."""
    boxes = await mailboxes_of(db, recipients)
    if not boxes:
        return []
    ids = list(boxes)
    found = await rows(
        db,
        """SELECT m.id, m.junk_mark::text AS mark, split_part(m.address, '@', 2) AS domain,
             coalesce(o.junk_at, d.junk_at, %(junk)s) AS junk_at,
             coalesce(o.refuse_at, d.refuse_at, %(refuse)s) AS refuse_at,
             coalesce(o.greylist, d.greylist, true) AS greylist
           FROM mailbox m
             LEFT JOIN spam_setting d ON d.domain_id = m.domain_id AND d.mailbox_id IS NULL
             LEFT JOIN spam_setting o ON o.mailbox_id = m.id
           WHERE m.id = ANY(%(ids)s)""",
        {"ids": ids, "junk": JUNK_AT, "refuse": REFUSE_AT},
    )
    candidates = [*keys(header_from), *keys(mail_from)]
    lists: dict[int, list[Entry]] = {each: [] for each in ids}
    for row in await rows(
        db,
        """SELECT m.id, s.sender, s.verdict, s.mailbox_id IS NOT NULL AS own
           FROM mailbox m JOIN spam_sender s ON s.domain_id = m.domain_id
             AND (s.mailbox_id IS NULL OR s.mailbox_id = m.id)
           WHERE m.id = ANY(%s) AND s.sender = ANY(%s)""",
        [ids, candidates],
    ):
        lists[row["id"]].append(Entry(row["sender"], row["verdict"], row["own"]))
    return [_wish(row, lists[row["id"]], header_from, mail_from) for row in found]


def _wish(row: dict[str, Any], entries: list[Entry], header_from: str, mail_from: str) -> Wish:
    # Allowed by the name that people see, for that one is proven by DMARC's alignment; blocked by either.
    shown, envelope = listed(entries, header_from), listed(entries, mail_from)
    blocked = shown == "block" or (shown is None and envelope == "block")
    return Wish(
        row["junk_at"],
        max(row["refuse_at"], row["junk_at"]),
        row["greylist"],
        shown == "allow",
        blocked,
        row["mark"],
        row["domain"],
    )


async def mailboxes_of(db: Connection, recipients: Iterable[str]) -> dict[int, int]:
    """Mailboxes that mail to these addresses reaches, with their workspaces, by aliases as Postfix follows them."""
    found: dict[int, int] = {}
    waiting = [(clean(each), 0) for each in list(recipients)[:_MOST]]
    seen: set[str] = set()
    while waiting:
        address, depth = waiting.pop()
        if address in seen or depth > _DEPTH or "@" not in address:
            continue
        seen.add(address)
        local, _, domain = address.rpartition("@")
        base = f"{local.partition('+')[0]}@{domain}"
        targets: list[str] = []
        for form in dict.fromkeys((address, base)):  # as Postfix asks; a catch-all and alias domains are in the answer
            row = await maybe(db, "SELECT targets FROM mta.aliases(%s)", [form])
            if row is not None:
                targets = [each.strip().lower() for each in row["targets"].split(",")]
                break
        waiting += [(each, depth + 1) for each in targets]
        if not targets or {address, base} & set(targets):  # it stays here, perhaps besides going on
            box = await maybe(db, "SELECT id, workspace_id FROM mailbox WHERE address = ANY(%s)", [[address, base]])
            if box is not None:
                found[box["id"]] = box["workspace_id"]
    return found


def clean(text: object, longest: int = 320) -> str:
    """A text of a stranger's as PostgreSQL can hold it: printable, one line, not without end."""
    return "".join(c for c in str(text) if c.isprintable())[:longest].strip().lower()
