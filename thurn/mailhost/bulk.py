"""Many mailboxes from a CSV file: read, looked through, made. A row is made as a whole or not at all.

Columns by name, in any order: `address` (or `email`), and if wanted `name`, `password`, `quota` in GB. Without a header
the first column is the address, the second the name. Passwords made here go into the answer and nowhere else.
"""

import csv
import io
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thurn.audience.csvfile import CsvFile, NotCsv, Refused
from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.mailhost import mailboxes, passwords
from thurn.mailhost.names import split_address
from thurn.problems import Invalid, Problem

MOST = 5000  # rows of one file
_COLUMNS = {
    "address": ("address", "email", "e-mail", "mail", "mailbox", "user", "username", "adresse"),
    "name": ("name", "full name", "display name", "displayname"),
    "password": ("password", "passwort"),
    "quota": ("quota", "quota gb", "size", "gb"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row: the line it stands on, what it asks for, and why it cannot be had, if so."""

    line: int
    address: str
    name: str = ""
    password: str | None = None
    quota_bytes: int = 5 * mailboxes.GIB
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a row. `password` only if it was made here."""

    line: int
    address: str
    password: str
    problem: str


def read(path: Path) -> list[Wanted]:
    """Every row of a file, each looked at by itself. `NotCsv` for a file that cannot be read at all."""
    found: list[Wanted] = []
    seen: dict[str, int] = {}
    places: dict[str, int] | None = None
    with CsvFile(path) as file:
        for record in file.records():
            if isinstance(record, Refused):
                found.append(Wanted(record.number, "", problem=record.reason))
            elif places is None and (header := _header(record.cells)):
                places = header
                continue
            else:
                places = places or {"address": 0, "name": 1}
                found.append(_row(record.number, record.cells, places, seen))
            if len(found) > MOST:
                raise NotCsv(f"The file has more than {MOST:,} rows. Divide it.")
    if not found:
        raise NotCsv("The file has no rows. Each mailbox needs a row with its address.")
    return found


def _header(cells: Sequence[str]) -> dict[str, int] | None:
    """Where the columns are; None when the first row is a mailbox already."""
    if any("@" in cell for cell in cells):
        return None
    names = [cell.strip().lower() for cell in cells]
    places = {
        column: next(i for i, name in enumerate(names) if name in known)
        for column, known in _COLUMNS.items()
        if any(name in known for name in names)
    }
    if "address" not in places:
        raise NotCsv(
            "No column is called “address”. Name the columns in the first row: address, name, password, quota."
        )
    return places


def _row(line: int, cells: Sequence[str], places: dict[str, int], seen: dict[str, int]) -> Wanted:
    def cell(column: str) -> str:
        place = places.get(column, len(cells))
        return cells[place].strip() if place < len(cells) else ""

    address, name = cell("address"), cell("name")
    try:
        quota = _bytes(cell("quota"))
    except Invalid as error:
        return Wanted(line, address[:320], name[: mailboxes.LONGEST_NAME], problem=error.message)
    return _checked(line, address, name, cell("password") or None, quota, seen)


def _checked(line: int, address: str, name: str, password: str | None, quota: int, seen: dict[str, int]) -> Wanted:
    try:
        address = "@".join(split_address(address))
        if address in seen:
            raise Invalid("address", f"This address is on line {seen[address]} already.")
        seen[address] = line
        if password is not None:
            passwords.check(password, address)
        if len(name) > mailboxes.LONGEST_NAME:
            raise Invalid("name", f"This name is too long: {mailboxes.LONGEST_NAME} characters fit.")
        mailboxes.check_quota(quota)
    except Invalid as error:
        return Wanted(line, address[:320], name[: mailboxes.LONGEST_NAME], problem=error.message)
    return Wanted(line, address, name, password, quota)


def _bytes(text: str) -> int:
    if not text:
        return 5 * mailboxes.GIB
    try:
        number = float(text.lower().removesuffix("gb").strip().replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not 0 < number < 10**6:
        raise Invalid("quota", "Give the size in GB, for example 5.")
    return int(number * mailboxes.GIB)


def listed(mailboxes_: Sequence[tuple[str, str, str | None, int]]) -> list[Wanted]:
    """The same of a list that a program gave: address, name, password, quota in octets."""
    seen: dict[str, int] = {}
    return [_checked(line, *each, seen) for line, each in enumerate(mailboxes_, 1)]


async def look_through(db: Connection, wanted: Sequence[Wanted]) -> list[Wanted]:
    """The rows, with what the workspace says against them: a domain that is not ours, an address that is taken."""
    addresses = [row.address for row in wanted]
    domains = await rows(db, "SELECT name, alias_of FROM domain")
    ours = {row["name"] for row in domains if row["alias_of"] is None}
    taken = {
        row["address"]
        for row in await rows(
            db,
            """SELECT address FROM mailbox WHERE address = ANY(%(all)s)
               UNION SELECT address FROM alias WHERE address = ANY(%(all)s)""",
            {"all": [each for each in addresses if "\0" not in each]},
        )
    }

    def looked(row: Wanted) -> Wanted:
        if row.problem:
            return row
        domain = row.address.rpartition("@")[2]
        problem = ""
        if domain not in ours:
            problem = f"{domain} is not one of your domains, or another name for one."
        elif row.address in taken:
            problem = "There is a mailbox or an alias of this name already."
        return Wanted(row.line, row.address, row.name, row.password, row.quota_bytes, problem)

    return [looked(row) for row in wanted]


async def make(db: Connection, workspace: int, wanted: Sequence[Wanted]) -> AsyncIterator[Made]:
    """Make them one after the other, each with a savepoint of its own. Needs a transaction."""
    for row in wanted:
        if row.problem:
            yield Made(row.line, row.address, "", row.problem)
            continue
        try:
            async with db.transaction():
                secret = await mailboxes.add_mailbox(
                    db,
                    workspace,
                    address=row.address,
                    password=row.password,
                    name=row.name,
                    quota_bytes=row.quota_bytes,
                )
        except Problem as refused:
            yield Made(row.line, row.address, "", str(refused))
        else:
            yield Made(row.line, row.address, "" if row.password else secret, "")


def line(*cells: str) -> str:
    """A line of CSV that no spreadsheet takes for a formula."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([f"'{cell}" if cell[:1] in ("=", "+", "@", "\t") else cell for cell in cells])
    return buffer.getvalue()
