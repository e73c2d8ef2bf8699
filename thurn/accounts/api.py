"""JSON API of accounts: the workspace a key opens, and the keys themselves."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from thurn.accounts import service
from thurn.db.fetch import one
from thurn.web.edge import ApiDb, Keyed
from thurn.web.schemas import Id, In, Out, Text, api_router

router = api_router("accounts")


class Member(Out):
    """Somebody who signs in to this workspace."""

    id: int
    email: str
    name: str
    role: str


class WorkspaceOut(Out):
    """The workspace of the key."""

    id: int
    slug: str
    name: str
    created_at: datetime
    key: int = Field(description="The API key this request was made with.")
    members: list[Member]


class ApiKeyOut(Out):
    """A key, without its secret."""

    id: int
    name: str
    prefix: str = Field(description="How the key begins, to recognise it.")
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiKeys(Out):
    """All keys."""

    items: list[ApiKeyOut]


class ApiKeyIn(In):
    """A key to make."""

    name: Annotated[Text, Field(min_length=1, max_length=100, description="What the key is for.")]


class ApiKeyMade(Out):
    """A new key. This is the only time it is shown."""

    id: int
    name: str
    key: str


@router.get("/workspace")
async def get_workspace(db: ApiDb, key: Keyed) -> WorkspaceOut:
    """The workspace this key opens, and who is in it."""
    row = await one(db, "SELECT id, slug, name, created_at FROM workspace WHERE id = %s", [key.workspace_id])
    members = await service.members(db, key.workspace_id)
    return WorkspaceOut(**row, key=key.key_id, members=[Member(**member) for member in members])


@router.get("/api-keys")
async def list_api_keys(db: ApiDb) -> ApiKeys:
    """Every key of the workspace, newest first, revoked ones too."""
    return ApiKeys(items=[ApiKeyOut(**row) for row in await service.api_keys(db)])


@router.post("/api-keys", status_code=201)
async def create_api_key(db: ApiDb, key: Keyed, new: ApiKeyIn) -> ApiKeyMade:
    """Make a key with all rights in this workspace."""
    number, secret = await service.create_api_key(db, key.workspace_id, new.name)
    return ApiKeyMade(id=number, name=new.name.strip(), key=secret)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(db: ApiDb, key_id: Id) -> None:
    """Make a key useless from now on; it stays in the list. Doing it again changes nothing."""
    await service.revoke_api_key(db, key_id)
