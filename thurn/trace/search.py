"""Finding mails in the trace: by address, domain, Message-ID or queue id, in a window of time, by what became of them.

Lists go by the time a mail came, newest first; a page goes on after the place of the last row of the one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.problems import Invalid, NotFound
from thurn.trace.book import LONGEST_KEY

STATES = ("delivered", "deferred", "bounced", "refused", "postponed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; empty members do not restrict."""

    query: str = ""
    state: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page goes on: behind this row."""

    at: datetime
    number: int

    def __str__(self) -> str:
        """As it stands in a URL."""
        return f"{int(self.at.timestamp() * 1_000_000)}-{self.number}"

    @classmethod
    def of(cls, text: str | None) -> "Place | None":
        """Undo `str`; `Invalid` for what we did not give."""
        if text is None:
            return None
        micros, _, number = text.partition("-")
        if not (text.isascii() and micros.isdigit() and number.isdigit() and len(micros) < 17 and len(number) < 19):
            raise Invalid("cursor", "Give `next` of the page before as it came.")
        return cls(datetime.fromtimestamp(int(micros) // 1_000_000, UTC).replace(microsecond=int(micros) % 1_000_000),
                   int(number))  # fmt: skip


def keys_of(query: str) -> list[str]:
    """The keys that a person's words may stand for: an address in any case, a Message-ID with or without brackets."""
    text = "".join(filter(str.isprintable, query)).strip()
    if not text:
        return []
    found = [text.lower(), text]
    if "@" in text and not text.startswith(("<", "@")):
        found.append(f"<{text}>")
    if text.startswith("<") and text.endswith(">"):
        found.append(text[1:-1].lower())
    return list(dict.fromkeys(key[:LONGEST_KEY] for key in found))


_ROW = """r.id, r.trace_id, r.at, r.recipient, r.original, r.state, r.reply, r.attempts, r.changed_at,
          m.sender, m.message_id, m.queue_id, m.size, m.ours, coalesce(v.subject, '') AS subject"""
_SUBJECT = """LEFT JOIN LATERAL (SELECT subject FROM spam_verdict WHERE queue_id = m.queue_id AND m.queue_id <> ''
  ORDER BY id DESC LIMIT 1) AS v ON true"""
_WINDOW = """(%(before)s::timestamptz IS NULL OR ({t}.at, {t}.{id}) < (%(before)s, %(number)s))
  AND ({t}.at >= coalesce(%(since)s::timestamptz, '-infinity'))
  AND ({t}.at < coalesce(%(until)s::timestamptz, 'infinity'))"""
# Each key is a walk along its own index range; two walks for one mail meet in DISTINCT.
_BY_KEY = f"""
SELECT {_ROW} FROM (
  SELECT DISTINCT found.at, found.recipient_id
  FROM unnest(%(keys)s::text[]) AS wanted (key) CROSS JOIN LATERAL (
    SELECT k.at, k.recipient_id FROM trace_key k
    WHERE k.workspace_id = (SELECT current_workspace()) AND k.key = wanted.key
      AND {_WINDOW.format(t="k", id="recipient_id")}
      AND (%(state)s = '' OR EXISTS (
        SELECT 1 FROM trace_recipient s WHERE s.id = k.recipient_id AND s.state = %(state)s))
    ORDER BY k.at DESC, k.recipient_id DESC LIMIT %(limit)s) AS found
  ORDER BY found.at DESC, found.recipient_id DESC LIMIT %(limit)s
) AS page JOIN trace_recipient r ON r.id = page.recipient_id JOIN trace_message m ON m.id = r.trace_id
{_SUBJECT}
ORDER BY r.at DESC, r.id DESC
"""  # noqa: S608 - constants
_NEWEST = f"""
SELECT {_ROW} FROM (
  SELECT * FROM trace_recipient s
  WHERE s.workspace_id = (SELECT current_workspace()) AND (%(state)s = '' OR s.state = %(state)s)
    AND {_WINDOW.format(t="s", id="id")}
  ORDER BY s.at DESC, s.id DESC LIMIT %(limit)s
) AS r JOIN trace_message m ON m.id = r.trace_id
{_SUBJECT}
ORDER BY r.at DESC, r.id DESC
"""  # noqa: S608 - constants
# The same mail by its Message-ID: where a filter sent it on, or where it came from.
_SAME = """
SELECT DISTINCT r.id, r.trace_id, r.recipient, r.state, m.client_name FROM trace_key k
  JOIN trace_recipient r ON r.id = k.recipient_id JOIN trace_message m ON m.id = r.trace_id
WHERE k.workspace_id = (SELECT current_workspace()) AND k.key = %(key)s AND k.key <> '' AND r.trace_id <> %(id)s
  AND k.at BETWEEN %(at)s - interval '1 day' AND %(at)s + interval '1 day'
ORDER BY r.id LIMIT 20
"""
# With a state named as a constant the index of states serves; a parameter that may be empty would hide it.
_NEWEST_OF = _NEWEST.replace("(%(state)s = '' OR s.state = %(state)s)", "s.state = %(state)s")


