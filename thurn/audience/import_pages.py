"""Pages of imports: upload a file, watch it go in, see what was refused and why."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse, StreamingResponse

from thurn.audience import imports, service
from thurn.audience.people import count_people
from thurn.db.connect import Connection, Row
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer, in_workspace
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/contacts")

LIMIT = 25
LARGEST = 200 * 1024 * 1024
_BEGUN = {"waiting", "running"}
WORDS = {"waiting": "Waiting", "running": "Importing", "done": "Imported", "failed": "Failed", "cancelled": "Cancelled"}
Before = Annotated[int | None, Query(ge=1, le=2**62)]


@router.get("/imports")
async def past(request: Request, viewer: SignedIn, db: Db, before: Before = None) -> Response:
    """Imports, newest first."""
    found = await imports.import_page(db, before=before, limit=LIMIT + 1)
    shown = found[:LIMIT]
    return page(
        request,
        viewer,
        "audience/imports.html",
        imports=shown,
        counts=await count_people(db),
        words=WORDS,
        older=f"?before={shown[-1]['id']}" if len(found) > LIMIT else "",
        newer=f"/w/{viewer.workspace_slug}/contacts/imports" if before else "",
    )


@router.get("/import")
async def form(
    request: Request, viewer: SignedIn, db: Db, list_id: Annotated[str, Query(alias="list")] = ""
) -> Response:
    """The form for a file."""
    return await _form(request, viewer, db, {"list_id": list_id, "new_list": ""}, {})


@router.post("/import")
async def upload(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    file: Annotated[UploadFile | str | None, File()] = None,
    list_id: Annotated[str, Form()] = "",
    new_list: Annotated[str, Form()] = "",
) -> Response:
    """Keep the file, start the import, show how it goes."""
    values, errors = {"list_id": list_id, "new_list": new_list}, {}
    if file is None or isinstance(file, str) or not file.filename:
        errors["file"] = "Choose a file first."
    elif not file.size:
        errors["file"] = f"The file {file.filename} is empty."
    elif file.size > LARGEST:
        errors["file"] = "The file is larger than 200 MB. Split it and import the parts one after the other."
    try:
        target = await _list(db, viewer, list_id, new_list)
    except (Invalid, NotFound) as refused:
        errors["new_list" if isinstance(refused, Invalid) else "list_id"] = str(refused)
    if errors or file is None or isinstance(file, str):
        return await _form(request, viewer, db, values, errors, 422)
    number = await _start(db, viewer, settings, target, file)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/import/{number}", 303)


async def _list(db: Connection, viewer: Viewer, list_id: str, new_list: str) -> int:
    """The list that was chosen or named; Invalid or NotFound."""
    if list_id:
        if not (list_id.isascii() and list_id.isdigit() and len(list_id) < 10):
            raise NotFound("That list is gone. Choose another one.")
        return int((await service.get_list(db, int(list_id)))["id"])
    if not new_list.strip():
        raise Invalid("new_list", "Choose a list, or give a new one a name.")
    return await service.ensure_list(db, viewer.workspace_id, new_list)


async def _start(db: Connection, viewer: Viewer, settings: Settings, target: int, file: UploadFile) -> int:
    """Keep the upload below the state directory and start its import."""
    path = imports.upload_path(settings)

    def keep(source: BinaryIO) -> None:
        with path.open("xb") as kept:
            shutil.copyfileobj(source, kept, 1024 * 1024)

    try:
        await asyncio.to_thread(keep, file.file)
        return await imports.start_import(
            db, viewer.workspace_id, list_id=target, filename=file.filename or "contacts.csv", path=path
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _form(
    request: Request, viewer: Viewer, db: Connection, values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    lists = await service.lists(db)
    return page(
        request,
        viewer,
        "audience/import_form.html",
        status,
        lists=lists,
        choices=[(row["id"], row["name"]) for row in lists],
        values=values,
        errors=errors,
    )


@router.get("/import/{number}")
async def watch(request: Request, viewer: SignedIn, db: Db, number: int) -> Response:
    """How an import goes, or how it went."""
    row = await imports.get_import(db, number)
    return page(
        request,
        viewer,
        "audience/import.html",
        block="progress",
        row=row,
        word=WORDS[row["state"]],
        running=row["state"] in _BEGUN,
        pace=pace(row),
        refused=await imports.rejects(db, number, limit=LIMIT) if row["rows_refused"] else [],
    )


def pace(row: Row) -> dict[str, Any]:
    """Rows so far, rows a second and seconds left, as far as can be told."""
    rows = row["rows_added"] + row["rows_updated"] + row["rows_refused"]
    took = ((row["finished_at"] or datetime.now(UTC)) - row["created_at"]).total_seconds()
    rate = rows / took if rows and took else None
    left = None
    if took and row["bytes_read"] and row["bytes_total"] > row["bytes_read"]:
        left = took * (row["bytes_total"] - row["bytes_read"]) / row["bytes_read"]
    return {"rows": rows, "seconds": took, "rate": rate, "left": left}


@router.post("/import/{number}/cancel")
async def cancel(viewer: SignedIn, db: Db, number: int) -> Response:
    """Stop an import; one that has just ended is simply shown."""
    try:
        await imports.cancel_import(db, number)
    except Conflict:
        pass
    return RedirectResponse(f"/w/{viewer.workspace_slug}/contacts/import/{number}", 303)


@router.get("/import/{number}/refused.csv")
async def refused(request: Request, viewer: SignedIn, db: Db, number: int) -> Response:
    """The refused rows with their reasons, as a file."""
    await imports.get_import(db, number)

    async def lines() -> AsyncIterator[bytes]:
        # A transaction of its own: the request's has ended when the file goes out.
        async with in_workspace(request.app.state.pool, viewer.workspace_id) as own:
            async for part in imports.rejects_csv(own, number):
                yield part

    headers = {"Content-Disposition": f'attachment; filename="refused-{number}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)
