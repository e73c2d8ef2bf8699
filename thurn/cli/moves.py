"""Commands of moves."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.moves import batch, service
from thurn.moves.service import Source
from thurn.settings import Settings

move = typer.Typer(no_args_is_help=True, help="Bring mailboxes here from other servers.")
Number = Annotated[int, typer.Argument(help="The number `start` printed.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(move, name="move")


@move.command("start")
def start(
    address: Annotated[str, typer.Argument(help="The mailbox here.")],
    host: Annotated[str, typer.Option("--from", help="The other server's IMAP host.")],
    user: Annotated[str, typer.Option("--user", help="User name there.")],
    port: Annotated[int, typer.Option("--port", help="993 or 143.")] = 993,
    fingerprint: Annotated[str, typer.Option("--fingerprint", help="SHA-256 of the only certificate to accept.")] = "",
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Begin to move a mailbox; the password there is read from standard input."""
    password = sys.stdin.readline().rstrip("\r\n")

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        source = Source(host, user, password, port, fingerprint)
        number = await service.start(db, workspace_id, address=address, source=source, settings=settings)
        return await service.get(db, number)

    _say(in_workspace(state, workspace, work), as_json)


@move.command("many")
def many(
    file: Annotated[Path, typer.Argument(help="CSV: address, host, user, password.")],
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Begin with each line of a CSV file. Exit code 1 when a line was not taken."""
    try:
        data = file.read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.")

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[batch.Done]:
        return await batch.start_many(db, workspace_id, data=data, settings=settings)

    done = in_workspace(state, workspace, work)
    rows = [{"line": d.line, "address": d.address, "move": d.move_id, "problem": d.problem} for d in done]
    text = [f"{d.line:5} {d.address or '(none)'}: {d.problem or f'move {d.move_id} has begun'}" for d in done]
    emit(rows, as_json, "\n".join(text) or "The file has no line below the first.")
    if any(each.problem for each in done):
        raise typer.Exit(1)


@move.command("status")
def status(
    number: Annotated[int | None, typer.Argument(help="One move; without it the newest.")] = None,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Say how far moves are."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> Any:
        if number is None:
            return await service.move_page(db, limit=50)
        return await service.get(db, number) | {"problems": await service.problems(db, number, limit=1000)}

    found = in_workspace(state, workspace, work)
    if number is not None:
        _say(found, as_json)
    else:
        emit(found, as_json, "\n".join(_line(row) for row in found) or "Nothing was moved yet.")


@move.command("cancel")
def cancel(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Stop a move; what is here by then stays."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        await service.cancel(db, number)
        return await service.get(db, number)

    _say(in_workspace(state, workspace, work), as_json)


@move.command("resume")
def resume(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Let a paused move go on."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        await service.resume(db, number)
        return await service.get(db, number)

    _say(in_workspace(state, workspace, work), as_json)


def _say(row: dict[str, Any], as_json: bool) -> None:
    left = [f"  not brought: {each['folder']} {each['uid'] or ''} {each['reason']}" for each in row.get("problems", [])]
    emit(row, as_json, "\n".join([_line(row), *left]))


def _line(row: dict[str, Any]) -> str:
    far = f"{row['messages_done']} of {row['messages_total']} messages" if row["messages_total"] else ""
    what = f"{row['address']} from {row['login']} at {row['host']}"
    return f"{row['id']:5} {row['state']:9} {what}  {far}  {row['reason']}".rstrip()
