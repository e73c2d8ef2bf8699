"""The page on which a domain's records are published: where its DNS is kept, what would change, and doing it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection, Row
from thurn.dns import publishing
from thurn.dns.changes import Change
from thurn.mailhost import service
from thurn.mailhost.names import readable
from thurn.problems import Conflict, Invalid
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
_FIELDS = ("provider", "zone", "server", "port", "key_name", "key_secret", "algorithm", "token")
_FORMS = (
    ("rfc2136", "Your own name server (RFC 2136)", (
        ("server", "Primary name server", "Its name or address.", "text"),
        ("port", "Port", "", "text"),
        ("zone", "Zone", "Empty: the domain itself.", "text"),
        ("key_name", "Name of the TSIG key", "", "text"),
        ("key_secret", "Secret", "Base64, as tsig-keygen prints it.", "password"),
        ("algorithm", "Algorithm", "", ""),
    )),
    ("api", "A DNS provider’s API", (
        ("token", "API token", "It needs to be able to read and change this zone, and nothing else.", "password"),
    )),
)  # fmt: skip
_GROUPS = (("create", "To create"), ("replace", "To replace"), ("by hand", "By hand"), ("keep", "In order"))


@router.get("/{name}/publish")
async def publish_page(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str, look: str = "", done: str = ""
) -> Response:
    """Where the DNS is kept; with `look` what would change."""
    row = await service.get_domain(db, name)
    plan: list[Change] = []
    refused = ""
    if look:
        try:
            plan = await publishing.preview(db, row, settings)
        except Conflict as problem:
            refused = str(problem)
    return await _page(request, viewer, db, row, plan=plan, refused=refused, done=bool(done))


@router.post("/{name}/publish")
async def set_up(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """Keep how to get in."""
    row = await service.get_domain(db, name)
    sent = await request.form()
    form = {field: str(sent.get(field, ""))[:1000].replace("\0", "") for field in _FIELDS}
    access = {key: value for key, value in form.items() if key not in ("provider", "zone") and value}
    try:
        await publishing.put(db, row, settings, provider=form["provider"], zone=form["zone"], access=access)
    except Invalid as wrong:
        field = wrong.field if wrong.field != "name" else "zone"
        return await _page(request, viewer, db, row, form=form, errors={field: wrong.message})
    return _back(viewer, row, "?look=1")


@router.post("/{name}/publish/now")
async def publish_now(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """Create and replace."""
    row = await service.get_domain(db, name)
    try:
        await publishing.publish(db, row, settings)
    except Conflict as problem:
        return await _page(request, viewer, db, row, refused=str(problem))
    return _back(viewer, row, "?look=1&done=1")


@router.post("/{name}/publish/forget")
async def forget(viewer: SignedIn, db: Db, name: str) -> Response:
    """Destroy the way in."""
    row = await service.get_domain(db, name)
    await publishing.forget(db, row)
    return _back(viewer, row)


def _back(viewer: Viewer, row: Row, query: str = "") -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}/publish{query}", 303)


async def _page(
    request: Request,
    viewer: Viewer,
    db: Connection,
    row: Row,
    *,
    plan: list[Change] | None = None,
    refused: str = "",
    done: bool = False,
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    found = plan or []
    ids = {"create": "create", "replace": "replace", "by hand": "hand", "keep": "kept"}
    parts = [(title, ids[action], [c for c in found if c.action == action]) for action, title in _GROUPS]
    context: dict[str, Any] = {
        "domain": row,
        "readable": readable(row["name"]),
        "publisher": await publishing.get(db, row),
        "providers": {publishing.RFC2136: "Your own name server (RFC 2136)", **publishing.PROVIDERS},
        "api_providers": list(publishing.PROVIDERS.items()),
        "algorithms": [(name, name) for name in publishing.ALGORITHMS],
        "forms": _FORMS,
        "form": {field: (form or {}).get(field, "53" if field == "port" and not form else "") for field in _FIELDS},
        "errors": {field: (errors or {}).get(field, "") for field in _FIELDS},
        "plan": plan,
        "groups": [part for part in parts if part[2]],
        "due": sum(change.action in ("create", "replace") for change in found),
        "refused": refused,
        "done": done,
        "short": lambda name: name.removesuffix(row["name"]).rstrip(".") or "@",
    }
    return page(request, viewer, "mailhost/domain_publish.html", 409 if refused else 422 if errors else 200, **context)
