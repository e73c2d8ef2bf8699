"""Commands for the suppression list."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from thurn.audience import suppression, suppression_file
from thurn.audience.barring import RULES, Reason
from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.problems import NotFound
from thurn.settings import Settings

T = TypeVar("T")
ACTOR = "command line"

group = typer.Typer(no_args_is_help=True, help="Addresses that get nothing, and why.")

Address = Annotated[str, typer.Argument(help="An address.")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="The installation's list, which bars every workspace.")]
Why = Annotated[str, typer.Option("--reason", help=f"One of: {', '.join(RULES)}.")]
Note = Annotated[str, typer.Option("--note", help="Why, for whoever asks later.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(group, name="suppression")


@group.command("list")
def list_(
    query: Annotated[str, typer.Option("--search", help="Part of an address.")] = "",
    reason: Annotated[str, typer.Option("--reason", help=f"One of: {', '.join(RULES)}.")] = "",
    everywhere: Everywhere = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """List the newest 200. `export` writes all of them."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        if reason:
            _reason(reason)
        page = await suppression.suppression_page(db, everywhere=everywhere, query=query, reason=reason, limit=200)
        return page.items

    found = _run(state, workspace, everywhere, work)
    emit(found, as_json, "\n".join(map(_line, found)) or "No address is suppressed.")


@group.command("show")
def show(
    address: Address, everywhere: Everywhere = False, as_json: Json = False, state: State = None,
    workspace: Workspace = "main",
) -> None:  # fmt: skip
    """Say why an address gets nothing, and what was done with it."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await suppression.find(db, address, everywhere=everywhere)
        return {"entry": row, "history": await suppression.history(db, address, everywhere=everywhere)}

    found = _run(state, workspace, everywhere, work)
    entry = found["entry"]
    lines = [_line(entry), f"  {RULES[entry['reason']].why}"] if entry else [f"{address} is not suppressed."]
    lines += [f"  {h['at']:%Y-%m-%d %H:%M}  {h['action']} by {h['actor']}  {h['note']}" for h in found["history"]]
    emit(found, as_json, "\n".join(lines))


@group.command("add")
def add(
    address: Address,
    reason: Why = "manual",
    note: Note = "",
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="For how long; else as the reason says.")] = None,
    everywhere: Everywhere = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Suppress an address: nothing goes to it from now on."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> bool:
        return await suppression.add(
            db, None if everywhere else workspace_id, address, actor=ACTOR, reason=_reason(reason), note=note, days=days
        )

    added = _run(state, workspace, everywhere, work)
    said = "Suppressed." if added else "It was suppressed already, for as much."
    emit({"address": address, "added": added}, as_json, said)


@group.command("remove")
def remove(
    address: Address, note: Note = "", everywhere: Everywhere = False, as_json: Json = False, state: State = None,
    workspace: Workspace = "main",
) -> None:  # fmt: skip
    """Take a suppression back: mail goes to the address again, until there is a new reason."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await suppression.find(db, address, everywhere=everywhere)
        if row is None:
            raise NotFound(f"{address} is not suppressed.")
        return await suppression.remove(db, row["id"], actor=ACTOR, note=note, everywhere=everywhere)

    row = _run(state, workspace, everywhere, work)
    emit(row, as_json, f"Mail goes to {row['address']} again. It was suppressed for: {RULES[row['reason']].word}.")


@group.command("import")
def import_(
    file: Path, reason: Why = "manual", everywhere: Everywhere = False, as_json: Json = False, state: State = None,
    workspace: Workspace = "main",
) -> None:  # fmt: skip
    """Suppress every address of a CSV file: addresses alone, or columns `email` and `reason`."""
    if not file.is_file():
        fail(f"There is no file {file}.")

    async def work(db: Connection, workspace_id: int, settings: Settings) -> suppression_file.Loaded:
        target = None if everywhere else workspace_id
        return await suppression_file.load(db, target, file, name=file.name, actor=ACTOR, reason=_reason(reason))

    loaded = _run(state, workspace, everywhere, work)
    data = {
        "added": loaded.added, "known": loaded.known, "refused_count": loaded.refused_count,
        "refused": [{"line": line, "reason": why} for line, why in loaded.refused],
    }  # fmt: skip
    text = f"{loaded.added:,} added, {loaded.known:,} known before, {loaded.refused_count:,} refused."
    text += "".join(f"\n  line {line}: {why}" for line, why in loaded.refused)
    emit(data, as_json, text)


@group.command("export")
def export(everywhere: Everywhere = False, state: State = None, workspace: Workspace = "main") -> None:
    """Write the whole list to standard output, as CSV."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        async for piece in suppression_file.export(db, everywhere=everywhere):
            sys.stdout.buffer.write(piece)

    _run(state, workspace, everywhere, work)


def _reason(given: str) -> Reason:
    found = next((reason for reason in RULES if reason == given), None)
    if found is None:
        fail(f"There is no reason “{given}”. It is one of: {', '.join(RULES)}.")
    return found


def _line(row: dict[str, Any]) -> str:
    until = f", until {row['expires_at']:%Y-%m-%d}" if row["expires_at"] else ""
    evidence = f"\n  {row['evidence'][:200]}" if row["evidence"] else ""
    return f"{row['address']}  {RULES[row['reason']].word}, since {row['created_at']:%Y-%m-%d}{until}{evidence}"


def _run(
    state: Path | None, workspace: str, everywhere: bool, work: Callable[[Connection, int, Settings], Awaitable[T]]
) -> T:
    if everywhere and workspace != "main":
        fail("The installation's list is kept in the workspace “main”. Leave --workspace out.")
    return in_workspace(state, workspace, work)
