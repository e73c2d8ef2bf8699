"""What commands share: where the installation is, a transaction in a workspace, output for people and for programs."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from thurn.db.connect import Connection, connect
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
    """Run `work(db, workspace_id, settings)` in one transaction as `thurn_app`, which sees that workspace only."""

    async def run() -> T:
        settings = load_settings(state)
        async with await connect(settings, "app") as db, db.transaction():
            row = await (await db.execute("SELECT id FROM workspace WHERE slug = %s", [workspace])).fetchone()
            if row is None:
                fail(f"There is no workspace “{workspace}”.")
            await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(row["id"])])
            return await work(db, row["id"], settings)

    return asyncio.run(run())
