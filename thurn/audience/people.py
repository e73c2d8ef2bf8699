"""How a contact is shown: a name where there is one, a state with its reason, what happened as a line with stops."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from thurn.audience.barring import RULES
from thurn.db.connect import Connection, Row
from thurn.db.fetch import one, rows

COUNTED = 100_000  # counting further would cost more than the number is worth
STATES = {"subscribed": "Subscribed", "unsubscribed": "Left", "suppressed": "Suppressed"}
WHY_SUPPRESSED: dict[str, str] = {reason: rule.word for reason, rule in RULES.items()}
_NAMES = (("first_name", "last_name"), ("firstname", "lastname"), ("vorname", "nachname"), ("name",), ("full_name",))


def name_of(fields: Mapping[str, str]) -> str:
    """The person's name as the fields tell it; "" if they do not."""
    for parts in _NAMES:
        if found := " ".join(str(fields[part]).strip() for part in parts if fields.get(part)):
            return found
    return ""


def label(field: str) -> str:
    """`favourite_shop` as people say it: “Favourite shop”."""
    words = field.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


async def lists_of(db: Connection, contacts: list[int]) -> dict[int, list[str]]:
    """The names of the lists each of these contacts is on."""
    found: dict[int, list[str]] = {}
    for row in await rows(
        db,
        """SELECT m.contact_id, l.name FROM list_member m JOIN list l ON l.id = m.list_id
           WHERE m.contact_id = ANY(%s) ORDER BY lower(l.name)""",
        [contacts],
    ):
        found.setdefault(row["contact_id"], []).append(row["name"])
    return found


async def list_names(db: Connection) -> list[Row]:
    """Every list by name: id and name, without counting who is on it."""
    return await rows(db, "SELECT id, name FROM list ORDER BY lower(name), id LIMIT 1000")


async def count_people(db: Connection) -> dict[str, int]:
    """How many contacts (counted up to COUNTED + 1), lists and imports there are."""
    row = await one(
        db,
        """SELECT (SELECT count(*) FROM (SELECT 1 FROM contact LIMIT %s) AS counted) AS contacts,
                  (SELECT count(*) FROM list) AS lists,
                  (SELECT count(*) FROM contact_import) AS imports""",
        [COUNTED + 1],
    )
    return {key: int(value) for key, value in row.items()}


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that happened. `kind` paints the stop; `reply` is what a server said, word for word."""

    at: object
    kind: str
    icon: str
    text: str
    campaign: str
    campaign_id: int | None
    more: str = ""
    reply: str = ""


# event kind -> (kind of stop, icon, text in front of the campaign's name)
_KINDS = {
    "handed_over": ("", "send", "Handed over for sending"),
    "delivered": ("ok", "mail-check", "Delivered"),
    "deferred": ("warn", "hourglass", "Put off by the provider"),
    "bounced": ("bad", "problem", "Bounced"),
    "complained": ("bad", "flag", "Called spam by the reader"),
    "replied": ("done", "mail", "Answered"),
    "returned": ("", "refresh", "Queued again"),
    "suppressed": ("", "person-off", "Left out"),
    "failed": ("bad", "problem", "Could not be made into a mail"),
    "unsubscribed": ("", "person-minus", "Unsubscribed from"),
}
_ACTS = {"opened": ("mail-open", "Opened, estimate:"), "clicked": ("click", "Clicked a link in")}
_MORE = {
    "bounced": "The address gets nothing any more.",
    "deferred": "Thurn tries again by itself.",
    "complained": "The address gets nothing any more.",
    "suppressed": "The address was suppressed or had left since the campaign was started.",
    "replied": "By hand; absence notices are not counted. Thurn knows it from the mail's references, not its text.",
}


def stop_of(event: Row) -> Stop:
    """An event of the timeline in words."""
    detail, kind = event["detail"], event["kind"]
    reply = str(detail.get("reply", ""))
    common = (event["campaign"] or ("a deleted campaign" if event["campaign_id"] else ""), event["campaign_id"])
    if kind in _ACTS:
        icon, text = _ACTS[kind]
        if event["actor"] == "machine":
            what = "Images loaded by a machine:" if kind == "opened" else "Link opened by a machine in"
            why = "Not counted as an open." if kind == "opened" else "Not counted as a click."
            return Stop(event["at"], "machine", "computer", what, *common, why)
        return Stop(event["at"], "done", icon, text, *common)
    painted, icon, text = _KINDS.get(kind, ("", "info", label(kind)))
    more = _MORE.get(kind, "")
    if kind == "suppressed" and detail.get("category") in WHY_SUPPRESSED:
        more = f"{WHY_SUPPRESSED[detail['category']]}: see the suppression list."
    if kind == "bounced" and not detail.get("hard"):
        painted, more = "warn", "The address is not to blame: it stays on its lists."
    return Stop(event["at"], painted, icon, text, *common, more, reply)


def by_day(events: Iterable[Row]) -> list[tuple[Row, list[Stop]]]:
    """Newest first: the first event of each day, for its heading, and the day's stops."""

    def day(event: Row) -> date:
        return event["at"].astimezone().date()  # type: ignore[no-any-return]  # rows are dicts of anything

    days = [list(group) for _, group in groupby(events, key=day)]
    return [(group[0], [stop_of(event) for event in group]) for group in days]
