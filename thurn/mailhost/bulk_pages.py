"""Pages for many mailboxes at once: a file, what would become of its rows, and the passwords as a file, once."""

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse

from thurn.audience.csvfile import NotCsv
from thurn.db.connect import Pool, in_workspace
from thurn.mailhost import bulk
from thurn.problems import NotFound
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn
from thurn.web.render import page

router = APIRouter()
LARGEST = 4 * 1024**2
_KEPT = 3600.0  # seconds that a file waits for its confirmation
_AT_A_TIME = 10  # mailboxes in one transaction
_SHOWN = 50


@router.get("/import")
async def form(request: Request, viewer: SignedIn) -> Response:
    """Which file."""
    return page(request, viewer, "mailhost/import.html", error="")


@router.post("/import")
async def preview(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, file: UploadFile) -> Response:
    """What would become of each row. The file waits, for an hour at most, until it is confirmed."""
    _sweep(settings)
    token = secrets.token_hex(16)
    path = _path(settings, viewer.workspace_id, token)
    content = await file.read(LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise NotCsv(f"This file is too large: {LARGEST // 1024**2} MB fit.")
        path.write_bytes(content)
        path.chmod(0o600)
        wanted = await bulk.look_through(db, bulk.read(path))
    except NotCsv as refused:
        path.unlink(missing_ok=True)
        return page(request, viewer, "mailhost/import.html", 422, error=str(refused))
    wrong = [row for row in wanted if row.problem]
    right = [row for row in wanted if not row.problem]
    if not right:
        path.unlink()
    return page(
        request,
        viewer,
        "mailhost/import_check.html",
        token=token,
        right=right[:_SHOWN],
        wrong=wrong[: 4 * _SHOWN],
        n_right=len(right),
        n_wrong=len(wrong),
        seconds=max(1, len(right) // 20),
        given=sum(1 for row in right if row.password),
    )


@router.post("/import/make")
async def make(
    request: Request, viewer: SignedIn, settings: AppSettings, token: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Make them while the answer, a CSV file with the passwords, is on its way."""
    if len(token) != 32 or not set(token) <= set("0123456789abcdef"):
        raise NotFound("This file is not here any more. Choose it again.")
    path = _path(settings, viewer.workspace_id, token)
    try:
        wanted = bulk.read(path)
    except (FileNotFoundError, NotCsv) as gone:
        raise NotFound("This file is not here any more. Choose it again.") from gone
    path.unlink(missing_ok=True)
    return StreamingResponse(
        _rows(request.app.state.pool, viewer.workspace_id, wanted),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="mailboxes.csv"', "Cache-Control": "no-store"},
    )


async def _rows(pool: Pool, workspace: int, wanted: list[bulk.Wanted]) -> AsyncIterator[str]:
    """A line for each row, sent when its mailbox is committed: what is in the file is there."""
    yield bulk.line("address", "password", "problem")
    for start in range(0, len(wanted), _AT_A_TIME):
        async with in_workspace(pool, workspace) as db:
            part = await bulk.look_through(db, wanted[start : start + _AT_A_TIME])
            made = [each async for each in bulk.make(db, workspace, part)]
        for each in made:
            yield bulk.line(each.address, each.password, each.problem)


def _path(settings: Settings, workspace: int, token: str) -> Path:
    return settings.state / "uploads" / f"mailboxes-{workspace}-{token}.csv"


def _sweep(settings: Settings) -> None:
    """Files that nobody has confirmed: they may hold passwords."""
    for path in (settings.state / "uploads").glob("mailboxes-*.csv"):
        try:
            if time.time() - path.stat().st_mtime > _KEPT:
                path.unlink()
        except FileNotFoundError:  # confirmed meanwhile
            pass
