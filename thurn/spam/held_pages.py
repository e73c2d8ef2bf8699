"""The quarantine, for who looks after the mailboxes."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection, Row
from thurn.mailhost import mailboxes
from thurn.problems import Conflict
from thurn.spam import delivery, quarantine
from thurn.spam.reading import read
from thurn.spam.reasons import reasons
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
LIMIT = 25
HeldId = Annotated[int, Path(ge=1, le=2**62)]
_Before = Annotated[int | None, Query(ge=1, le=2**62)]


def shown(row: Row) -> Row:
    """A held mail with its reasons in words."""
    why = reasons(row["symbols"], header_from=row["header_from"], mail_from=row["mail_from"])
    return {**row, "reasons": why, "sender": row["header_from"] or row["mail_from"] or "nobody"}


@router.get("")
async def table(
    request: Request,
    viewer: SignedIn,
    db: Db,
    before: _Before = None,
    after: _Before = None,
    q: Annotated[str, Query(max_length=200)] = "",
    mailbox: Annotated[str, Query(max_length=320)] = "",
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """What is held, newest first; filtered by sender, subject or mailbox."""
    box = await mailboxes.get_mailbox(db, mailbox) if mailbox else None
    found = await quarantine.held(db, box["id"] if box else None, before=before, after=after, query=q, limit=LIMIT + 1)
    back = after is not None and before is None
    more = len(found) > LIMIT
    rows = (found[1:] if back else found[:LIMIT]) if more else found
    here = str(
        request.url.include_query_params()
        .remove_query_params(["before", "after", "done"])
        .replace(scheme="", netloc="")
    )
    here += "&" if "?" in here else "?"
    return page(
        request,
        viewer,
        "spam/quarantine.html",
        block="rows",
        held=[shown(row) for row in rows],
        total=await quarantine.count(db),
        q=q,
        mailbox=box["address"] if box else "",
        newer=f"{here}after={rows[0]['id']}" if rows and (before is not None or (back and more)) else "",
        older=f"{here}before={rows[-1]['id']}" if rows and (more or back) else "",
        done=done,
    )


@router.get("/{held_id}")
async def one(request: Request, viewer: SignedIn, db: Db, held_id: HeldId) -> Response:
    """One of them, as text."""
    return await _mail(request, viewer, db, held_id)


@router.post("/{held_id}/release")
async def release(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, held_id: HeldId) -> Response:
    """Let it through."""
    try:
        async with db.transaction():
            await delivery.release(db, settings, held_id)
    except Conflict as refused:
        return await _mail(request, viewer, db, held_id, refused=str(refused))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/quarantine?done=released", 303)


@router.post("/{held_id}/delete")
async def delete(viewer: SignedIn, db: Db, held_id: HeldId) -> Response:
    """Delete it for good."""
    await quarantine.get(db, held_id)
    await quarantine.delete(db, [held_id])
    return RedirectResponse(f"/w/{viewer.workspace_slug}/quarantine?done=deleted", 303)


async def _mail(request: Request, viewer: Viewer, db: Connection, held_id: int, refused: str = "") -> Response:
    row = await quarantine.get(db, held_id, message=True)
    return page(
        request, viewer, "spam/held.html", 409 if refused else 200,
        mail=shown(row), reading=read(row["message"]), refused=refused,
    )  # fmt: skip
