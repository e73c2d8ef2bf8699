"""JSON API of imports."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from fastapi.responses import StreamingResponse

from thurn.audience import imports
from thurn.audience.schemas import ImportOut, Imports, Reject, Rejects
from thurn.web.edge import ApiDb, AppSettings, Keyed, in_workspace
from thurn.web.schemas import BigId, Cursor, Limit, api_router, number_of

router = api_router("imports")
ListId = Annotated[int | None, Form(ge=1, le=2**31 - 1, description="The list to add the contacts to.")]
Upload = Annotated[UploadFile, File(description="A CSV file whose first line names the columns, one of them `email`.")]


@router.get("/imports")
async def list_imports(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Imports:
    """Imports, newest first."""
    found = await imports.import_page(db, before=number_of(cursor), limit=limit)
    return Imports(
        items=[ImportOut(**row) for row in found], next=str(found[-1]["id"]) if len(found) == limit else None
    )


@router.post("/imports", status_code=202)
async def start_import(db: ApiDb, key: Keyed, settings: AppSettings, file: Upload, list_id: ListId = None) -> ImportOut:
    """Upload a CSV file; it is imported in the background. Watch it with `GET /imports/{id}`."""
    path = await asyncio.to_thread(imports.upload_path, settings)
    try:
        await asyncio.to_thread(_save, file, path)
        name = file.filename or "upload.csv"
        number = await imports.start_import(db, key.workspace_id, list_id=list_id, filename=name, path=path)
        return ImportOut(**await imports.get_import(db, number))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _save(file: UploadFile, path: Path) -> None:
    with path.open("xb") as out:
        shutil.copyfileobj(file.file, out)


@router.get("/imports/{import_id}")
async def get_import(db: ApiDb, import_id: BigId) -> ImportOut:
    """How far an import is."""
    return ImportOut(**await imports.get_import(db, import_id))


@router.post("/imports/{import_id}/cancel")
async def cancel_import(db: ApiDb, import_id: BigId) -> ImportOut:
    """Stop an import. What is in already stays; doing it again changes nothing."""
    await imports.cancel_import(db, import_id)
    return ImportOut(**await imports.get_import(db, import_id))


@router.get("/imports/{import_id}/rejects")
async def list_rejects(db: ApiDb, import_id: BigId, limit: Limit = 25, cursor: Cursor = None) -> Rejects:
    """The rows that were refused, in the order of the file."""
    await imports.get_import(db, import_id)
    found = await imports.rejects(db, import_id, after=number_of(cursor) or 0, limit=limit)
    following = str(found[-1]["row_number"]) if len(found) == limit else None
    return Rejects(items=[Reject(**row) for row in found], next=following)


_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "row, reason, original"}
}


@router.get("/imports/{import_id}/rejects.csv", response_class=StreamingResponse, responses=_CSV)
async def download_rejects(request: Request, db: ApiDb, key: Keyed, import_id: BigId) -> StreamingResponse:
    """The same as a CSV file for a spreadsheet."""
    await imports.get_import(db, import_id)

    async def stream() -> AsyncIterator[bytes]:
        async with in_workspace(request.app.state.pool, key.workspace_id) as own:
            async for piece in imports.rejects_csv(own, import_id):
                yield piece

    disposition = f'attachment; filename="import-{import_id}-refused.csv"'
    return StreamingResponse(stream(), media_type="text/csv", headers={"Content-Disposition": disposition})
