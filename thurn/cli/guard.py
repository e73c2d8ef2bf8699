"""Commands for the abuse guard."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from thurn.cli.common import Json, State, emit, in_workspace
from thurn.db.connect import Connection
from thurn.guard import bans, figures

T = TypeVar("T")

guard = typer.Typer(no_args_is_help=True, help="Who is banned for guessing passwords, and who never is.")

Client = Annotated[str, typer.Argument(help="An address or a network, for example 198.51.100.7 or 2001:db8::/64.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(guard, name="guard")


@guard.command("list")
def guard_list(as_json: Json = False, state: State = None) -> None:
    """List who is banned, who is never banned, and who failed to sign in since yesterday."""

    async def work(db: Connection) -> dict[str, Any]:
        return {
            "bans": await bans.listed(db),
            "allowed": await bans.allowed(db),
            "failures": await figures.by_client(db),
        }

    found = _run(state, work)
    lines = [f"banned   {b['client']:24} until {b['until']:%Y-%m-%d %H:%M %Z}  {b['detail']}" for b in found["bans"]]
    lines += [f"never    {a['network']:24} {a['note']}" for a in found["allowed"]]
    lines += [f"failed   {f['client']:24} {f['failures']} times as {', '.join(f['logins'])}" for f in found["failures"]]
    emit(found, as_json, "\n".join(lines) or "Nobody is banned, and nobody failed to sign in since yesterday.")


@guard.command("ban")
def guard_ban(
    client: Client,
    minutes: Annotated[int, typer.Option("--minutes", help="For how long.")] = 60,
    reason: Annotated[str, typer.Option("--reason", help="Why, for yourself.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Ban an address or a network at every door."""

    async def work(db: Connection) -> str:
        return await bans.ban_by_hand(db, client, length=timedelta(minutes=minutes), detail=reason)

    made = _run(state, work)
    emit({"network": made}, as_json, f"{made} is banned for {minutes} minutes.")


@guard.command("unban")
def guard_unban(client: Client, as_json: Json = False, state: State = None) -> None:
    """Lift a ban; as `thurn guard list` shows it."""

    async def work(db: Connection) -> str:
        return await bans.lift(db, client)

    made = _run(state, work)
    emit({"network": made}, as_json, f"{made} is not banned any more.")


@guard.command("allow")
def guard_allow(
    client: Client,
    note: Annotated[str, typer.Option("--note", help="What it is, for example “Office”.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take it off the list.")] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Never ban an address or a network."""

    async def work(db: Connection) -> str:
        if remove:
            await bans.disallow(db, client)
            return client
        return await bans.allow(db, client, note=note)

    made = _run(state, work)
    emit({"network": made}, as_json, f"{made} {'may be banned again' if remove else 'is never banned'}.")


def _run(state: Path | None, work: Callable[[Connection], Awaitable[T]]) -> T:
    return in_workspace(state, "main", lambda db, _, __: work(db))
