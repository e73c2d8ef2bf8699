"""Pages of the portal: its routers, and the first page."""

from datetime import date

from fastapi import APIRouter, Request, Response

from thurn.db.fetch import one
from thurn.mailhost import app_passwords, forwards, usage
from thurn.portal import (
    admin_pages,
    app_password_pages,
    door_pages,
    filter_pages,
    filters,
    forwarding_pages,
    security,
    security_pages,
    setup_pages,
    storage_pages,
    two_factor,
    two_factor_pages,
)
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.spam import quarantine
from thurn.spam.held_pages import shown

portal = APIRouter(prefix="/mailbox")
for each in (
    door_pages, security_pages, two_factor_pages, app_password_pages, filter_pages, forwarding_pages, setup_pages,
    storage_pages,
):  # fmt: skip
    portal.include_router(each.router)


@portal.get("")
async def home(request: Request, me: AsMailbox, db: MailboxDb) -> Response:
    """What the mailbox holds, and ways to everything else."""
    row = await one(
        db, "SELECT id, quota_bytes, bytes_used, password_changed_at FROM mailbox WHERE id = %s", [me.mailbox_id]
    )
    return page(
        request,
        me,
        "portal/home.html",
        mailbox=row,
        full_in=await usage.full_in(db, row),
        two_factor=await two_factor.status(db, me.mailbox_id),
        app_passwords=len(await app_passwords.of_mailbox(db, me.mailbox_id)),
        absence=filters.in_words(await filters.absence(db, me.mailbox_id), date.today()),  # noqa: DTZ011 - as Dovecot
        rules=len(await filters.rules(db, me.mailbox_id)),
        forwarding=await forwards.get(db, me.mailbox_id),
        ways=await security.ways(db, me.mailbox_id, limit=3),
        held=[shown(held) for held in await quarantine.held(db, me.mailbox_id, limit=2)] if me.held else [],
    )


router = APIRouter()
router.include_router(portal)
router.include_router(admin_pages.router)
