"""Storage: what takes the room, and making some."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.fetch import one
from thurn.mailhost import usage
from thurn.portal import storage
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.problems import Conflict
from thurn.web.edge import AppSettings

router = APIRouter(prefix="/storage")


@router.get("")
async def overview(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, freed: int | None = None
) -> Response:
    """How full the mailbox is, and what Junk and Trash hold."""
    try:
        folders = await storage.folders(settings, me.workspace_id, me.mailbox_id, me.address)
    except storage.Unreachable:
        folders = None
    row = await one(db, "SELECT id, quota_bytes, bytes_used FROM mailbox WHERE id = %s", [me.mailbox_id])
    return page(
        request,
        me,
        "portal/storage.html",
        mailbox=row,
        full_in=await usage.full_in(db, row),
        folders=folders,
        messages=sum(folder.messages for folder in folders or []),
        octets=sum(folder.octets for folder in folders or []),
        freed=freed,
    )


@router.post("/empty")
async def empty(me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    """Delete for good what is in Junk and Trash."""
    del db  # who asks has been looked up
    try:
        gone = await storage.empty(settings, me.workspace_id, me.mailbox_id, me.address)
    except storage.Unreachable:
        raise Conflict("The mail server does not answer right now. Nothing was deleted; try again later.") from None
    return RedirectResponse(f"/mailbox/storage?freed={gone.octets}", 303)
