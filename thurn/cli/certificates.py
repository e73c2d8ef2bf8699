"""The command that shows certificates."""

import asyncio
from typing import Annotated, Any

import psycopg
import typer

from thurn.certificates import service
from thurn.certificates.watch import look
from thurn.cli.common import Json, State, emit, fail
from thurn.db.connect import connect
from thurn.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("certificates")(certificates)


def certificates(
    check: Annotated[bool, typer.Option("--check", help="Look now, in place of what was seen last.")] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Show which host has which certificate, until when, and what uses it. Exits 3 if one is not in order."""
    settings = load_settings(state)
    try:
        found = asyncio.run(_found(settings, check=check))
    except psycopg.OperationalError as problem:
        fail(f"The database cannot be reached: {problem}\nStart it with `thurn up db`.")
    emit(found, as_json, "\n".join(map(_line, found)) or "None were seen yet. Look now: thurn certificates --check")
    if any(each["state"] in ("bad", "soon") for each in found):
        raise typer.Exit(3)


async def _found(settings: Settings, *, check: bool) -> list[dict[str, Any]]:
    if check:
        await look(settings)
    async with await connect(settings, "system") as db:
        found: list[dict[str, Any]] = []
        while rows := await service.certificates(db, after=found[-1]["host"] if found else "", limit=500):
            found += rows
    return found


def _line(each: dict[str, Any]) -> str:
    until = f"until {each['not_after']:%Y-%m-%d %H:%M}" if each["not_after"] else ""
    uses = ", ".join(each["used_by"])
    head = f"{service.WORDS[each['state']]:14} {each['host']:40} {until:22} {each['issuer']:24} {uses}".rstrip()
    return f"{head}\n               {each['problem']}" if each["problem"] else head
