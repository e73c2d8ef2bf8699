"""How to get the mailbox onto a phone or computer."""

from fastapi import APIRouter, Request, Response

from thurn.mailhost.clientsetup import access, apple_profile
from thurn.portal import totp, two_factor
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.web.edge import AppSettings

router = APIRouter(prefix="/set-up")


@router.get("")
async def ways(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    """Server names and ports, steps for each program, and a QR code that opens this page on a phone."""
    return page(
        request,
        me,
        "portal/set_up.html",
        access=access(settings),
        two_factor=await two_factor.status(db, me.mailbox_id),
        qr=totp.qr(f"{settings.url}/mailbox/set-up"),
        mailbox=me,
    )


@router.get("/mail.mobileconfig")
async def apple(me: AsMailbox, settings: AppSettings) -> Response:
    """The profile that sets up Mail on Apple's devices; no password is in it."""
    headers = {"Content-Disposition": 'attachment; filename="mail.mobileconfig"'}
    return Response(
        apple_profile(settings, me.address, me.name), media_type="application/x-apple-aspen-config", headers=headers
    )
