"""Pages of audience: contacts, one contact, lists. Imports are in import_pages.py."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.audience import import_pages, service, suppression, suppression_pages
from thurn.audience.people import STATES, WHY_SUPPRESSED, by_day, count_people, label, list_names, lists_of, name_of
from thurn.db.connect import Connection
from thurn.problems import Conflict, Invalid
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
router.include_router(import_pages.router)
router.include_router(suppression_pages.router)
_contacts = APIRouter(prefix="/w/{workspace}/contacts")

LIMIT = 25
EVENTS = 100
Key = Annotated[int | None, Query(ge=1, le=2**62)]


@_contacts.get("")
async def contacts(
    request: Request,
    viewer: SignedIn,
    db: Db,
    before: Key = None,
    after: Key = None,
    q: Annotated[str, Query(max_length=320)] = "",
    on: Annotated[str, Query(alias="list", max_length=12)] = "",
) -> Response:
    """The table, newest first: all, or those whose address holds `q`, or those on a list."""
    q, lists = q.replace("\0", "").strip(), await list_names(db)
    chosen = next((row for row in lists if str(row["id"]) == on), None)
    found = await service.contact_page(
        db, before=before, after=after, limit=LIMIT, query=q, list_id=chosen["id"] if chosen else None
    )
    kept = {**({"q": q} if q else {}), **({"list": on} if chosen else {})}
    here = request.url.replace_query_params(**kept).replace(scheme="", netloc="")
    on_lists = await lists_of(db, [row["id"] for row in found.items])
    return page(
        request,
        viewer,
        "audience/contacts.html",
        block="rows",
        contacts=[
            {**row, "name": name_of(row["fields"]), "lists": on_lists.get(row["id"], []), **_state(row)}
            for row in found.items
        ],
        total=found.total,
        counts=await count_people(db),
        lists=lists,
        chosen=chosen,
        q=q,
        newer=str(here.include_query_params(after=found.newer)) if found.newer else "",
        older=str(here.include_query_params(before=found.older)) if found.older else "",
    )


def _state(row: dict[str, Any]) -> dict[str, str]:
    """The word for a contact's state, and the reason where there is one."""
    return {"word": STATES[row["state"]], "why": WHY_SUPPRESSED.get(row["suppressed_for"] or "", "")}


# ---------------------------------------------------------------- one contact


@_contacts.get("/new")
async def new(request: Request, viewer: SignedIn, db: Db) -> Response:
    """A form for one contact."""
    return await _new(request, viewer, db, {}, [], {})


@_contacts.post("/new")
async def create(
    request: Request,
    viewer: SignedIn,
    db: Db,
    email: Annotated[str, Form()] = "",
    first_name: Annotated[str, Form()] = "",
    last_name: Annotated[str, Form()] = "",
    list_ids: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Add one contact; somebody who is there already gets the fields and lists."""
    typed = {"email": email, "first_name": first_name, "last_name": last_name}
    fields = {name: value.strip() for name, value in typed.items() if name != "email" and value.strip()}
    chosen = [int(text) for text in list_ids or [] if text.isascii() and text.isdigit() and len(text) < 10]
    try:
        contact, _ = await service.save_contact(db, viewer.workspace_id, email=email, fields=fields, list_ids=chosen)
    except Invalid as refused:
        errors = {refused.field.removeprefix("fields."): str(refused)}
        return await _new(request, viewer, db, typed, chosen, errors, 422)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/{contact}", 303)


async def _new(
    request: Request,
    viewer: Viewer,
    db: Connection,
    values: dict[str, str],
    chosen: list[int],
    errors: dict[str, str],
    status: int = 200,
) -> Response:
    lists = await service.lists(db)
    return page(request, viewer, "audience/new.html", status, lists=lists, values=values, chosen=chosen, errors=errors)


@_contacts.get("/lists")
async def all_lists(request: Request, viewer: SignedIn, db: Db) -> Response:
    """The lists and how many are on each."""
    return await _lists(request, viewer, db)


@_contacts.post("/lists")
async def make_list(request: Request, viewer: SignedIn, db: Db, name: Annotated[str, Form()] = "") -> Response:
    """Make a list."""
    try:
        await service.create_list(db, viewer.workspace_id, name)
    except (Invalid, Conflict) as refused:
        return await _lists(request, viewer, db, name, str(refused), 409 if isinstance(refused, Conflict) else 422)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/lists", 303)


@_contacts.get("/lists/{list_id}")
async def one_list(request: Request, viewer: SignedIn, db: Db, list_id: int) -> Response:
    """A list: its name to change, its people, and the way to delete it."""
    row = await service.get_list(db, list_id)
    return page(request, viewer, "audience/list.html", row=row, name=row["name"], error="")


@_contacts.post("/lists/{list_id}")
async def rename_list(
    request: Request, viewer: SignedIn, db: Db, list_id: int, name: Annotated[str, Form()] = ""
) -> Response:
    """Give a list another name."""
    row = await service.get_list(db, list_id)
    try:
        await service.rename_list(db, list_id, name)
    except (Invalid, Conflict) as refused:
        status = 409 if isinstance(refused, Conflict) else 422
        return page(request, viewer, "audience/list.html", status, row=row, name=name, error=str(refused))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/lists", 303)


@_contacts.post("/lists/{list_id}/delete")
async def delete_list(viewer: SignedIn, db: Db, list_id: int) -> Response:
    """Delete a list; its people stay."""
    await service.delete_list(db, list_id)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/lists", 303)


async def _lists(
    request: Request, viewer: Viewer, db: Connection, name: str = "", error: str = "", status: int = 200
) -> Response:
    return page(
        request,
        viewer,
        "audience/lists.html",
        status,
        lists=await service.lists(db),
        counts=await count_people(db),
        name=name,
        error=error,
    )


@_contacts.get("/{contact}")
async def one_contact(request: Request, viewer: SignedIn, db: Db, contact: int) -> Response:
    """A contact and what happened."""
    row = await service.get_contact(db, contact)
    events = await service.timeline(db, contact, limit=EVENTS)
    entry = await suppression.find(db, row["email"]) if row["suppressed_for"] else None
    return page(
        request,
        viewer,
        "audience/contact.html",
        contact={**row, "name": name_of(row["fields"]), **_state(row)},
        fields=[(label(name), value) for name, value in row["fields"].items()],
        days=by_day(events),
        events=len(events),
        suppression_id=entry["id"] if entry else None,
        most=EVENTS,
    )


@_contacts.post("/{contact}/unsubscribe")
async def unsubscribe(viewer: SignedIn, db: Db, contact: int) -> Response:
    """The contact gets no campaign any more."""
    await service.unsubscribe(db, contact)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/{contact}", 303)


@_contacts.post("/{contact}/subscribe")
async def subscribe(viewer: SignedIn, db: Db, contact: int) -> Response:
    """The contact asked to get campaigns again."""
    await service.resubscribe(db, contact)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/{contact}", 303)


@_contacts.post("/{contact}/delete")
async def delete(viewer: SignedIn, db: Db, contact: int) -> Response:
    """Delete a contact."""
    await service.delete_contact(db, contact)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts", 303)


router.include_router(_contacts)
