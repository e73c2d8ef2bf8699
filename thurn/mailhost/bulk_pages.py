"""Pages for many mailboxes at once: a file, what would become of its rows, how they are made, and the passwords."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response, UploadFile
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse, StreamingResponse

from thurn.audience.csvfile import NotCsv
from thurn.db.connect import Row
from thurn.mailhost import box_import, bulk
from thurn.problems import Conflict
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn, in_workspace
from thurn.web.render import page

router = APIRouter(prefix="/import")
LARGEST = 4 * 1024**2
_SHOWN = 50
_Number = Annotated[int, InPath(ge=1, le=2**63 - 1)]


@router.get("")
async def form(request: Request, viewer: SignedIn, db: Db) -> Response:
    """Which file, and what became of earlier ones."""
    return page(request, viewer, "mailhost/import.html", error="", imports=await box_import.latest(db))


@router.post("")
async def upload(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, file: UploadFile) -> Response:
    """Look through a file."""
    content = await file.read(LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise NotCsv(f"This file is too large: {LARGEST // 1024**2} MB fit.")
        wanted = await bulk.look_through(db, _read(settings, content))
    except NotCsv as refused:
        earlier = await box_import.latest(db)
        return page(request, viewer, "mailhost/import.html", 422, error=str(refused), imports=earlier)
    number = await box_import.create(
        db, viewer.workspace_id, settings, filename=file.filename or "mailboxes.csv", wanted=wanted
    )
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/import/{number}", 303)


@router.get("/{number}")
async def one(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, number: _Number) -> Response:
    """What would become of each row, how it goes, or what has become of it."""
    row = await box_import.get(db, number)
    return page(
        request,
        viewer,
        "mailhost/import_check.html" if row["state"] == "checked" else "mailhost/import_made.html",
        block=None if row["state"] == "checked" else "progress",
        row=row,
        left=_seconds_left(row),
        running=row["state"] in ("waiting", "running"),
        right=await box_import.page(db, settings, number, limit=_SHOWN, problems=False),
        wrong=await box_import.page(db, settings, number, limit=4 * _SHOWN, problems=True),
        until=row["finished_at"] + box_import.KEPT if row["finished_at"] else None,
    )


@router.post("/{number}/make")
async def make(viewer: SignedIn, db: Db, number: _Number) -> Response:
    """Begin."""
    try:
        await box_import.start(db, viewer.workspace_id, number)
    except Conflict:  # pressed twice: it is shown how it goes
        pass
    return _to(viewer.workspace_slug, number)


@router.post("/{number}/cancel")
async def cancel(viewer: SignedIn, db: Db, number: _Number) -> Response:
    """Stop; one that has just ended is simply shown."""
    try:
        await box_import.cancel(db, number)
    except Conflict:
        pass
    return _to(viewer.workspace_slug, number)


@router.post("/{number}/forget")
async def forget(viewer: SignedIn, db: Db, number: _Number) -> Response:
    """Forget the passwords that were made."""
    await box_import.forget(db, number)
    return _to(viewer.workspace_slug, number)


@router.post("/{number}/mailboxes.csv")
async def fetch(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, number: _Number) -> Response:
    """What became of each row, with the passwords: by POST, so that nothing on the way fetches it by itself."""
    await box_import.get(db, number)

    async def lines() -> AsyncIterator[str]:
        # A transaction of its own: the request's has ended when the file goes out.
        async with in_workspace(request.app.state.pool, viewer.workspace_id) as own:
            async for part in box_import.as_csv(own, settings, number):
                yield part

    headers = {"Content-Disposition": f'attachment; filename="mailboxes-{number}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _to(workspace: str, number: int) -> Response:
    return RedirectResponse(f"/w/{workspace}/mailboxes/import/{number}", 303)


def _seconds_left(row: Row) -> float | None:
    """At the rate so far; before it began, by what a password costs."""
    if row["state"] == "running" and row["made"] and row["started_at"]:
        return float((datetime.now(UTC) - row["started_at"]).total_seconds() / row["made"] * row["left_over"])
    return float(max(1, row["left_over"] // 10))


def _read(settings: Settings, content: bytes) -> list[bulk.Wanted]:
    """The rows; the file, which may hold passwords, does not stay on disk."""
    folder = settings.state / "uploads"
    folder.mkdir(mode=0o750, exist_ok=True)
    path = Path(folder / f"mailboxes-{secrets.token_hex(16)}.csv")
    try:
        path.touch(mode=0o600)
        path.write_bytes(content)
        return bulk.read(path)
    finally:
        path.unlink(missing_ok=True)
