"""The queue for those who run the installation: what waits, where and why; hold, release, try again."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.campaigns.why import why
from thurn.db.fetch import rows
from thurn.delivery.providers import PROVIDERS
from thurn.problems import Conflict, Invalid, NotFound
from thurn.queue import service
from thurn.web import words
from thurn.web.edge import Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/delivery/queue")
SHOWN = 50  # lines of campaigns; the rest is summed

Short = Annotated[str, Form(max_length=40)]


@router.get("")
async def look(request: Request, viewer: Operator, db: Db) -> Response:
    """Everything at a glance."""
    return await _page(request, viewer, db)


@router.post("/hold")
async def hold(
    request: Request,
    viewer: Operator,
    db: Db,
    workspace: Short = "",
    provider: Short = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Hold something back."""
    chosen = int(workspace) if workspace.isascii() and workspace.isdigit() and len(workspace) < 10 else None
    try:
        if workspace and chosen is None:
            raise Invalid("workspace", "There is no such workspace.")
        await service.hold(db, workspace=chosen, provider=provider or None, reason=reason)
    except (Invalid, Conflict) as refused:
        return await _page(request, viewer, db, 422, error=str(refused), reason=reason)
    return _back()


@router.post("/release")
async def release(viewer: Operator, db: Db, hold: Short = "") -> Response:
    """Let something go on; what is released already is no error."""
    if hold.isascii() and hold.isdigit() and len(hold) < 10:
        try:
            await service.release(db, int(hold))
        except NotFound:
            pass
    return _back()


@router.post("/retry")
async def retry(viewer: Operator, db: Db, provider: Short = "") -> Response:
    """Try what was put off again now."""
    if not provider or provider in PROVIDERS:
        await service.retry(db, provider=provider or None)
    return RedirectResponse("/house/delivery/queue?retried=1", 303)


def _back() -> Response:
    return RedirectResponse("/house/delivery/queue", 303)


async def _page(request: Request, viewer: Viewer, db: Any, status: int = 200, **typed: str) -> Response:
    queue = await service.look(db)
    workspaces = [(row["id"], row["name"]) for row in await rows(db, "SELECT id, name FROM workspace ORDER BY name")]
    waiting = sum(each.waiting for each in queue.waiting)
    return page(
        request,
        viewer,
        "queue/queue.html",
        status,
        queue=queue,
        waiting=waiting,
        oldest=min((each.since for each in queue.waiting if each.since), default=None),
        retrying=sum(lane.retrying for lane in queue.lanes),
        on_the_way=sum(lane.on_the_way for lane in queue.lanes),
        per_minute=sum(lane.per_minute for lane in queue.lanes),
        shown=queue.waiting[:SHOWN],
        hidden=len(queue.waiting[SHOWN:]),
        held_everything=any(each.workspace_id is None and each.provider is None for each in queue.holds),
        workspaces=workspaces,
        providers=[(name, words.PROVIDERS.get(name, name)) for name in PROVIDERS],
        typed={"error": "", "reason": "", **typed},
        what_of=lambda category: why(category, "deferred").what,
        tab="queue",
    )
