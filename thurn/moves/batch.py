"""Many moves at once, from a CSV file: a line for each mailbox. The file holds passwords and is not kept."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thurn.audience.csvfile import CsvFile, NotCsv, Record, Refused
from thurn.db.connect import Connection
from thurn.moves import hosts
from thurn.moves.service import Source, start
from thurn.problems import Problem
from thurn.settings import Settings

MOST = 2_000  # rows
LARGEST = 1024 * 1024  # bytes
_COLUMNS = {
    "address": "address", "mailbox": "address", "email": "address", "to": "address",
    "host": "host", "server": "host", "imap": "host",
    "user": "login", "login": "login", "username": "login", "user name": "login",
    "password": "password", "port": "port", "fingerprint": "fingerprint",
}  # fmt: skip
_NEEDED = ("address", "host", "login", "password")


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a line."""

    line: int
    address: str
    move_id: int | None
    problem: str = ""


async def start_many(db: Connection, workspace: int, *, data: bytes, settings: Settings) -> list[Done]:
    """Start a move for each line; a line that cannot be taken stops no other. `NotCsv` for the file as a whole."""
    done = []
    for line, cells, problem in _lines(data):
        address = cells.get("address", "")
        if problem:
            done.append(Done(line, address, None, problem))
            continue
        try:
            port = cells.get("port", "").strip()
            source = Source(
                cells["host"], cells["login"], cells["password"], _port(port), cells.get("fingerprint", "")
            )  # fmt: skip
            async with db.transaction():
                number = await start(db, workspace, address=address, source=source, settings=settings)
            done.append(Done(line, address, number))
        except Problem as refused:
            done.append(Done(line, address, None, str(refused)))
    return done


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0 if text else hosts.IMAPS


def _lines(data: bytes) -> list[tuple[int, dict[str, str], str]]:
    if len(data) > LARGEST:
        raise NotCsv("The file is larger than 1 MB. Take it in several parts.")
    with tempfile.NamedTemporaryFile(prefix="thurn-moves-") as kept:
        kept.write(data)
        kept.flush()
        with CsvFile(Path(kept.name)) as file:
            rows = list(_up_to(file))
    header = rows[0] if rows else None
    if header is None or isinstance(header, Refused):
        raise NotCsv("The first line must name the columns: address, host, user, password.")
    names = [_COLUMNS.get(cell.strip().lower(), "") for cell in header.cells]
    if missing := [name for name in _NEEDED if name not in names]:
        shown = " and ".join("user" if name == "login" else name for name in missing)
        raise NotCsv(f"The first line must name the columns address, host, user and password. Missing: {shown}.")
    found = []
    for row in rows[1:]:
        if isinstance(row, Refused):
            found.append((row.number, dict[str, str](), row.reason))
            continue
        cells = {name: cell for name, cell in zip(names, row.cells, strict=False) if name}
        # A password may begin or end with a blank; the other cells may not.
        tidy = {name: cell if name == "password" else cell.strip() for name, cell in cells.items()}
        empty = "" if all(tidy.get(name) for name in _NEEDED) else "Something is missing in this line."
        found.append((row.number, tidy, empty))
    return found


def _up_to(file: CsvFile) -> Iterator[Record | Refused]:
    for count, row in enumerate(file.records()):
        if count > MOST:
            raise NotCsv(f"There are more than {MOST} lines. Take them in several parts.")
        yield row
