"""Contacts and lists of a workspace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from thurn.audience.addresses import clean
from thurn.audience.barring import condition
from thurn.audience.columns import LONGEST_VALUE, MOST
from thurn.audience.imports import cancel_import, get_import, import_page, rejects, start_import
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound

__all__ = ["cancel_import", "get_import", "import_page", "rejects", "start_import"]

MOST_A_PAGE = 200
COUNTED = 10_000  # counting further would cost more than the number is worth


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, newest first. `newer`/`older` are the keys for `after`/`before`, None at the end.

    `total` counts what matches; `None`: more than 10,000 do.
    """

    items: list[Row]
    newer: int | None
    older: int | None
    total: int | None

    @classmethod
    def of(cls, found: list[Row], *, limit: int, before: int | None, after: int | None, total: int | None) -> "Page":
        """From one row more than `limit`, if there is one; `found` is oldest first where `after` alone was asked."""
        forward = after is not None and before is None
        more = len(found) > limit
        items = found[:limit]
        if forward:
            items.reverse()
        has_newer = more if forward else before is not None
        return cls(
            items,
            newer=items[0]["id"] if items and has_newer else None,
            older=items[-1]["id"] if items and (forward or more) else None,
            total=total,
        )


# ---------------------------------------------------------------- lists


async def lists(db: Connection) -> list[Row]:
    """Every list by name: id, name, created_at, contacts (how many)."""
    return await rows(
        db,
        """SELECT l.id, l.name, l.created_at,
                  (SELECT count(*) FROM list_member m WHERE m.list_id = l.id) AS contacts
           FROM list l ORDER BY lower(l.name), l.id LIMIT 1000""",
    )


async def get_list(db: Connection, list_id: int) -> Row:
    """A list as in `lists`; `NotFound`."""
    row = await maybe(
        db,
        """SELECT id, name, created_at, (SELECT count(*) FROM list_member WHERE list_id = l.id) AS contacts
           FROM list l WHERE id = %s""",
        [list_id],
    )
    if row is None:
        raise NotFound("There is no such list.")
    return row


async def create_list(db: Connection, workspace: int, name: str) -> int:
    """Make a list; `Conflict` when the name is taken."""
    row = await maybe(
        db,
        "INSERT INTO list (workspace_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id",
        [workspace, _list_name(name)],
    )
    if row is None:
        raise Conflict(f"There is a list “{name.strip()}” already.")
    return int(row["id"])


async def ensure_list(db: Connection, workspace: int, name: str) -> int:
    """The list of that name, made when missing."""
    name = _list_name(name)
    row = await one(
        db,
        """INSERT INTO list (workspace_id, name) VALUES (%s, %s)
           ON CONFLICT (workspace_id, name) DO UPDATE SET name = excluded.name RETURNING id""",
        [workspace, name],
    )
    return int(row["id"])


async def rename_list(db: Connection, list_id: int, name: str) -> None:
    """Give a list another name; `NotFound`, or `Conflict` when it is taken."""
    name = _list_name(name)
    await get_list(db, list_id)
    if await maybe(db, "SELECT 1 FROM list WHERE name = %s AND id <> %s", [name, list_id]):
        raise Conflict(f"There is a list “{name}” already.")
    await db.execute("UPDATE list SET name = %s WHERE id = %s", [name, list_id])


async def delete_list(db: Connection, list_id: int) -> None:
    """Delete a list; its contacts stay. `Conflict` while a campaign that is being sent takes its people from it."""
    await get_list(db, list_id)
    busy = await maybe(
        db,
        """SELECT c.name FROM campaign_list cl JOIN campaign c ON c.id = cl.campaign_id
           WHERE cl.list_id = %s AND c.state = 'launching' LIMIT 1""",
        [list_id],
    )
    if busy:
        raise Conflict(f"The campaign “{busy['name']}” is being launched to this list. Try again in a minute.")
    await db.execute("DELETE FROM list WHERE id = %s", [list_id])


