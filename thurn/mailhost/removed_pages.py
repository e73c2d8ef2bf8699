"""Pages of removed mailboxes: how long their mail is kept, bringing one back, destroying its mail now."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import URL

from thurn.db.connect import Connection
from thurn.mailhost import removed
from thurn.mailhost.mailbox_pages import LIMIT, counts
from thurn.mailhost.names import typed
from thurn.problems import Conflict, Invalid, Problem
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.paging import shown
from thurn.web.render import page

router = APIRouter(prefix="/removed")
_Place = Annotated[str | None, Query(max_length=400)]
_Number = Annotated[int, Form(ge=1, le=2**31 - 1)]


@router.get("")
async def table(
    request: Request, viewer: SignedIn, db: Db, before: _Place = None, after: _Place = None, done: str = ""
) -> Response:
    """Those whose mail is still here, by address."""
    return await _table(request, viewer, db, before=before, after=after, done=done)


@router.post("/restore")
async def restore(request: Request, viewer: SignedIn, db: Db, number: _Number) -> Response:
    """Bring one back."""
    try:
        address = await removed.restore(db, number)
    except Conflict as refused:
        return await _table(request, viewer, db, refused=refused, status=409)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/{address}?saved=1", 303)


@router.post("/destroy")
async def destroy(
    request: Request, viewer: SignedIn, db: Db, number: _Number, address: Annotated[str, Form(max_length=320)] = ""
) -> Response:
    """Destroy the mail of one, if its address is typed."""
    try:
        typed(address, (await removed.get(db, number))["address"])
    except Invalid as refused:
        return await _table(request, viewer, db, refused=refused, status=422)
    await removed.destroy(db, number)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/removed?done=destroy", 303)


async def _table(
    request: Request, viewer: Viewer, db: Connection, *, before: str | None = None, after: str | None = None,
    done: str = "", refused: Problem | None = None, status: int = 200,
) -> Response:  # fmt: skip
    found = await removed.page(db, after=after, before=before, limit=LIMIT + 1)
    here = URL(f"/w/{viewer.workspace_slug}/mailboxes/removed")
    now = shown(here, found, place=removed.place_of, limit=LIMIT, back=before, on=after)
    return page(
        request, viewer, "mailhost/removed.html", status,
        removed=now.rows, counts=await counts(db), newer=now.newer, older=now.older, done=done,
        refused=str(refused) if refused else "", days=removed.DAYS,
    )  # fmt: skip
