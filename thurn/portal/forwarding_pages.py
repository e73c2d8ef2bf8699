"""Forwarding: where the mailbox's mail goes on to."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.mailhost import forwards
from thurn.portal import changes
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.problems import Invalid
from thurn.web.words import joined

router = APIRouter(prefix="/forwarding")


@router.get("")
async def form(request: Request, me: AsMailbox, db: MailboxDb, saved: bool = False) -> Response:
    """The addresses, one a line."""
    now = await forwards.get(db, me.mailbox_id)
    return page(
        request, me, "portal/forwarding.html", targets="\n".join(now.targets), keep_copy=now.keep_copy,
        on=bool(now.targets), error="", saved=saved,
    )  # fmt: skip


@router.post("")
async def save(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    targets: Annotated[str, Form(max_length=10_000)] = "",
    keep_copy: Annotated[bool, Form()] = False,
) -> Response:
    """Forward to these from now on; to nobody: stop."""
    before = await forwards.get(db, me.mailbox_id)
    given = [part for line in targets.splitlines() for part in line.replace(",", " ").replace(";", " ").split()]
    try:
        now = await forwards.put(db, me.workspace_id, me.mailbox_id, targets=given, keep_copy=keep_copy)
    except Invalid as refused:
        return page(
            request, me, "portal/forwarding.html", 422, targets=targets, keep_copy=keep_copy, on=bool(before.targets),
            error=refused.message, saved=False,
        )  # fmt: skip
    if now != before:
        what = f"Forwarding goes to {joined(now.targets)}" if now.targets else "Forwarding was turned off"
        await changes.note(db, me.workspace_id, me.mailbox_id, what)
    return RedirectResponse("/mailbox/forwarding?saved=1", 303)
