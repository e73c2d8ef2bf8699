"""Importing contacts: a file of any size in chunks, each committed with its progress.

Killed at any point, an import starts again from the beginning and comes to the same result: contacts are upserted, the
refused rows are noted anew. A chunk is locked in address order, so that imports beside each other cannot deadlock.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson
from psycopg import sql

from thurn.audience.addresses import clean
from thurn.audience.columns import LONGEST_VALUE, Columns, read_header
from thurn.audience.csvfile import CsvFile, NotCsv, Record, Refused
from thurn.db.connect import Connection, Row, connect
from thurn.db.fetch import maybe, one
from thurn.problems import Invalid, NotFound
from thurn.settings import Settings

_CHUNK_ROWS = 5_000
_CHUNK_BYTES = 4 * 1024 * 1024
_MOST_REFUSED = 100_000
_STAGE = """CREATE TEMP TABLE IF NOT EXISTS stage (row_number bigint, email text, key text, fields jsonb);
CREATE TEMP TABLE IF NOT EXISTS seen (key text PRIMARY KEY); TRUNCATE stage, seen"""

_SURROGATES = re.compile("[\ud800-\udfff]")


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


class _Cancelled(Exception):
    """Somebody stopped the import."""


@dataclass(slots=True)
class _Chunk:
    good: dict[str, tuple[int, str, bytes, tuple[str, ...]]] = field(default_factory=dict)  # by lower-case address
    bad: list[Refused] = field(default_factory=list)
    size: int = 0


def check_row(record: Record, columns: Columns) -> tuple[str, dict[str, str]]:
    """(address, fields) of a row; `Invalid` says why it is refused. Empty cells leave a contact as it is."""
    cells = record.cells
    expected = len(columns.fields)
    if len(cells) != expected and (len(cells) < expected or any(cell.strip() for cell in cells[expected:])):
        raise Invalid("row", f"The row has {_cells(len(cells))}, the header has {expected}.")
    address = clean(cells[columns.email])
    fields = {}
    for name, cell in zip(columns.fields, cells, strict=False):
        value = cell.strip()
        if not value or not name:
            continue
        if len(value) > LONGEST_VALUE:
            raise Invalid(name, f"“{name}” has {len(value):,} characters; at most {LONGEST_VALUE:,} are kept.")
        fields[name] = value
    return address, fields


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


async def run_import(
    settings: Settings, *, import_id: int, workspace: int, progress: Callable[[Row], None] | None = None
) -> Row:
    """Run the import to its end and return its row. One that is over is left alone, one that runs elsewhere waited for.

    Waited for: what runs elsewhere may be a killed process whose last statement the server is still at.
    """
    async with await connect(settings, "app", autocommit=True) as db:
        await db.execute("SELECT set_config('thurn.workspace', %s, false)", [str(workspace)])
        await db.execute("SELECT pg_advisory_lock(hashtext('import'), %s::int)", [import_id % 2**31])
        await _run(db, settings, import_id, workspace, progress or (lambda _: None))
        row = await maybe(db, "SELECT * FROM contact_import WHERE id = %s", [import_id])
    if row is None:
        raise NotFound("There is no such import.")
    return row


async def _run(
    db: Connection, settings: Settings, import_id: int, workspace: int, progress: Callable[[Row], None]
) -> None:
    async with db.transaction():
        row = await maybe(
            db,
            """UPDATE contact_import SET state = 'running', bytes_read = 0, rows_added = 0, rows_updated = 0,
               rows_refused = 0 WHERE id = %s AND state IN ('waiting', 'running') RETURNING *""",
            [import_id],
        )
        if row is None:
            return
        await db.execute("DELETE FROM contact_import_reject WHERE import_id = %s", [import_id])
    await db.execute(sql.SQL(_STAGE))
    path = Path(row["path"])
    state, error = "done", None
    try:
        with await asyncio.to_thread(CsvFile, path) as file:
            await _load(db, file, row, progress)
    except _Cancelled:
        state = "cancelled"
    except NotCsv as refused:
        state, error = "failed", str(refused)
    except OSError as missing:
        state, error = "failed", f"The file could not be read: {missing.strerror or missing}."
    await db.execute(
        """UPDATE contact_import SET state = %s, error = %s, finished_at = now() WHERE id = %s AND state = 'running'""",
        [state, error, import_id],
    )
    if path.is_relative_to(settings.state / "uploads"):  # not a file that somebody named on the command line
        await asyncio.to_thread(_forget, path)


async def _load(db: Connection, file: CsvFile, row: Row, progress: Callable[[Row], None]) -> None:
    records = file.records()
    columns = read_header(_header(next(records, None)))
    refused = rows = 0
    while chunk := await asyncio.to_thread(_next_chunk, records, columns):
        async with db.transaction():
            row = await _store(db, chunk, row, file.position)
        progress(row)
        rows += 1
        refused = row["rows_refused"]
        if refused > _MOST_REFUSED:
            raise NotCsv(
                f"More than {_MOST_REFUSED:,} rows were refused, so the rest was not read. See the first ones."
            )
    if not rows:
        raise NotCsv("The file has a header and no rows.")
    await db.execute("UPDATE contact_import SET bytes_read = bytes_total WHERE id = %s", [row["id"]])


def _header(first: Record | Refused | None) -> list[str]:
    if first is None:
        raise NotCsv("The file is empty.")
    if isinstance(first, Refused):
        raise NotCsv(f"The first line, which names the columns, cannot be read. {first.reason}")
    return first.cells


def _next_chunk(records: Iterator[Record | Refused], columns: Columns) -> _Chunk | None:
    """The next rows, checked; None at the end."""
    chunk = _Chunk()
    for record in islice(records, _CHUNK_ROWS):
        chunk.size += sum(map(len, record.lines)) + 1
        if isinstance(record, Refused):
            chunk.bad.append(record)
        else:
            _take(chunk, record, columns)
        if chunk.size > _CHUNK_BYTES:
            break
    return chunk if chunk.size else None


def _take(chunk: _Chunk, record: Record, columns: Columns) -> None:
    try:
        address, fields = check_row(record, columns)
    except Invalid as error:
        chunk.bad.append(Refused(record.number, error.message, record.lines))
        return
    key = address.lower()
    if key in chunk.good:
        chunk.bad.append(Refused(record.number, _duplicate(address), record.lines))
    else:
        chunk.good[key] = (record.number, address, orjson.dumps(fields), record.lines)


def _duplicate(address: str) -> str:
    return f"{address} is in the file already; the first row with it was taken."


async def _store(db: Connection, chunk: _Chunk, row: Row, position: int) -> Row:
    """Write one chunk and its progress; `_Cancelled` if somebody has stopped the import."""
    await db.execute("TRUNCATE stage")
    async with db.cursor() as cursor, cursor.copy("COPY stage (row_number, email, key, fields) FROM STDIN") as copy:
        for key, (number, address, fields, _) in chunk.good.items():
            await copy.write_row((number, address, key, fields.decode()))
    twice = await db.execute("DELETE FROM stage USING seen WHERE stage.key = seen.key RETURNING stage.key")
    for found in await twice.fetchall():
        number, address, _, lines = chunk.good[found["key"]]
        chunk.bad.append(Refused(number, _duplicate(address), lines))
    await db.execute("INSERT INTO seen SELECT key FROM stage")
    numbers = await one(
        db,
        # Who was made since this import was, it has made: also right when it starts again after a kill.
        """WITH stored AS (
             INSERT INTO contact (workspace_id, email, fields)
             SELECT %(workspace)s, email, fields FROM stage ORDER BY key
             ON CONFLICT (workspace_id, lower(email)) DO UPDATE
               SET fields = contact.fields || excluded.fields, updated_at = now()
             RETURNING id, created_at >= %(since)s AS added
           ), joined AS (
             INSERT INTO list_member (list_id, contact_id, workspace_id)
             SELECT %(list)s, id, %(workspace)s FROM stored WHERE %(list)s::int IS NOT NULL ON CONFLICT DO NOTHING
           )
           SELECT count(*) FILTER (WHERE added) AS added, count(*) FILTER (WHERE NOT added) AS updated FROM stored""",
        {"workspace": row["workspace_id"], "list": row["list_id"], "since": row["created_at"]},
    )
    await db.execute(  # PostgreSQL takes no COPY into a table with row-level security
        """INSERT INTO contact_import_reject (import_id, workspace_id, row_number, reason, raw)
           SELECT %s, %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[])""",
        [
            row["id"],
            row["workspace_id"],
            [bad.number for bad in chunk.bad],
            [bad.reason for bad in chunk.bad],
            [raw_text(bad.lines) for bad in chunk.bad],
        ],
    )
    updated = await maybe(
        db,
        """UPDATE contact_import SET bytes_read = %s, rows_added = rows_added + %s, rows_updated = rows_updated + %s,
           rows_refused = rows_refused + %s WHERE id = %s AND state = 'running' RETURNING *""",
        [position, numbers["added"], numbers["updated"], len(chunk.bad), row["id"]],
    )
    if updated is None:
        raise _Cancelled
    return updated


def raw_text(lines: tuple[str, ...]) -> str:
    """A row as it came, fit for the database: undecodable bytes and NUL as U+FFFD."""
    text = "".join(lines).rstrip("\r\n").replace("\0", "\ufffd")
    return _SURROGATES.sub("\ufffd", text)
