"""`thurn import`: contacts from a CSV file onto a list."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from thurn.audience.importer import run_import
from thurn.audience.imports import create_import, rejects_csv, start_import, upload_path
from thurn.audience.service import ensure_list
from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection, Row
from thurn.settings import Settings, load_settings

ListName = Annotated[str, typer.Option("--list", help="The list to add them to; made when it is missing.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Import now, or leave it to the running worker.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("import")(import_file)


def import_file(
    file: Path,
    list_name: ListName,
    wait: Wait = True,
    state: State = None,
    as_json: Json = False,
    workspace: Workspace = "main",
) -> None:
    """Import contacts from a CSV file whose first line names the columns; one of them is `email`."""
    if not file.is_file():
        fail(f"There is no file {file}.")

    whole = file.resolve()

    async def prepare(db: Connection, workspace_id: int, settings: Settings) -> tuple[int, int]:
        list_id = await ensure_list(db, workspace_id, list_name)
        if wait:
            number = await create_import(db, workspace_id, list_id=list_id, filename=file.name, path=whole)
        else:
            path = _copy(file, settings)
            number = await start_import(db, workspace_id, list_id=list_id, filename=file.name, path=path)
        return number, workspace_id

    number, workspace_id = in_workspace(state, workspace, prepare)
    if not wait:
        emit({"id": number, "state": "waiting"}, as_json, f"Import {number} waits for the worker.")
        return
    row = _import_here(load_settings(state), number, workspace_id)
    data = {
        "id": number,
        "state": row["state"],
        "added": row["rows_added"],
        "updated": row["rows_updated"],
        "refused": row["rows_refused"],
        "rejects": _write_rejects(state, workspace, number, file) if row["rows_refused"] else None,
        "error": row["error"],
    }
    text = f"{data['added']:,} added, {data['updated']:,} updated, {data['refused']:,} refused."
    if data["rejects"]:
        text += f"\nThe refused rows and why: {data['rejects']}"
    if row["error"]:
        text += f"\n{row['error']}"
    emit(data, as_json, text)
    if row["state"] != "done":
        raise typer.Exit(1)


def _copy(file: Path, settings: Settings) -> Path:
    path = upload_path(settings)
    shutil.copyfile(file, path)
    path.chmod(0o644)  # the worker is another user
    return path


def _import_here(settings: Settings, number: int, workspace_id: int) -> Row:
    bar = Progress(
        TextColumn("Importing"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(), console=Console(stderr=True),
    )  # fmt: skip
    with bar:
        task = bar.add_task("import", total=None, rows=0)

        def show(row: Row) -> None:
            done = row["rows_added"] + row["rows_updated"] + row["rows_refused"]
            bar.update(task, total=row["bytes_total"], completed=row["bytes_read"], rows=done)

        return asyncio.run(run_import(settings, import_id=number, workspace=workspace_id, progress=show))


def _write_rejects(state: Path | None, workspace: str, number: int, file: Path) -> str:
    target = file.with_name(f"{file.name}.rejected.csv").resolve()

    async def write(db: Connection, workspace_id: int, settings: Settings) -> None:
        with target.open("wb") as out:
            async for piece in rejects_csv(db, number):
                out.write(piece)

    in_workspace(state, workspace, write)
    return str(target)
