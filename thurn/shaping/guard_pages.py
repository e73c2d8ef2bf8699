"""The page of the guard over campaigns, for those who run the installation: limits of each workspace."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.campaigns import guard
from thurn.db.connect import Connection
from thurn.problems import Invalid
from thurn.shaping.guard_api import find
from thurn.web.edge import Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/guard")
_PAGE = "/house/delivery/guard"
Short = Annotated[str, Form(max_length=100)]


@router.get("")
async def look(request: Request, viewer: Operator, db: Db) -> Response:
    """Every workspace with its limits."""
    return await _page(request, viewer, db)


@router.post("/set")
async def change(
    request: Request, viewer: Operator, db: Db, workspace: Short = "", enabled: Short = "", bounce_warn: Short = "",
    bounce_pause: Short = "", complaint_warn: Short = "", complaint_pause: Short = "", least_mails: Short = "",
    least_complaints: Short = "",
) -> Response:  # fmt: skip
    """Change a workspace's limits; shares are given in percent."""
    row = await find(db, workspace.replace("\0", ""))
    try:
        wanted = guard.Limits(
            enabled == "1", _share("bounce_warn", bounce_warn), _share("bounce_pause", bounce_pause),
            _share("complaint_warn", complaint_warn), _share("complaint_pause", complaint_pause),
            _whole("least_mails", least_mails), _whole("least_complaints", least_complaints),
        )  # fmt: skip
        await guard.set_limits(db, row["id"], wanted)
    except Invalid as refused:
        return await _page(request, viewer, db, 422, wrong=row["name"], error=refused.message)
    return RedirectResponse(_PAGE, 303)


@router.post("/lift")
async def lift(viewer: Operator, db: Db, workspace: Short = "") -> Response:
    """Let a workspace send again."""
    await guard.lift(db, (await find(db, workspace.replace("\0", "")))["id"])
    return RedirectResponse(_PAGE, 303)


def _share(field: str, text: str) -> float:
    try:
        share = float(text.strip().removesuffix("%").replace(",", ".")) / 100
    except ValueError as error:
        raise Invalid(field, "Give a percentage, such as 5 or 0.3.") from error
    return share if 0 < share <= 1 else 2.0  # also what is no number: refused with the reason


def _whole(field: str, text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise Invalid(field, "Give whole numbers.")
    return int(text)


async def _page(
    request: Request, viewer: Viewer, db: Connection, status: int = 200, *, wrong: str = "", error: str = ""
) -> Response:
    every: list[Any] = [
        {"workspace": row, "limits": limits, "state": state} for row, limits, state in await guard.listed(db)
    ]
    return page(request, viewer, "shaping/guard.html", status, every=every, wrong=wrong, error=error)
