"""What the page of a mailbox changes besides name and size: aliases, forwarding, app passwords, who it may send as."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from thurn.mailhost import aliases, app_passwords, forwards, mailboxes, rights
from thurn.mailhost.mailbox_pages import back, mailbox_page
from thurn.problems import Invalid, Problem
from thurn.web.edge import AppSettings, Db, SignedIn
from thurn.web.render import page

router = APIRouter()
_Text = Annotated[str, Form(max_length=4000)]


@router.post("/{address}/aliases")
async def alias(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str, alias: _Text = ""
) -> Response:
    """Let mail for another address arrive here too."""
    row = await mailboxes.get_mailbox(db, address)
    full = alias if "@" in alias else f"{alias.strip()}@{row['domain']}"
    try:
        await aliases.add(db, viewer.workspace_id, address=full, target=row["address"])
    except Problem as refused:
        return await mailbox_page(request, viewer, db, settings, address, refused=refused, given={"alias": alias})
    return back(viewer, address)


@router.post("/{address}/aliases/remove")
async def unalias(viewer: SignedIn, db: Db, address: str, alias: _Text = "") -> Response:
    """Undo `alias`."""
    await aliases.remove(db, address=alias, target=address)
    return back(viewer, address)


@router.post("/{address}/forward")
async def forward(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    address: str,
    targets: _Text = "",
    keep: _Text = "",
) -> Response:
    """Send its mail on, one address a line; none: no longer."""
    row = await mailboxes.get_mailbox(db, address)
    try:
        await forwards.put(db, viewer.workspace_id, row["id"], targets=targets.splitlines(), keep_copy=bool(keep))
    except Invalid as refused:
        return await mailbox_page(request, viewer, db, settings, address, refused=refused, given={"targets": targets})
    return back(viewer, address)


@router.post("/{address}/app-passwords")
async def app_password(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str, device: _Text = ""
) -> Response:
    """Make an app password for somebody and show it once."""
    row = await mailboxes.get_mailbox(db, address)
    try:
        _, secret = await app_passwords.create(db, viewer.workspace_id, row["id"], name=device)
    except Problem as refused:
        return await mailbox_page(request, viewer, db, settings, address, refused=refused, given={"device": device})
    return page(request, viewer, "mailhost/app_password.html", 201, mailbox=row, device=device, password=secret)


@router.post("/{address}/app-passwords/revoke")
async def revoke(viewer: SignedIn, db: Db, address: str, number: Annotated[int, Form(ge=1, le=2**63 - 1)]) -> Response:
    """Take it away."""
    row = await mailboxes.get_mailbox(db, address)
    await app_passwords.revoke(db, row["id"], number)
    return back(viewer, address)


@router.post("/{address}/send-as")
async def send_as(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str, sender: _Text = ""
) -> Response:
    """Let it send from another address."""
    row = await mailboxes.get_mailbox(db, address)
    try:
        await rights.allow_sending(db, viewer.workspace_id, row["id"], sender)
    except Problem as refused:
        return await mailbox_page(request, viewer, db, settings, address, refused=refused, given={"sender": sender})
    return back(viewer, address)


@router.post("/{address}/send-as/remove")
async def unsend_as(viewer: SignedIn, db: Db, address: str, sender: _Text = "") -> Response:
    """Undo `send_as`."""
    row = await mailboxes.get_mailbox(db, address)
    await rights.forbid_sending(db, row["id"], sender)
    return back(viewer, address)
