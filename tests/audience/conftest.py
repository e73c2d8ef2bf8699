"""Importing a file as the worker would."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from thurn.audience.importer import run_import
from thurn.audience.imports import create_import
from thurn.audience.service import ensure_list
from thurn.db.connect import Connection, Row, connect
from thurn.settings import Settings

Import = Callable[..., Awaitable[Row]]


@pytest.fixture
def import_bytes(clean: Settings, system: Connection, tmp_path: Path) -> Import:
    """Import these bytes to the list `news` of workspace `main` and return the row of the import."""

    async def run(data: bytes, name: str = "people.csv") -> Row:
        path = tmp_path / name
        path.write_bytes(data)
        list_id = await ensure_list(system, 1, "news")
        number = await create_import(system, 1, list_id=list_id, filename=name, path=path)
        return await run_import(clean, import_id=number, workspace=1)

    return run


@pytest.fixture
async def refused(system: Connection) -> Callable[[], Awaitable[list[tuple[int, str]]]]:
    """(line, reason) of every refused row."""

    async def look() -> list[tuple[int, str]]:
        found = await system.execute("SELECT row_number, reason FROM contact_import_reject ORDER BY 1")
        return [(row["row_number"], row["reason"]) for row in await found.fetchall()]

    return look


@pytest.fixture
async def people(system: Connection) -> Callable[[], Awaitable[dict[str, dict[str, str]]]]:
    """Address -> fields of every contact."""

    async def look() -> dict[str, dict[str, str]]:
        found = await system.execute("SELECT email, fields FROM contact ORDER BY id")
        return {row["email"]: row["fields"] for row in await found.fetchall()}

    return look


async def app_connection(settings: Settings) -> Connection:
    """A connection as the web application in workspace `main`."""
    db = await connect(settings, "app", autocommit=True)
    await db.execute("SELECT set_config('thurn.workspace', '1', false)")
    return db