async def add_to_list(db: Connection, workspace: int, list_id: int, contacts: Sequence[int]) -> int:
    """Put contacts on a list; returns how many were not on it before. Ids that are nobody's are passed over."""
    await get_list(db, list_id)
    done = await db.execute(
        """INSERT INTO list_member (list_id, contact_id, workspace_id)
           SELECT %s, id, %s FROM contact WHERE id = ANY(%s) ORDER BY id ON CONFLICT DO NOTHING""",
        [list_id, workspace, list(contacts)],
    )
    return done.rowcount


async def remove_from_list(db: Connection, list_id: int, contacts: Sequence[int]) -> int:
    """Take contacts off a list; returns how many were on it."""
    await get_list(db, list_id)
    done = await db.execute(
        "DELETE FROM list_member WHERE list_id = %s AND contact_id = ANY(%s)", [list_id, list(contacts)]
    )
    return done.rowcount


def _list_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 200 or "\0" in name:
        raise Invalid("name", "A list needs a name of 1 to 200 characters.")
    return name


# ---------------------------------------------------------------- contacts

_STATE = sql.SQL(
    """CASE WHEN s.address IS NOT NULL THEN 'suppressed' WHEN c.unsubscribed_at IS NOT NULL THEN 'unsubscribed'
       ELSE 'subscribed' END AS state, s.reason AS suppressed_for, s.workspace_id IS NULL AND s.id IS NOT NULL
       AS suppressed_everywhere"""
)
# What bars the address, here above everywhere.
_BARRED: LiteralString = f"""LEFT JOIN LATERAL (
  SELECT * FROM suppression s WHERE {condition("c.email", "c.workspace_id")}
  ORDER BY s.workspace_id LIMIT 1) s ON true"""  # noqa: S608 - a constant


async def contact_page(
    db: Connection,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = 25,
    query: str = "",
    list_id: int | None = None,
) -> Page:
    """Contacts newest first: those with an id below `before`, or the ones right above `after`.

    `query` is part of an address. Items: id, email, fields, state (subscribed | unsubscribed | suppressed),
    suppressed_for, unsubscribed_at, created_at.
    """
    limit = max(1, min(limit, MOST_A_PAGE))
    wanted = [sql.SQL("true")]
    values: dict[str, Any] = {"limit": limit + 1, "before": before, "after": after, "list": list_id}
    needle = query.replace("\0", "").strip().lower()[:320]
    if needle:
        wanted.append(sql.SQL("lower(c.email) LIKE %(needle)s"))
        values["needle"] = f"%{escape_like(needle)}%"
    if list_id is not None:
        wanted.append(sql.SQL("c.id IN (SELECT contact_id FROM list_member WHERE list_id = %(list)s)"))
    forward = after is not None and before is None
    edge = sql.SQL("true")
    if before is not None:
        edge = sql.SQL("c.id < %(before)s")
    elif forward:
        edge = sql.SQL("c.id > %(after)s")
    where = sql.SQL(" AND ").join(wanted)
    found = await db.execute(
        sql.SQL(
            """SELECT c.id, c.email, c.fields, c.unsubscribed_at, c.created_at, {state} FROM contact c
               {barred} WHERE {where} AND {edge} ORDER BY c.id {order} LIMIT %(limit)s"""
        ).format(
            state=_STATE, barred=sql.SQL(_BARRED), where=where, edge=edge, order=sql.SQL("ASC" if forward else "DESC")
        ),
        values,
    )
    items = await found.fetchall()
    total = await db.execute(
        sql.SQL("SELECT count(*) AS n FROM (SELECT 1 FROM contact c WHERE {} LIMIT {}) AS counted").format(
            where, sql.Literal(COUNTED + 1)
        ),
        values,
    )
    count = (await total.fetchall())[0]["n"]
    total_shown = count if count <= COUNTED else None
    return Page.of(items, limit=limit, before=before, after=after, total=total_shown)


def escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def get_contact(db: Connection, contact: int) -> Row:
    """A contact as in `contact_page`, with `lists` (id, name) and `updated_at`; `NotFound`."""
    found = await db.execute(
        sql.SQL(
            """SELECT c.id, c.email, c.fields, c.unsubscribed_at, c.unsubscribed_by, c.created_at, c.updated_at,
                      {state},
                      (SELECT coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'name', l.name) ORDER BY l.name), '[]')
                       FROM list_member m JOIN list l ON l.id = m.list_id WHERE m.contact_id = c.id) AS lists
               FROM contact c {barred} WHERE c.id = %s"""
        ).format(state=_STATE, barred=sql.SQL(_BARRED)),
        [contact],
    )
    row = await found.fetchone()
    if row is None:
        raise NotFound("There is no such contact.")
    return row


async def timeline(db: Connection, contact: int, *, limit: int = 50) -> list[Row]:
    """What happened with a contact, newest first: at, kind, actor, detail, campaign_id, campaign (its name)."""
    return await rows(
        db,
        """SELECT e.at, e.kind, e.actor, e.detail, e.campaign_id, c.name AS campaign
           FROM event e LEFT JOIN campaign c ON c.id = e.campaign_id
           WHERE e.contact_id = %s ORDER BY e.at DESC, e.id DESC LIMIT %s""",
        [contact, max(1, min(limit, MOST_A_PAGE))],
    )


async def save_contact(
    db: Connection, workspace: int, *, email: str, fields: Mapping[str, str], list_ids: Sequence[int] = ()
) -> tuple[int, bool]:
    """Make the contact or add the fields to the one there is; (id, whether it is new). An unsubscribed one stays so."""
    row = await one(
        db,
        """INSERT INTO contact (workspace_id, email, fields) VALUES (%s, %s, %s)
           ON CONFLICT (workspace_id, lower(email)) DO UPDATE
             SET fields = contact.fields || excluded.fields, updated_at = clock_timestamp()
           RETURNING id, xmax = 0 AS added""",  # an inserted row has no xmax
        [workspace, clean(email), Jsonb(check_fields(fields))],
    )
    for list_id in list_ids:
        await add_to_list(db, workspace, list_id, [row["id"]])
    return int(row["id"]), bool(row["added"])


def check_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields themselves; `Invalid` names one that cannot be kept."""
    if len(fields) > MOST:
        raise Invalid("fields", f"A contact has at most {MOST} fields.")
    for name, value in fields.items():
        if not name or len(name) > 60 or not name.replace("_", "a").isalnum() or not name.isascii():
            raise Invalid("fields", f"“{name[:60]}” cannot name a field: use letters, digits and _.")
        if len(value) > LONGEST_VALUE or "\0" in value:
            raise Invalid(f"fields.{name}", f"A field has at most {LONGEST_VALUE:,} characters and no NUL.")
    return dict(fields)


async def set_fields(db: Connection, contact: int, fields: Mapping[str, str]) -> None:
    """Replace all fields of a contact; `NotFound`."""
    done = await db.execute(
        "UPDATE contact SET fields = %s, updated_at = now() WHERE id = %s", [Jsonb(check_fields(fields)), contact]
    )
    if not done.rowcount:
        raise NotFound("There is no such contact.")


async def delete_contact(db: Connection, contact: int) -> None:
    """Delete a contact and its place on lists. What was sent to it stays in the ledger; `NotFound`."""
    done = await db.execute("DELETE FROM contact WHERE id = %s", [contact])
    if not done.rowcount:
        raise NotFound("There is no such contact.")


async def unsubscribe(db: Connection, contact: int) -> None:
    """The contact gets no campaign from now on; again does nothing. `NotFound`."""
    done = await db.execute(
        "UPDATE contact SET unsubscribed_at = coalesce(unsubscribed_at, now()) WHERE id = %s", [contact]
    )
    if not done.rowcount:
        raise NotFound("There is no such contact.")


async def resubscribe(db: Connection, contact: int) -> None:
    """The contact asked to get campaigns again. A suppression stays. `NotFound`."""
    done = await db.execute(
        "UPDATE contact SET unsubscribed_at = NULL, unsubscribed_by = NULL WHERE id = %s", [contact]
    )
    if not done.rowcount:
        raise NotFound("There is no such contact.")
