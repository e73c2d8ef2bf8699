"""JSON API of the suppression list."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field

from thurn.audience import suppression, suppression_file
from thurn.audience.addresses import clean
from thurn.audience.barring import Reason
from thurn.audience.imports import upload_path
from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.problems import Invalid
from thurn.settings import Settings
from thurn.web.edge import ApiDb, AppSettings, Key, Keyed, in_workspace
from thurn.web.schemas import HOUSE_ONLY, BigId, Cursor, In, Limit, Out, Text, api_router, number_of

router = api_router("suppression")
router.responses |= HOUSE_ONLY
LARGEST = 32 * 1024 * 1024


class SuppressionOut(Out):
    """An address that gets nothing, and why."""

    id: int
    address: str
    everywhere: bool = Field(description="Bars every workspace of the installation.")
    reason: Reason
    category: str = Field(description="Of the bounce, as `thurn feedback explain` says it; empty for other reasons.")
    evidence: str = Field(description="What the server said, the report, or the note of whoever put it there.")
    source: str
    campaign_id: int | None
    campaign: str | None
    report_id: int | None = Field(description="The mail that said so: GET /feedback/{report_id}.")
    created_at: datetime
    expires_at: datetime | None = Field(description="When it ends by itself; null: never.")


class Suppressions(Out):
    """A page of them, newest first. `total` is null when there are more than 10,000."""

    items: list[SuppressionOut]
    next: str | None
    total: int | None


class SuppressionIn(In):
    """An address to suppress."""

    address: Annotated[Text, Field(min_length=3, max_length=1000, examples=["theresa@post.example"])]
    reason: Reason = "manual"
    note: Annotated[Text, Field(max_length=1000)] = ""
    days: Annotated[int | None, Field(ge=1, le=3650, description="For how long; null: as the reason says.")] = None
    everywhere: bool = Field(False, description="For every workspace; needs a key of the workspace “main”.")


class ChangeOut(Out):
    """Something that was done with an address."""

    at: datetime
    action: Literal["added", "removed", "imported"]
    reason: str
    evidence: str
    actor: str
    note: str


class Changes(Out):
    """What was done, newest first."""

    items: list[ChangeOut]


class RefusedRow(Out):
    """A row that was not taken."""

    line: int
    reason: str


class LoadedOut(Out):
    """What became of a file."""

    added: int
    known: int = Field(description="Suppressed already, for a reason that bars as much.")
    refused_count: int
    refused: list[RefusedRow] = Field(description="The first 200.")


async def scope(
    db: ApiDb,
    key: Keyed,
    everywhere: Annotated[
        bool, Query(description="The list of the whole installation (workspace “main” only).")
    ] = False,
) -> bool:
    """Whether the installation's list is meant; 403 for a key that may not."""
    if everywhere:
        await _house(db, key)
    return everywhere


async def _house(db: Connection, key: Key) -> None:
    if not await maybe(db, "SELECT 1 FROM workspace WHERE id = %s AND slug = 'main'", [key.workspace_id]):
        raise HTTPException(403, "That list belongs to the installation. Use a key of the workspace “main”.")


Everywhere = Annotated[bool, Depends(scope)]
_MADE: dict[int | str, dict[str, Any]] = {201: {"model": SuppressionOut, "description": "It was not there before."}}


def _out(row: dict[str, Any]) -> SuppressionOut:
    return SuppressionOut(**row, everywhere=row["workspace_id"] is None)


@router.get("/suppression")
async def list_suppressed(
    db: ApiDb,
    everywhere: Everywhere,
    limit: Limit = 25,
    cursor: Cursor = None,
    query: Annotated[Text, Query(max_length=320, description="Part of an address.")] = "",
    reason: Annotated[Reason | None, Query()] = None,
) -> Suppressions:
    """Suppressed addresses, newest first."""
    found = await suppression.suppression_page(
        db, everywhere=everywhere, before=number_of(cursor), limit=limit, query=query, reason=reason or ""
    )
    following = None if found.older is None else str(found.older)
    return Suppressions(items=[_out(row) for row in found.items], next=following, total=found.total)


