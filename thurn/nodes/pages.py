"""Pages of the machines that send, for those who run the installation."""

import csv
import io
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.nodes import service
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/delivery/nodes")

Line = Annotated[str, Form(max_length=100)]
Asked = Annotated[str, Query(max_length=60)]
_HOME = "/house/delivery/nodes"


@router.get("")
async def machines(request: Request, viewer: Operator, db: Db, settings: AppSettings) -> Response:
    """Every machine, and the form for another."""
    return await _list(request, viewer, db, settings)


@router.post("")
async def add(request: Request, viewer: Operator, db: Db, settings: AppSettings, name: Line = "") -> Response:
    """Let one join; the command is shown once."""
    try:
        made = await service.add(db, settings, name)
    except (Invalid, Conflict) as refused:
        return await _list(request, viewer, db, settings, 422, name=name, error=str(refused))
    return await _list(request, viewer, db, settings, command=made["command"])


@router.get("/{name}")
async def machine(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str, ask: Asked = ""
) -> Response:
    """One machine, with what it has taken of which nobody knows the end."""
    return await _one(request, viewer, db, settings, name, ask=ask)


@router.get("/{name}/recipients.csv")
async def recipients(viewer: Operator, db: Db, name: str) -> Response:
    """Each recipient, as a table."""
    await service.get(db, name)
    text = io.StringIO()
    write = csv.writer(text)
    write.writerow(service.COLUMNS)
    write.writerows(service.line(row) for row in await service.people(db, name))
    head = {"content-disposition": f'attachment; filename="{name}-recipients.csv"', "cache-control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=head)


@router.post("/{name}/remove")
async def remove(request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str) -> Response:
    """Have it leave."""
    try:
        row = await service.remove(db, settings, name)
    except Conflict as refused:
        return await _one(request, viewer, db, settings, name, 409, act_error=str(refused))
    except NotFound:
        row = None  # gone by now
    return RedirectResponse(f"{_HOME}/{name}" if row else _HOME, 303)


@router.post("/{name}/lost")
async def lose(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str, confirm: Line = "", again: Line = ""
) -> Response:
    """Give it up."""
    try:
        await service.lose(db, settings, name, confirm=confirm.strip(), again=again == "1")
    except Invalid as refused:
        return await _one(request, viewer, db, settings, name, 422, error=str(refused), ask="lost")
    except Conflict as refused:
        return await _one(request, viewer, db, settings, name, 409, act_error=str(refused))
    return RedirectResponse(f"{_HOME}/{name}", 303)


def word(row: dict[str, object]) -> str:
    """The state of a machine, of the vocabulary of states."""
    if row["silent"]:
        return "Silent"
    if row["state"] == "joined":
        return "Active" if row["able"] else "Starting" if row["seen_at"] is None else "Takes no mail"
    return {"invited": "Expected", "leaving": "Leaving", "left": "Gone", "lost": "Lost"}[str(row["state"])]


async def _list(
    request: Request, viewer: Viewer, db: Connection, settings: Settings, status: int = 200, *, name: str = "",
    error: str = "", command: str = "",
) -> Response:  # fmt: skip
    found = await service.listed(db)
    return page(
        request, viewer, "nodes/list.html", status, tab="nodes", nodes=found, words={n["name"]: word(n) for n in found},
        name=name, error=error, command=command, reachable=bool(settings.database_listen or settings.database_url),
    )  # fmt: skip


async def _one(
    request: Request, viewer: Viewer, db: Connection, settings: Settings, name: str, status: int = 200, *,
    ask: str = "", error: str = "", act_error: str = "",
) -> Response:  # fmt: skip
    row = await service.get(db, name)
    # Who lives settles what it has by itself; to look is to read all that is on its way, which may be millions.
    looked = bool(row["silent"] or row["state"] == "lost" or ask == "lost") and not row["first"]
    campaigns = await service.campaigns(db, name) if looked else []
    return page(
        request, viewer, "nodes/node.html", status, tab="nodes", node=row, word=word(row), campaigns=campaigns,
        looked=looked, leased=sum(each["leased"] for each in campaigns), taken=sum(each["taken"] for each in campaigns),
        again=sum(each["again"] for each in campaigns), ask_for=ask, error=error, act_error=act_error,
        minutes=(service.silence(settings) + 59) // 60,
    )  # fmt: skip
