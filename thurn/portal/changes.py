"""What was changed about a mailbox's safety, told to its owner."""

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows


async def note(db: Connection, workspace: int, mailbox_id: int, what: str, *, by_admin: bool = False) -> None:
    """Write it down: a sentence for the owner, without a dot."""
    await db.execute(
        "INSERT INTO mailbox_change (workspace_id, mailbox_id, what, by_admin) VALUES (%s, %s, %s, %s)",
        [workspace, mailbox_id, what, by_admin],
    )


async def recent(db: Connection, mailbox_id: int, limit: int = 10) -> list[Row]:
    """What was changed last, newest first: at, what, by_admin."""
    return await rows(
        db,
        "SELECT at, what, by_admin FROM mailbox_change WHERE mailbox_id = %s ORDER BY id DESC LIMIT %s",
        [mailbox_id, limit],
    )
