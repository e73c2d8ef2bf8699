"""Pages of the portal: its routers, and the first page."""

from fastapi import APIRouter, Request, Response

from thurn.portal import door_pages
from thurn.portal.edge import AsMailbox, MailboxDb, page

router = APIRouter(prefix="/mailbox")
router.include_router(door_pages.router)


@router.get("")
async def home(request: Request, me: AsMailbox, db: MailboxDb) -> Response:
    """What the mailbox holds, and ways to everything else."""
    return page(request, me, "portal/home.html")