async def find(db: Connection, wanted: Wanted, *, after: Place | None = None, limit: int = 25) -> list[Row]:
    """A page of recipients, newest first."""
    if wanted.state and wanted.state not in STATES:
        raise Invalid("state", f"One of: {', '.join(STATES)}.")
    keys = keys_of(wanted.query)
    values: dict[str, Any] = {
        "keys": keys, "state": wanted.state, "since": wanted.since, "until": wanted.until, "limit": limit,
        "before": after.at if after else None, "number": after.number if after else None,
    }  # fmt: skip
    query = _BY_KEY if keys else _NEWEST_OF if wanted.state else _NEWEST
    return await (await db.execute(query, values)).fetchall()


def place_of(found: Sequence[Row]) -> str:
    """Where the page behind these rows begins."""
    return str(Place(found[-1]["at"], found[-1]["id"]))


async def message(db: Connection, number: int) -> Row:
    """A mail with its `recipients`, each with its `steps`, the `steps` that concern all, and `elsewhere`: recipients of
    mails with the same Message-ID, as when a filter sent it on. `NotFound`."""
    found = await maybe(db, "SELECT * FROM trace_message WHERE id = %s", [number])
    if found is None:
        raise NotFound("There is no such mail in the trace. Older ones are forgotten.")
    steps = await rows(db, "SELECT * FROM trace_step WHERE trace_id = %s ORDER BY id", [number])
    elsewhere = await rows(db, _SAME, {"key": found["message_id"][:LONGEST_KEY], "id": number, "at": found["at"]})
    recipients = await rows(db, "SELECT * FROM trace_recipient WHERE trace_id = %s ORDER BY id", [number])
    for recipient in recipients:
        recipient["steps"] = [step for step in steps if step["recipient_id"] == recipient["id"]]
    return found | {
        "recipients": recipients,
        "steps": [step for step in steps if step["recipient_id"] is None],
        "verdict": await verdict(db, found["queue_id"]),
        "elsewhere": elsewhere,
    }


async def verdict(db: Connection, queue_id: str) -> Row | None:
    """What Rspamd said of it, in this workspace's eyes; None if it was not asked."""
    query = "SELECT * FROM spam_verdict WHERE queue_id = %s AND queue_id <> '' ORDER BY id DESC LIMIT 1"
    return await maybe(db, query, [queue_id])


async def campaign_mails(db: Connection, address: str, *, limit: int = 25) -> list[Row]:
    """Campaigns' mails to an address, newest first: the ledger's own words, kept longer than the trace."""
    text = "".join(filter(str.isprintable, address)).strip().lower()
    if "@" not in text or text.startswith("@") or len(text) > 320:
        return []
    return await rows(
        db,
        """SELECT d.campaign_id, d.id, d.recipient, d.state::text AS state, d.category, d.reply,
                  coalesce(d.settled_at, d.handed_over_at, d.send_at) AS at, c.name AS campaign
           FROM contact p JOIN delivery d ON d.contact_id = p.id JOIN campaign c ON c.id = d.campaign_id
           WHERE p.workspace_id = (SELECT current_workspace()) AND lower(p.email) = %s
           ORDER BY d.campaign_id DESC LIMIT %s""",
        [text, limit],
    )


async def campaign_mail(db: Connection, campaign: int, delivery: int) -> Row:
    """One mail of a campaign, with what happened to it as `events`. `NotFound`."""
    found = await maybe(
        db,
        """SELECT d.campaign_id, d.id, d.contact_id, d.recipient, d.state::text AS state, d.category, d.hard, d.reply,
                  d.handed_over_at, d.settled_at, c.name AS campaign, c.from_address, c.subject
           FROM delivery d JOIN campaign c ON c.id = d.campaign_id WHERE d.campaign_id = %s AND d.id = %s""",
        [campaign, delivery],
    )
    if found is None:
        raise NotFound("There is no such mail of a campaign here.")
    events = await rows(
        db,
        """SELECT at, kind, actor, detail FROM event WHERE campaign_id = %s AND delivery_id = %s
           ORDER BY at, id LIMIT 200""",
        [campaign, delivery],
    )
    return found | {"events": events}
