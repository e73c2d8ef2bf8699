"""Raising an alert and taking it back. Both happen in the caller's transaction; the mail follows by a job."""

from typing import Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.jobs.app import defer


async def notify(
    db: Connection,
    workspace: int,
    subject: str,
    text: str,
    key: str,
    *,
    level: Literal["bad", "warn"] = "bad",
    link: str = "",
    act: str = "",
    mail: bool = True,
) -> bool:
    """Tell the workspace's owners, unless `key` is open already; False if it was.

    Without `mail` it is shown on Home alone: whoever raises several at once writes one mail for all (`mail_owners`).
    `link` is a page below the workspace, `act` what its button on Home says.
    """
    raised = await maybe(
        db,
        """INSERT INTO alert (workspace_id, key, level, subject, text, link, act) VALUES (%s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (workspace_id, key) WHERE cleared_at IS NULL DO NOTHING RETURNING id""",
        [workspace, key, level, subject, text, link, act],
    )
    if raised is None:
        return False
    if mail:
        await mail_owners(db, workspace, subject, text)
    return True


async def mended(
    db: Connection, workspace: int, key: str, *, subject: str = "", text: str = "", mail: bool = True
) -> bool:
    """Close the alert `key` and say so by mail; False if there was none."""
    closed = await maybe(
        db,
        "UPDATE alert SET cleared_at = now() WHERE workspace_id = %s AND key = %s AND cleared_at IS NULL RETURNING id",
        [workspace, key],
    )
    if closed is None:
        return False
    if mail:
        await mail_owners(db, workspace, subject, text)
    return True


async def mail_owners(db: Connection, workspace: int, subject: str, text: str) -> None:
    """Write to the workspace's owners, by a job of this transaction."""
    await defer(db, "thurn:mail_owners", workspace=workspace, subject=subject, text=text)


async def open_alerts(db: Connection, limit: int = 20) -> list[Row]:
    """What is broken now, newest first."""
    return await rows(
        db,
        """SELECT id, key, level, subject, text, link, act, created_at FROM alert
           WHERE cleared_at IS NULL ORDER BY id DESC LIMIT %s""",
        [limit],
    )
