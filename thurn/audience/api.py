"""JSON API of audience: contacts and lists. Imports are in import_api.py."""

from typing import Annotated, Any

from fastapi import Query, Response

from thurn.audience import import_api, service, suppression_api
from thurn.audience.schemas import (
    Added,
    ContactEvent,
    ContactEvents,
    ContactFull,
    ContactIn,
    ContactOut,
    ContactPatch,
    Contacts,
    ListIn,
    ListOut,
    Lists,
    MembersIn,
)
from thurn.web.edge import ApiDb, Keyed
from thurn.web.schemas import BigId, Cursor, Id, Limit, Text, api_router, number_of

router = api_router("audience")

Search = Annotated[Text, Query(max_length=320, description="Part of an address.")]
OnList = Annotated[int | None, Query(ge=1, le=2**31 - 1, alias="list", description="Only contacts of this list.")]
_MADE: dict[int | str, dict[str, Any]] = {201: {"model": ContactFull, "description": "The contact is new."}}


@router.get("/contacts")
async def list_contacts(
    db: ApiDb, limit: Limit = 25, cursor: Cursor = None, query: Search = "", on: OnList = None
) -> Contacts:
    """Contacts, newest first."""
    if on is not None:
        await service.get_list(db, on)
    found = await service.contact_page(db, before=number_of(cursor), limit=limit, query=query, list_id=on)
    following = None if found.older is None else str(found.older)
    return Contacts(items=[ContactOut(**row) for row in found.items], next=following, total=found.total)


@router.post("/contacts", responses=_MADE)
async def save_contact(db: ApiDb, key: Keyed, response: Response, new: ContactIn) -> ContactFull:
    """Add a contact (201), or add fields and lists to the one with this address (200). Who has left stays away."""
    number, added = await service.save_contact(
        db, key.workspace_id, email=new.email, fields=new.fields, list_ids=new.lists
    )
    response.status_code = 201 if added else 200
    return ContactFull(**await service.get_contact(db, number))


@router.get("/contacts/{contact_id}")
async def get_contact(db: ApiDb, contact_id: BigId) -> ContactFull:
    """One contact."""
    return ContactFull(**await service.get_contact(db, contact_id))


@router.patch("/contacts/{contact_id}")
async def replace_fields(db: ApiDb, contact_id: BigId, change: ContactPatch) -> ContactFull:
    """Replace all fields of a contact."""
    await service.set_fields(db, contact_id, change.fields)
    return ContactFull(**await service.get_contact(db, contact_id))


@router.delete("/contacts/{contact_id}", status_code=204)
async def delete_contact(db: ApiDb, contact_id: BigId) -> None:
    """Delete a contact and its place on lists. Reports keep their numbers."""
    await service.delete_contact(db, contact_id)


@router.get("/contacts/{contact_id}/events")
async def list_contact_events(db: ApiDb, contact_id: BigId, limit: Limit = 50) -> ContactEvents:
    """What happened with a contact, newest first."""
    await service.get_contact(db, contact_id)
    return ContactEvents(items=[ContactEvent(**row) for row in await service.timeline(db, contact_id, limit=limit)])


@router.post("/contacts/{contact_id}/unsubscribe")
async def unsubscribe_contact(db: ApiDb, contact_id: BigId) -> ContactFull:
    """The contact gets no campaign from now on. Doing it again changes nothing."""
    await service.unsubscribe(db, contact_id)
    return ContactFull(**await service.get_contact(db, contact_id))


@router.post("/contacts/{contact_id}/resubscribe")
async def resubscribe_contact(db: ApiDb, contact_id: BigId) -> ContactFull:
    """The contact asked to get campaigns again. A suppressed address stays suppressed."""
    await service.resubscribe(db, contact_id)
    return ContactFull(**await service.get_contact(db, contact_id))


@router.get("/lists")
async def list_lists(db: ApiDb) -> Lists:
    """All lists, by name."""
    return Lists(items=[ListOut(**row) for row in await service.lists(db)])


@router.post("/lists", status_code=201)
async def create_list(db: ApiDb, key: Keyed, new: ListIn) -> ListOut:
    """Make a list."""
    return ListOut(**await service.get_list(db, await service.create_list(db, key.workspace_id, new.name)))


@router.get("/lists/{list_id}")
async def get_list(db: ApiDb, list_id: Id) -> ListOut:
    """One list."""
    return ListOut(**await service.get_list(db, list_id))


@router.patch("/lists/{list_id}")
async def rename_list(db: ApiDb, list_id: Id, change: ListIn) -> ListOut:
    """Give a list another name."""
    await service.rename_list(db, list_id, change.name)
    return ListOut(**await service.get_list(db, list_id))


@router.delete("/lists/{list_id}", status_code=204)
async def delete_list(db: ApiDb, list_id: Id) -> None:
    """Delete a list; its contacts stay."""
    await service.delete_list(db, list_id)


@router.post("/lists/{list_id}/contacts")
async def add_to_list(db: ApiDb, key: Keyed, list_id: Id, members: MembersIn) -> Added:
    """Put contacts on a list. Ids that are nobody's are passed over."""
    return Added(added=await service.add_to_list(db, key.workspace_id, list_id, members.contacts))


@router.delete("/lists/{list_id}/contacts/{contact_id}", status_code=204)
async def remove_from_list(db: ApiDb, list_id: Id, contact_id: BigId) -> None:
    """Take a contact off a list. Doing it again changes nothing."""
    await service.remove_from_list(db, list_id, [contact_id])


router.include_router(import_api.router)
router.include_router(suppression_api.router)
