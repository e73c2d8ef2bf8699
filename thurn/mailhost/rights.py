"""What an administrator decides beyond a mailbox itself: who may send as whom, and copies for the record."""

from typing import Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.mailhost.aliases import own
from thurn.mailhost.forwards import outward
from thurn.mailhost.names import one_line
from thurn.problems import Conflict, Invalid, NotFound

Direction = Literal["received", "sent"]


async def allow_sending(db: Connection, workspace: int, mailbox_id: int, address: str) -> None:
    """Let a mailbox send from another address of the workspace's domains, or from all of `@domain`."""
    address, domain = await own(db, address)
    added = await db.execute(
        """INSERT INTO send_as (workspace_id, domain_id, mailbox_id, address)
           SELECT %s, %s, id, %s FROM mailbox WHERE id = %s AND address <> %s ON CONFLICT DO NOTHING""",
        [workspace, domain["id"], address, mailbox_id, address],
    )
    if not added.rowcount:
        raise Conflict(f"This mailbox may send as {address} already.")


async def forbid_sending(db: Connection, mailbox_id: int, address: str) -> None:
    """Undo `allow_sending`."""
    gone = await db.execute(
        "DELETE FROM send_as WHERE mailbox_id = %s AND address = %s", [mailbox_id, one_line(address).lower()]
    )
    if not gone.rowcount:
        raise NotFound(f"This mailbox has no such right: {one_line(address)}.")


async def may_send_as(db: Connection, mailbox_id: int) -> list[str]:
    """Addresses a mailbox was given the right to send from, besides its own and its aliases."""
    found = await rows(
        db, "SELECT address FROM send_as WHERE mailbox_id = %s ORDER BY address LIMIT 1000", [mailbox_id]
    )
    return [row["address"] for row in found]


async def add_copy(
    db: Connection,
    workspace: int,
    *,
    direction: Direction,
    address: str,
    copy_to: str,
    outside: bool = False,
    by: str = "",
) -> int:
    """Copy what `address` (a mailbox, or `@domain`) receives or sends to `copy_to`; returns the rule's id.

    Out of the workspace's domains only with `outside`. `Invalid` (field `address` or `copy_to`), `Conflict`.
    """
    address, domain = await own(db, address)
    if not address.startswith("@") and not await maybe(db, "SELECT 1 FROM mailbox WHERE address = %s", [address]):
        raise Invalid(
            "address", f"There is no mailbox {address}. For a whole domain write {address[address.index('@') :]}."
        )
    try:
        to = outward(copy_to)
    except Invalid as error:
        raise Invalid("copy_to", error.message) from error
    if await maybe(db, "SELECT 1 FROM domain WHERE name = %s", [to.rpartition("@")[2]]):
        to = to.lower()
        if not await maybe(db, "SELECT 1 FROM mailbox WHERE address = %s", [to]):
            raise Invalid("copy_to", f"There is no mailbox {to}.")
    elif not outside:
        raise Invalid(
            "copy_to", f"{to} is not in one of your domains. Say that copies may leave them, if that is meant."
        )
    if to == address:
        raise Invalid("copy_to", "A mailbox needs no copy of its own mail.")
    row = await maybe(
        db,
        """INSERT INTO bcc_rule (workspace_id, domain_id, direction, address, copy_to, created_by)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id""",
        [workspace, domain["id"], direction, address, to, by],
    )
    if row is None:
        raise Conflict(f"What {address} has {direction} is copied already. Remove that rule first.")
    return int(row["id"])


async def remove_copy(db: Connection, number: int) -> None:
    """End a rule."""
    gone = await db.execute("DELETE FROM bcc_rule WHERE id = %s", [number])
    if not gone.rowcount:
        raise NotFound("There is no such rule; perhaps it is removed already.")


async def copies(db: Connection, address: str | None = None) -> list[Row]:
    """Every rule of the workspace, or those that concern one mailbox."""
    return await rows(
        db,
        """SELECT id, direction, address, copy_to, created_by, created_at FROM bcc_rule
           WHERE %(address)s::text IS NULL OR address IN (%(address)s, '@' || split_part(%(address)s, '@', 2))
           ORDER BY address, direction LIMIT 1000""",
        {"address": address},
    )