@router.post("/suppression", responses=_MADE)
async def add_suppressed(db: ApiDb, key: Keyed, response: Response, new: SuppressionIn) -> SuppressionOut:
    """Suppress an address (201). One that is suppressed for as much stays as it is (200)."""
    if new.everywhere:
        await _house(db, key)
    added = await suppression.add(
        db, None if new.everywhere else key.workspace_id, new.address, actor=f"API key {key.key_id}",
        reason=new.reason, note=new.note, days=new.days, source="api",
    )  # fmt: skip
    response.status_code = 201 if added else 200
    row = await suppression.find(db, clean(new.address), everywhere=new.everywhere)
    if row is None:
        raise LookupError(new.address)
    return _out(row)


_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/csv": {"schema": {"type": "string"}}},
        "description": "email, reason, category, since, until, evidence",
    }
}


@router.get("/suppression/export.csv", response_class=StreamingResponse, responses=_CSV)
async def export_suppressed(request: Request, db: ApiDb, key: Keyed, everywhere: Everywhere) -> StreamingResponse:
    """The whole list as a CSV file, which another system, or the import here, takes."""
    del db

    async def stream() -> AsyncIterator[bytes]:
        async with in_workspace(request.app.state.pool, key.workspace_id) as own:
            async for piece in suppression_file.export(own, everywhere=everywhere):
                yield piece

    disposition = 'attachment; filename="suppression.csv"'
    return StreamingResponse(stream(), media_type="text/csv", headers={"Content-Disposition": disposition})


@router.post("/suppression/import")
async def import_suppressed(
    db: ApiDb,
    key: Keyed,
    settings: AppSettings,
    everywhere: Everywhere,
    file: Annotated[
        UploadFile, File(description="CSV: addresses alone, or columns `email` and, if you like, `reason`.")
    ],
    reason: Annotated[Reason, Form(description="Where the file names none.")] = "manual",
) -> LoadedOut:
    """Suppress every address of a file of at most 32 MB."""
    return LoadedOut.model_validate(
        await load_upload(
            db, settings, None if everywhere else key.workspace_id, file, actor=f"API key {key.key_id}", reason=reason
        ),
        from_attributes=True,
    )


async def load_upload(
    db: Connection, settings: Settings, workspace: int | None, file: UploadFile, *, actor: str, reason: Reason
) -> dict[str, Any]:
    """Load an uploaded file; `Invalid` when it is too large, `NotCsv` when it is none."""
    if (file.size or 0) > LARGEST:
        raise Invalid("file", "The file is larger than 32 MB. Split it, or use `thurn suppression import`.")
    path = upload_path(settings)

    def keep() -> None:
        with path.open("xb") as kept:
            shutil.copyfileobj(file.file, kept)

    try:
        await asyncio.to_thread(keep)
        loaded = await suppression_file.load(
            db, workspace, path, name=file.filename or "a file", actor=actor, reason=reason
        )
    finally:
        path.unlink(missing_ok=True)
    return {
        "added": loaded.added, "known": loaded.known, "refused_count": loaded.refused_count,
        "refused": [{"line": line, "reason": why} for line, why in loaded.refused],
    }  # fmt: skip


@router.get("/suppression/{suppression_id}")
async def get_suppressed(db: ApiDb, everywhere: Everywhere, suppression_id: BigId) -> SuppressionOut:
    """One entry."""
    return _out(await suppression.get(db, suppression_id, everywhere=everywhere))


@router.get("/suppression/{suppression_id}/history")
async def list_suppression_changes(db: ApiDb, everywhere: Everywhere, suppression_id: BigId) -> Changes:
    """What was done with the address, newest first, with who did it."""
    row = await suppression.get(db, suppression_id, everywhere=everywhere)
    found = await suppression.history(db, row["address"], everywhere=everywhere)
    return Changes(items=[ChangeOut(**each) for each in found])


@router.delete("/suppression/{suppression_id}", status_code=204)
async def remove_suppressed(
    db: ApiDb,
    key: Keyed,
    everywhere: Everywhere,
    suppression_id: BigId,
    note: Annotated[Text, Query(max_length=1000, description="Why, for the history.")] = "",
) -> None:
    """Take an entry back: mail goes to the address again, until there is a new reason."""
    await suppression.remove(db, suppression_id, actor=f"API key {key.key_id}", note=note, everywhere=everywhere)
