"""App passwords: one for each device, shown once with what else its mail program asks for."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.mailhost import app_passwords
from thurn.mailhost.clientsetup import access
from thurn.portal import changes, two_factor
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.problems import Conflict, Invalid, Problem
from thurn.web.edge import AppSettings
from thurn.web.schemas import BigId

router = APIRouter(prefix="/app-passwords")
HERE = "/mailbox/app-passwords"


@router.get("")
async def table(request: Request, me: AsMailbox, db: MailboxDb, done: str = "") -> Response:
    """The devices, and a form for one more."""
    return await _table(request, me, db, done=done)


@router.post("")
async def create(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, name: Annotated[str, Form()] = ""
) -> Response:
    """Make one and show it, this one time."""
    try:
        _, secret = await app_passwords.create(db, me.workspace_id, me.mailbox_id, name=name)
    except (Invalid, Conflict) as refused:
        return await _table(request, me, db, refused=refused, name=name)
    name = " ".join(name.split())
    await changes.note(db, me.workspace_id, me.mailbox_id, f"App password “{name}” was made")
    return page(
        request, me, "portal/app_password.html", 201, name=name, secret=secret, access=access(settings)[:2]
    )  # fmt: skip


@router.post("/{number}/revoke")
async def revoke(me: AsMailbox, db: MailboxDb, number: BigId) -> Response:
    """Take one away."""
    names = {row["id"]: row["name"] for row in await app_passwords.of_mailbox(db, me.mailbox_id)}
    await app_passwords.revoke(db, me.mailbox_id, number)
    await changes.note(db, me.workspace_id, me.mailbox_id, f"App password “{names.get(number, '')}” was revoked")
    return RedirectResponse(f"{HERE}?done=revoked", 303)


async def _table(
    request: Request, me: AsMailbox, db: MailboxDb, *, done: str = "", refused: Problem | None = None, name: str = ""
) -> Response:
    return page(
        request,
        me,
        "portal/app_passwords.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        devices=await app_passwords.of_mailbox(db, me.mailbox_id),
        two_factor=await two_factor.status(db, me.mailbox_id),
        error=str(refused) if refused else "",
        name=name,
        done=done,
    )
