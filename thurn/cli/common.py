"""What commands share: where the installation is, a transaction in a workspace, output for people and for programs."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from thurn.db.connect import Connection, connect
from thurn.problems import Problem
from thurn.settings import Settings, load_settings

T = TypeVar("T")

State = Annotated[Path | None, typer.Option("--state", help="Else $THURN_STATE, ./var or /var/lib/thurn.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Workspace = Annotated[str, typer.Option("--workspace", help="Which workspace.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and what to do on standard error, and stop."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def emit(data: Any, as_json: bool, text: str) -> None:
    """Print `data` as JSON or `text` for a person."""
    print(json.dumps(data, default=str) if as_json else text)


def in_workspace(state: Path | None, workspace: str, work: Callable[[Connection, int, Settings], Awaitable[T]]) -> T:
    """Run `work(db, workspace_id, settings)` in one transaction as `thurn_app`, which sees that workspace only.

    A `Problem` is said in its own words on standard error, and the command fails.
    """

    async def run() -> T:
        settings = load_settings(state)
        async with await connect(settings, "app") as db, db.transaction():
            row = await (await db.execute("SELECT id FROM workspace WHERE slug = %s", [workspace])).fetchone()
            if row is None:
                fail(f"There is no workspace “{workspace}”.")
            await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(row["id"])])
            return await work(db, row["id"], settings)

    return _said(run())


def in_house(state: Path | None, work: Callable[[Connection, Settings], Awaitable[T]]) -> T:
    """Run `work(db, settings)` in one transaction as `thurn_system`, for what is the operator's; problems as above."""

    async def run() -> T:
        settings = load_settings(state)
        if settings.joined:
            fail(f"This machine only sends. Run the command on the one of {settings.joined}.")
        async with await connect(settings, "system") as db, db.transaction():
            return await work(db, settings)

    return _said(run())


def _said(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except Problem as problem:
        fail(str(problem))
