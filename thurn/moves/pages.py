"""Pages of moves: the list (a tab of Mailboxes), the forms, one move as it goes."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from thurn.audience.csvfile import NotCsv
from thurn.db.connect import Connection, Row
from thurn.mailhost.mailbox_pages import counts
from thurn.mailhost.mailboxes import count_mailboxes
from thurn.moves import batch, hosts, service
from thurn.moves.service import Source
from thurn.problems import Conflict, Invalid, NotFound, Problem
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/mailboxes/moves")
LIMIT = 25
WORDS = {
    "waiting": "Waiting", "running": "Moving", "paused": "Paused", "done": "Moved", "cancelled": "Cancelled",
    "failed": "Failed",
}  # fmt: skip
GOING = frozenset({"waiting", "running"})


@router.get("")
async def table(
    request: Request, viewer: SignedIn, db: Db, before: Annotated[int | None, Query(ge=1, le=2**62)] = None
) -> Response:  # fmt: skip
    """Moves, newest first."""
    found = await service.move_page(db, before=before, limit=LIMIT + 1)
    shown = found[:LIMIT]
    return _page(
        request, viewer, "moves/list.html", moves=shown, words=WORDS,
        counts=await counts(db),
        older=f"?before={shown[-1]['id']}" if len(found) > LIMIT else "",
        newer=f"/w/{viewer.workspace_slug}/mailboxes/moves" if before else "",
    )  # fmt: skip


@router.get("/new")
async def new(
    request: Request, viewer: SignedIn, db: Db, to: Annotated[str, Query(max_length=320)] = "",
    again: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:  # fmt: skip
    """The form."""
    values = {"address": to, "host": "", "port": str(hosts.IMAPS), "login": "", "fingerprint": ""}
    if again:
        move = await service.get(db, again)
        values = {name: str(move[name]) for name in values}
    return await _form(request, viewer, db, values)


@router.post("/new")
async def start(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings,
    address: Annotated[str, Form()] = "", host: Annotated[str, Form()] = "", port: Annotated[str, Form()] = "",
    login: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "", fingerprint: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """Begin."""
    values = {"address": address, "host": host, "port": port, "login": login, "fingerprint": fingerprint}
    try:
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
        source = Source(host, login, password, number, fingerprint)
        move = await service.start(db, viewer.workspace_id, address=address, source=source, settings=settings)
    except NotFound:
        return await _form(request, viewer, db, values, Invalid("address", "There is no such mailbox here."))
    except (Invalid, Conflict) as refused:
        return await _form(request, viewer, db, values, refused)
    return _there(viewer, move)


@router.get("/many")
async def many(request: Request, viewer: SignedIn) -> Response:
    """The form for a file."""
    return _page(request, viewer, "moves/many.html", done=None, error="")


@router.post("/many")
async def start_many(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings,
    file: Annotated[UploadFile | str | None, File()] = None,
) -> Response:  # fmt: skip
    """Begin with each line, and say what came of it."""
    try:
        if not file or isinstance(file, str):
            raise NotCsv("Choose a file.")
        data = await file.read(batch.LARGEST + 1)
        done = await batch.start_many(db, viewer.workspace_id, data=data, settings=settings)
    except NotCsv as refused:
        return _page(request, viewer, "moves/many.html", 422, done=None, error=str(refused))
    return _page(request, viewer, "moves/many.html", done=done, error="")


@router.get("/{move_id}")
async def one(request: Request, viewer: SignedIn, db: Db, move_id: int) -> Response:
    """How it goes, or how it went."""
    move = await service.get(db, move_id if 0 < move_id < 2**62 else 0)
    left = await service.problems(db, move_id, limit=200)
    return page(
        request, viewer, "moves/move.html", block="progress", section="mailboxes", move=move, word=WORDS[move["state"]],
        going=move["state"] in GOING, problems=left, pace=pace(move),
    )  # fmt: skip


@router.post("/{move_id}/cancel")
async def cancel(viewer: SignedIn, db: Db, move_id: int) -> Response:
    """Stop it."""
    await service.cancel(db, move_id if 0 < move_id < 2**62 else 0)
    return _there(viewer, move_id)


@router.post("/{move_id}/resume")
async def resume(viewer: SignedIn, db: Db, move_id: int) -> Response:
    """Let it go on."""
    await service.resume(db, move_id if 0 < move_id < 2**62 else 0)
    return _there(viewer, move_id)


def pace(move: Row) -> dict[str, Any]:
    """How far it is and, once that can be told, how many seconds are left."""
    done = move["messages_done"] + move["messages_left"]
    total = max(move["messages_total"], done)
    begun, ended = move["started_at"], move["finished_at"] or datetime.now(UTC)
    seconds = (ended - begun).total_seconds() if begun else 0.0
    tells = move["state"] == "running" and done > 20 and seconds > 5
    left = seconds / done * (total - done) if tells else None
    return {"total": total, "done": done, "left": left, "seconds": seconds}


def _there(viewer: Viewer, move_id: int) -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/moves/{move_id}", 303)


def _page(request: Request, viewer: Viewer, template: str, status: int = 200, **context: Any) -> Response:
    return page(request, viewer, template, status, section="mailboxes", **context)


async def _form(
    request: Request, viewer: Viewer, db: Connection, values: dict[str, str], refused: Problem | None = None
) -> Response:
    field = refused.field if isinstance(refused, Invalid) else "address"
    return _page(
        request, viewer, "moves/new.html", 200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        values=values, errors={field: str(refused)} if refused else {}, mailboxes=await count_mailboxes(db),
    )  # fmt: skip
