"""Pages of aliases and alias domains, and of everything that sends mail on: forwards and copies for the record."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import URL

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.mailhost import aliases, rights, service
from thurn.mailhost.mailbox_pages import LIMIT, counts
from thurn.mailhost.names import one_line, readable
from thurn.problems import Conflict, Problem
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
_Text = Annotated[str, Form(max_length=400)]
_Place = Annotated[str | None, Query(max_length=400)]


@router.get("/aliases")
async def table(
    request: Request, viewer: SignedIn, db: Db, before: _Place = None, after: _Place = None,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Aliases by address, and domains that are another's name."""
    return await _aliases(request, viewer, db, before=before, after=after, q=q)


@router.post("/aliases")
async def add(
    request: Request, viewer: SignedIn, db: Db, address: _Text = "", target: _Text = "", other: _Text = ""
) -> Response:
    """One more alias."""
    try:
        await aliases.add(db, viewer.workspace_id, address=address, target=target)
    except Problem as refused:
        return await _aliases(request, viewer, db, refused=refused, given={"address": address, "target": target})
    return _to(viewer, "aliases")


@router.post("/aliases/remove")
async def remove(viewer: SignedIn, db: Db, address: _Text = "", target: _Text = "") -> Response:
    """One less."""
    await aliases.remove(db, address=address, target=target)
    return _to(viewer, "aliases")


@router.post("/aliases/domain")
async def lead(request: Request, viewer: SignedIn, db: Db, domain: _Text = "", to: _Text = "") -> Response:
    """Make a domain another's name; an empty target: an ordinary domain again."""
    try:
        await aliases.lead_domain(db, domain, to or None)
    except Problem as refused:
        return await _aliases(request, viewer, db, refused=refused, given={"domain": domain, "to": to})
    return _to(viewer, "aliases")


@router.get("/forwards")
async def forwards_table(request: Request, viewer: SignedIn, db: Db) -> Response:
    """Mailboxes that send their mail on, and copies for the record."""
    return await _forwards(request, viewer, db)


@router.post("/forwards/copies")
async def copy(
    request: Request, viewer: SignedIn, db: Db, direction: _Text = "", address: _Text = "", copy_to: _Text = "",
    outside: _Text = "",
) -> Response:  # fmt: skip
    """One more rule."""
    try:
        await rights.add_copy(
            db, viewer.workspace_id, direction="sent" if direction == "sent" else "received", address=address,
            copy_to=copy_to, outside=bool(outside), by=viewer.email,
        )  # fmt: skip
    except Problem as refused:
        given = {"direction": direction, "address": address, "copy_to": copy_to, "outside": outside}
        return await _forwards(request, viewer, db, refused=refused, given=given)
    return _to(viewer, "forwards")


@router.post("/forwards/copies/remove")
async def uncopy(viewer: SignedIn, db: Db, number: Annotated[int, Form(ge=1, le=2**31 - 1)]) -> Response:
    """One less."""
    await rights.remove_copy(db, number)
    return _to(viewer, "forwards")


# ---------------------------------------------------------------- what they share


def _to(viewer: Viewer, tab: str) -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/{tab}?saved=1", 303)


async def _aliases(
    request: Request, viewer: Viewer, db: Connection, *, before: str | None = None, after: str | None = None,
    q: str = "", refused: Problem | None = None, given: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    before, after = (None if each is None else one_line(each) for each in (before, after))
    found = await aliases.page(db, after=after, before=before, query=q, limit=LIMIT + 1)
    back = before is not None and after is None
    shown = found[-LIMIT:] if back else found[:LIMIT]
    more = len(found) > LIMIT
    has_newer, has_older = (more, True) if back else (after is not None, more)
    here = URL(f"/w/{viewer.workspace_slug}/mailboxes/aliases").replace_query_params(**({"q": q} if q else {}))
    domains = await service.domain_page(db, limit=1000)
    leading = bool(given and "domain" in given)
    field = (
        ("domain" if leading else "address") if isinstance(refused, Conflict) else getattr(refused, "field", "target")
    )
    return page(
        request,
        viewer,
        "mailhost/aliases.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        aliases=shown,
        counts=await counts(db),
        alias_domains=await aliases.alias_domains(db),
        domains=[(row["name"], readable(row["name"])) for row in domains if row["alias_of"] is None],
        q=q,
        saved="saved" in request.query_params,
        values={"address": "", "target": "", "domain": "", "to": "", **(given or {})},
        errors={"to" if leading and field == "target" else field: str(refused)} if refused else {},
        newer=str(here.include_query_params(before=shown[0]["address"])) if has_newer and shown else "",
        older=str(here.include_query_params(after=shown[-1]["address"])) if has_older and shown else "",
    )


async def _forwards(
    request: Request,
    viewer: Viewer,
    db: Connection,
    *,
    refused: Problem | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    field = "address" if isinstance(refused, Conflict) else getattr(refused, "field", "")
    return page(
        request,
        viewer,
        "mailhost/forwards.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        forwards=await rows(
            db,
            """SELECT address, name, forward_to, forward_keep FROM mailbox WHERE forward_to <> '{}'
               ORDER BY address LIMIT 1000""",
        ),
        copies=await rights.copies(db),
        counts=await counts(db),
        domains=bool(await service.domain_page(db, limit=1)),
        saved="saved" in request.query_params,
        values={"direction": "received", "address": "", "copy_to": "", "outside": "", **(given or {})},
        errors={field: str(refused)} if refused else {},
    )
