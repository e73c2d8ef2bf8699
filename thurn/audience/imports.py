"""Imports as people handle them: start, watch, stop, and fetch the rows that were refused."""

import csv
import io
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.jobs.app import defer
from thurn.problems import Conflict, NotFound
from thurn.settings import Settings


def upload_path(settings: Settings) -> Path:
    """A new place for an uploaded file, below `<state>/uploads`; the import deletes it when it has ended."""
    folder = settings.state / "uploads"
    folder.mkdir(mode=0o750, exist_ok=True)
    return folder / f"{secrets.token_hex(16)}.csv"


async def create_import(db: Connection, workspace: int, *, list_id: int | None, filename: str, path: Path) -> int:
    """Note an import of the file at `path` without starting it; `NotFound` for an unknown list."""
    if list_id is not None and not await maybe(db, "SELECT 1 FROM list WHERE id = %s", [list_id]):
        raise NotFound("There is no such list.")
    row = await one(
        db,
        """INSERT INTO contact_import (workspace_id, list_id, filename, path, bytes_total)
           VALUES (%s, %s, %s, %s, %s) RETURNING id""",
        [workspace, list_id, filename.replace("\0", "")[-255:], str(path), _size(path)],
    )
    return int(row["id"])


def _size(path: Path) -> int:
    return path.stat().st_size


async def start_import(db: Connection, workspace: int, *, list_id: int | None, filename: str, path: Path) -> int:
    """Import the file at `path` in the background; returns the import's id. It starts when this transaction commits."""
    number = await create_import(db, workspace, list_id=list_id, filename=filename, path=path)
    await defer(db, "thurn:import_contacts", import_id=number, workspace=workspace)
    return number


async def get_import(db: Connection, import_id: int) -> Row:
    """A row of contact_import with `list` (its name); `NotFound`."""
    row = await maybe(
        db,
        "SELECT i.*, l.name AS list FROM contact_import i LEFT JOIN list l ON l.id = i.list_id WHERE i.id = %s",
        [import_id],
    )
    if row is None:
        raise NotFound("There is no such import.")
    return row


async def import_page(db: Connection, *, before: int | None = None, limit: int = 25) -> list[Row]:
    """Imports newest first, as in `get_import`; those with an id below `before`."""
    return await rows(
        db,
        """SELECT i.*, l.name AS list FROM contact_import i LEFT JOIN list l ON l.id = i.list_id
           WHERE %(before)s::bigint IS NULL OR i.id < %(before)s ORDER BY i.id DESC LIMIT %(limit)s""",
        {"before": before, "limit": max(1, min(limit, 200))},
    )


async def cancel_import(db: Connection, import_id: int) -> None:
    """Stop an import; what is in already stays. Again does nothing; `Conflict` when it had ended by itself."""
    done = await db.execute(
        """UPDATE contact_import SET state = 'cancelled', finished_at = now()
           WHERE id = %s AND state IN ('waiting', 'running')""",
        [import_id],
    )
    if not done.rowcount and (await get_import(db, import_id))["state"] != "cancelled":
        raise Conflict("The import has ended already.")


async def rejects(db: Connection, import_id: int, *, after: int = 0, limit: int = 25) -> list[Row]:
    """Refused rows in the order of the file: row_number, reason, raw."""
    return await rows(
        db,
        """SELECT row_number, reason, raw FROM contact_import_reject WHERE import_id = %s AND row_number > %s
           ORDER BY row_number LIMIT %s""",
        [import_id, after, max(1, min(limit, 1000))],
    )


async def rejects_csv(db: Connection, import_id: int) -> AsyncIterator[bytes]:
    """The refused rows as a CSV file (UTF-8 with a mark, so that spreadsheets read it), piece by piece."""
    yield "\ufeff".encode() + _csv_rows([("row", "reason", "original")])
    after = 0
    while found := await rejects(db, import_id, after=after, limit=500):
        yield _csv_rows([(str(row["row_number"]), row["reason"], harmless(row["raw"])) for row in found])
        after = found[-1]["row_number"]


def _csv_rows(values: list[tuple[str, str, str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(values)
    return out.getvalue().encode()


def harmless(text: str) -> str:
    """A spreadsheet would run a cell that starts like a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
