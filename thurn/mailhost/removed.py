"""Removed mailboxes: their mail stays on disk for 30 days, in which they can be restored; then `keeper` destroys it.

A mailbox's folder is named after its id, and a restored one has its id again. So an address that is made anew never
sees the mail of the former one, and both can be there at once.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.mailhost.names import one_line
from thurn.problems import Conflict, NotFound

DAYS = 30
# Table -> which rows of it belong to a mailbox and come back with it, in this order. Sessions, held mail and what was
# counted do not.
_OWN = "mailbox_id = %(id)s"
_KEPT: dict[str, LiteralString] = {
    "mailbox": "id = %(id)s",
    "alias": "target = %(address)s",
    "bcc_rule": "%(address)s IN (address, copy_to)",
    "send_as": _OWN,
    "app_password": "mailbox_id = %(id)s AND scope = 'programs'",
    "mailbox_recovery_code": _OWN,
    "mailbox_absence": _OWN,
    "mailbox_rule": _OWN,
    "spam_setting": _OWN,
    "spam_sender": _OWN,
}
_SHARED = ("alias", "bcc_rule", "send_as")  # a row of the same address may have been made meanwhile
_COUNTED = ("bytes_used", "messages_used", "used_at")  # Dovecot counts anew


async def remove(db: Connection, mailbox_ids: Sequence[int], *, destroy: bool = False) -> None:
    """Remove mailboxes with the aliases and copies that lead to them. `destroy`: their mail goes now."""
    for number in mailbox_ids:
        row = await maybe(db, "SELECT id, workspace_id, address FROM mailbox WHERE id = %s FOR UPDATE", [number])
        if row is None:
            continue
        await _note(db, row, destroy=destroy)
        await db.execute("DELETE FROM alias WHERE target = %s", [row["address"]])
        await db.execute("DELETE FROM bcc_rule WHERE %s IN (address, copy_to)", [row["address"]])
        await db.execute("DELETE FROM mailbox WHERE id = %s", [number])


async def _note(db: Connection, mailbox: Row, *, destroy: bool) -> None:
    number, address = mailbox["id"], mailbox["address"]
    kept: dict[str, list[Row]] = {}
    for table, condition in _KEPT.items():
        query = sql.SQL("SELECT to_jsonb(t) AS found FROM {} t WHERE {}").format(
            sql.Identifier(table), sql.SQL(condition)
        )
        found = await (await db.execute(query, {"id": number, "address": address})).fetchall()
        kept[table] = [each["found"] for each in found]
    await db.execute(
        """INSERT INTO removed_mailbox
             (mailbox_id, workspace_id, address, name, home, bytes, messages, kept, destroy_at)
           SELECT id, workspace_id, address, name,
                  split_part(address, '@', 2) || '/' || split_part(address, '@', 1) || '.' || id,
                  coalesce(bytes_used, 0), coalesce(messages_used, 0), %(kept)s,
                  CASE WHEN %(destroy)s THEN now() ELSE now() + make_interval(days => %(days)s) END
           FROM mailbox WHERE id = %(id)s""",
        {"id": mailbox["id"], "kept": None if destroy else Jsonb(kept), "destroy": destroy, "days": DAYS},
    )


async def page(db: Connection, *, after: str | None = None, before: str | None = None, limit: int = 25) -> list[Row]:
    """Removed mailboxes by address and id: those behind the place `after` (`place_of`) or just before `before`.

    Each with `restorable`, and `taken` when its address has been made anew.
    """
    back = before is not None and after is None
    address, _, number = ((before if back else after) or "").rpartition(" ")
    found = await rows(
        db,
        f"""SELECT r.mailbox_id AS id, r.address, r.name, r.bytes, r.messages, r.removed_at, r.destroy_at,
                   r.kept IS NOT NULL AND r.destroy_at > now() AS restorable,
                   EXISTS (SELECT FROM mailbox m WHERE m.address = r.address) AS taken
            FROM removed_mailbox r
            WHERE %(whole)s OR (r.address, r.mailbox_id) {"<" if back else ">"} (%(address)s, %(number)s)
            ORDER BY r.address {"DESC" if back else "ASC"}, r.mailbox_id {"DESC" if back else "ASC"}
            LIMIT %(limit)s""",  # noqa: S608 - constants
        {"whole": before is None and after is None, "address": one_line(address), "limit": limit,
         "number": int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0},
    )  # fmt: skip
    return found[::-1] if back else found


def place_of(row: Row) -> str:
    """Where a page goes on behind this row, or ends before it."""
    return f"{row['address']} {row['id']}"


async def count(db: Connection) -> int:
    """How many there are."""
    return int((await one(db, "SELECT count(*) AS n FROM removed_mailbox"))["n"])


async def get(db: Connection, number: int) -> Row:
    """One of them; `NotFound`."""
    row = await maybe(
        db,
        """SELECT mailbox_id AS id, address, name, bytes, messages, removed_at, destroy_at, kept,
                  kept IS NOT NULL AND destroy_at > now() AS restorable
           FROM removed_mailbox WHERE mailbox_id = %s FOR UPDATE""",
        [number],
    )
    if row is None:
        raise NotFound("This removed mailbox is not here any more: its mail is destroyed, or it was restored.")
    return row


async def newest(db: Connection, address: str) -> Row:
    """The one removed last of this address; `NotFound`."""
    row = await maybe(
        db,
        "SELECT mailbox_id FROM removed_mailbox WHERE address = %s ORDER BY removed_at DESC, mailbox_id DESC LIMIT 1",
        [one_line(address).lower()],
    )
    if row is None:
        raise NotFound(f"No mailbox {one_line(address)} was removed within {DAYS} days.")
    return await get(db, row["mailbox_id"])


async def restore(db: Connection, number: int) -> str:
    """Bring a mailbox back with its mail, password and aliases; returns its address. `NotFound`, `Conflict`.

    What has become somebody else's meanwhile stays theirs.
    """
    row = await get(db, number)
    if not row["restorable"]:
        raise Conflict("The mail of this mailbox is being destroyed. It cannot be restored any more.")
    address, name = row["address"], row["address"].rpartition("@")[2]
    domain = await _domain(db, address)
    if domain is None:
        raise Conflict(f"{name} is not one of your domains any more. Add it again, then restore the mailbox.")
    if domain["alias_of"] is not None:
        raise Conflict(f"{name} is another name for a second domain now. Make it a domain of its own first.")
    taken = await maybe(
        db,
        """SELECT 'a mailbox' AS what FROM mailbox WHERE address = %(a)s
           UNION ALL SELECT 'an alias' FROM alias WHERE address = %(a)s""",
        {"a": address},
    )
    if taken is not None:
        raise Conflict(f"{address} is {taken['what']} again. Remove that first; its mail is kept for {DAYS} days too.")
    kept = row["kept"]
    for table in _KEPT:
        for each in kept.get(table, []):
            if table == "alias" and await maybe(db, "SELECT 1 FROM mailbox WHERE address = %s", [each["address"]]):
                continue
            values = {column: value for column, value in each.items() if column not in _COUNTED}
            if "domain_id" in values:
                home = domain if table.startswith(("mailbox", "spam")) else await _domain(db, each["address"])
                if home is None:  # that of an alias, say, is not here any more
                    continue
                values["domain_id"] = home["id"]
            await _insert(db, table, values)
    await db.execute("DELETE FROM removed_mailbox WHERE mailbox_id = %s", [number])
    # The script in the folder may be older than the rules: aliases it answers for may have gone.
    await db.execute(
        """INSERT INTO mailbox_filter_pending (mailbox_id, workspace_id)
           SELECT id, workspace_id FROM mailbox WHERE id = %s""",
        [number],
    )
    return str(address)


async def _domain(db: Connection, address: str) -> Row | None:
    return await maybe(db, "SELECT id, alias_of FROM domain WHERE name = %s", [address.rpartition("@")[2]])


async def _insert(db: Connection, table: str, row: Row) -> None:
    """With the columns that the row has: an earlier version may have kept it. What is taken meanwhile is left out."""
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    query = sql.SQL(
        """INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE
           SELECT {names} FROM jsonb_populate_record(NULL::{table}, %s) {left_out}"""
    ).format(
        table=sql.Identifier(table),
        names=names,
        left_out=sql.SQL("ON CONFLICT DO NOTHING" if table in _SHARED else ""),
    )
    await db.execute(query, [Jsonb(row)])


async def destroy(db: Connection, number: int) -> None:
    """Have the mail destroyed now. `NotFound`."""
    await get(db, number)
    await db.execute(
        "UPDATE removed_mailbox SET destroy_at = now(), kept = NULL WHERE mailbox_id = %s", [number]
    )  # fmt: skip
