"""The page of the guard, for those who run the installation: who is banned, who never is, and who failed to sign in."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.guard import bans, figures
from thurn.problems import Conflict, Invalid, NotFound
from thurn.web.edge import Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/guard")

LENGTHS = {"10": "10 minutes", "60": "1 hour", "1440": "1 day", "10080": "1 week", "43200": "30 days"}
_CAUSES = {"sign-ins": "Guessed passwords", "harvesting": "Tried addresses that do not exist", "by hand": "By hand"}

Client = Annotated[str, Form(max_length=200)]


@router.get("")
async def look(request: Request, viewer: Operator, db: Db) -> Response:
    """Everything at a glance."""
    return await _page(request, viewer, db)


@router.post("/ban")
async def ban(
    request: Request,
    viewer: Operator,
    db: Db,
    client: Client = "",
    minutes: Annotated[str, Form(max_length=10)] = "60",
    detail: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Ban an address or a network."""
    try:
        length = timedelta(minutes=int(minutes if minutes in LENGTHS else "60"))
        await bans.ban_by_hand(db, client, length=length, detail=detail)
    except (Invalid, Conflict) as refused:
        return await _page(
            request, viewer, db, 422, client=client, minutes=minutes, detail=detail, ban_error=str(refused)
        )
    return _back()


@router.post("/unban")
async def unban(viewer: Operator, db: Db, client: Client = "") -> Response:
    """Lift a ban; one that is over by now is no error."""
    try:
        await bans.lift(db, client)
    except (Invalid, NotFound):
        pass
    return _back()


@router.post("/allow")
async def allow(
    request: Request,
    viewer: Operator,
    db: Db,
    network: Client = "",
    note: Annotated[str, Form(max_length=400)] = "",
) -> Response:
    """Never ban this address or network."""
    try:
        await bans.allow(db, network, note=note)
    except Invalid as refused:
        return await _page(request, viewer, db, 422, network=network, note=note, allow_error=str(refused))
    return _back()


@router.post("/disallow")
async def disallow(viewer: Operator, db: Db, network: Client = "") -> Response:
    """Take it off that list; one that is not on it is no error."""
    try:
        await bans.disallow(db, network)
    except (Invalid, NotFound):
        pass
    return _back()


def _back() -> Response:
    return RedirectResponse("/house/guard", 303)


async def _page(request: Request, viewer: Viewer, db: Db, status: int = 200, **given: str) -> Response:
    kept: dict[str, Any] = dict.fromkeys(("client", "detail", "ban_error", "network", "note", "allow_error"), "")
    return page(
        request,
        viewer,
        "guard/guard.html",
        status,
        banned=await bans.listed(db),
        allowed=await bans.allowed(db),
        clients=await figures.by_client(db),
        logins=await figures.by_login(db, 10),
        lengths=list(LENGTHS.items()),
        causes=_CAUSES,
        doors=figures.DOORS,
        **{"minutes": "60", **kept, **given},
    )
