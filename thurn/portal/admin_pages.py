"""What an administrator sees of a mailbox's portal: who is signed in, two-factor, and the way out for a lost phone."""

from datetime import date

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from thurn.mailhost import mailboxes
from thurn.portal import changes, filters, security, sessions, two_factor
from thurn.web.edge import Db, SignedIn
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/mailboxes/{address}/portal")


@router.get("")
async def overview(request: Request, viewer: SignedIn, db: Db, address: str, done: str = "") -> Response:
    """Sign-ins, sessions, two-factor, and what was changed."""
    mailbox = await mailboxes.get_mailbox(db, address)
    number = mailbox["id"]
    return page(
        request,
        viewer,
        "portal/admin.html",
        mailbox=mailbox,
        two_factor=await two_factor.status(db, number),
        sessions=await sessions.of_mailbox(db, number),
        ways=await security.ways(db, number),
        changes=await changes.recent(db, number),
        absence=filters.in_words(await filters.absence(db, number), date.today()),  # noqa: DTZ011 - as Dovecot
        rules=len(await filters.rules(db, number)),
        done=done,
    )


@router.post("/reset-two-factor")
async def reset_two_factor(viewer: SignedIn, db: Db, address: str) -> Response:
    """Turn two-factor off for somebody who lost the phone."""
    mailbox = await mailboxes.get_mailbox(db, address)
    await two_factor.turn_off(db, viewer.workspace_id, mailbox["id"], by_admin=True)
    return _back(viewer.workspace_slug, mailbox["address"], "reset")


@router.post("/sign-out")
async def sign_out(viewer: SignedIn, db: Db, address: str) -> Response:
    """End every session of the portal."""
    mailbox = await mailboxes.get_mailbox(db, address)
    await sessions.end_others(db, mailbox["id"])
    await changes.note(db, viewer.workspace_id, mailbox["id"], "Everybody was signed out", by_admin=True)
    return _back(viewer.workspace_slug, mailbox["address"], "out")


def _back(workspace: str, address: str, done: str) -> Response:
    return RedirectResponse(f"/w/{workspace}/mailboxes/{address}/portal?done={done}", 303)
