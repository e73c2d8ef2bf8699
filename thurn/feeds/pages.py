"""Pages of feeds: what there is, how each is getting on, and what to enter where."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.feeds import proof, service
from thurn.feeds.events import SERVICES
from thurn.problems import Conflict, Invalid, Problem
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/feeds")
WORDS = {"waiting": "Waiting", "ok": "Active", "retrying": "Retrying", "broken": "Broken"}
AFTERWARDS = {
    "keep": "It stays as it is", "seen": "It is marked as read", "move": "It is moved to another folder",
    "delete": "It is deleted",
}  # fmt: skip
_FIELDS = ("name", "kind", "host", "port", "login", "fingerprint", "folder", "afterwards", "target")


@router.get("")
async def table(request: Request, viewer: SignedIn, db: Db) -> Response:
    """Every feed of the workspace."""
    return _page(request, viewer, "feeds/list.html", feeds=await service.feed_page(db, limit=200))


@router.get("/new")
async def new(request: Request, viewer: SignedIn, kind: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Choose a kind, then the form for it."""
    values = dict.fromkeys(_FIELDS, "") | {"kind": kind if kind in service.KINDS else "", "folder": "INBOX"}
    if values["kind"] in service.PORTS:
        values["port"] = str(service.PORTS[values["kind"]][0])
    values["name"] = service.TITLES[kind] if kind in SERVICES else ""
    return _form(request, viewer, values)


@router.post("/new")
async def add(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings,
    kind: Annotated[str, Form()] = "", name: Annotated[str, Form()] = "", secret: Annotated[str, Form()] = "",
    host: Annotated[str, Form()] = "", port: Annotated[str, Form()] = "", login: Annotated[str, Form()] = "",
    fingerprint: Annotated[str, Form()] = "", folder: Annotated[str, Form()] = "INBOX",
    afterwards: Annotated[str, Form()] = "keep", target: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """Begin."""
    values = {"name": name, "kind": kind if kind in service.KINDS else "", "host": host, "port": port, "login": login,
              "fingerprint": fingerprint, "folder": folder, "afterwards": afterwards, "target": target}  # fmt: skip
    try:
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1 if port else 0
        feed = await service.add(
            db, viewer.workspace_id, settings=settings,
            new=service.New(name, kind, secret, host, number, login, fingerprint, folder, afterwards, target),
        )  # fmt: skip
    except (Invalid, Conflict) as refused:
        return _form(request, viewer, values, refused)
    return _there(viewer, feed)


@router.get("/{feed_id}")
async def one(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, feed_id: int) -> Response:
    """How it is getting on; for a service, what to enter there."""
    feed = await service.get(db, _number(feed_id))
    return _page(request, viewer, "feeds/feed.html", feed=feed, enter=await _enter(db, feed, settings, viewer),
                 afterwards=AFTERWARDS, every=service.EVERY)  # fmt: skip


@router.post("/{feed_id}/enable")
async def enable(viewer: SignedIn, db: Db, feed_id: int) -> Response:
    """Go on."""
    await service.switch(db, _number(feed_id), enabled=True)
    return _there(viewer, feed_id)


@router.post("/{feed_id}/disable")
async def disable(viewer: SignedIn, db: Db, feed_id: int) -> Response:
    """Stop."""
    await service.switch(db, _number(feed_id), enabled=False)
    return _there(viewer, feed_id)


@router.post("/{feed_id}/remove")
async def remove(viewer: SignedIn, db: Db, feed_id: int) -> Response:
    """Forget it."""
    await service.remove(db, _number(feed_id))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/feeds", 303)


async def _enter(db: Connection, feed: Any, settings: Any, viewer: Viewer) -> dict[str, str] | None:
    """What to enter at a service. Who may only look sees no password."""
    if feed["hook"] is None:
        return None
    try:
        secret = await service.secret_of(db, feed["id"], settings)
    except Problem as problem:
        return {"url": "", "problem": str(problem), "topic": ""}
    hidden = viewer.role == "viewer" and feed["kind"] not in proof.SIGNED
    return {
        "url": "" if hidden else service.address(feed, settings.url, secret), "problem": "",
        "topic": secret if feed["kind"] == "ses" else "",
    }  # fmt: skip


def _number(feed_id: int) -> int:
    return feed_id if 0 < feed_id < 2**62 else 0


def _there(viewer: Viewer, feed_id: int) -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/feeds/{feed_id}", 303)


def _form(request: Request, viewer: Viewer, values: dict[str, str], refused: Problem | None = None) -> Response:
    field = refused.field if isinstance(refused, Invalid) else "name"
    status = 200 if refused is None else 409 if isinstance(refused, Conflict) else 422
    return _page(
        request, viewer, "feeds/new.html", status, values=values, errors={field: str(refused)} if refused else {},
        afterwards=[(each, AFTERWARDS[each]) for each in service.AFTERWARDS.get(values["kind"], ())],
    )  # fmt: skip


def _page(request: Request, viewer: Viewer, template: str, status: int = 200, **context: Any) -> Response:
    return page(
        request, viewer, template, status, section="feedback", titles=service.TITLES, services=SERVICES, words=WORDS,
        **context,
    )  # fmt: skip
