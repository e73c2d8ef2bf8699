"""Commands of feeds."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.feeds import service
from thurn.settings import Settings

feed = typer.Typer(no_args_is_help=True, help="Bounces from elsewhere: mailboxes that are read, services that call.")
Number = Annotated[int, typer.Argument(help="The number `add` printed.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(feed, name="feed")


@feed.command("add")
def add(
    name: Annotated[str, typer.Argument(help="For you.")],
    kind: Annotated[str, typer.Option("--kind", help=", ".join(service.KINDS) + ".")],
    host: Annotated[str, typer.Option("--host", help="A mailbox: its server.")] = "",
    user: Annotated[str, typer.Option("--user", help="A mailbox: the user name there.")] = "",
    port: Annotated[int, typer.Option("--port", help="993, 143, 995 or 110; 0: the one with TLS.")] = 0,
    fingerprint: Annotated[str, typer.Option("--fingerprint", help="SHA-256 of the only certificate to accept.")] = "",
    folder: Annotated[str, typer.Option("--folder", help="IMAP: the folder that is read.")] = "INBOX",
    afterwards: Annotated[str, typer.Option("--afterwards", help="keep, seen, move or delete.")] = "keep",
    target: Annotated[str, typer.Option("--target", help="The folder that read mail is moved to.")] = "",
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Add a feed. Password, key or topic are read from standard input; services that sign nothing need none."""
    secret = "" if kind in ("postmark", "sparkpost", "brevo") else sys.stdin.readline().rstrip("\r\n")

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        new = service.New(name, kind, secret, host, port, user, fingerprint, folder, afterwards, target)
        return await _shown(db, await service.add(db, workspace_id, new, settings=settings), settings)

    _say(in_workspace(state, workspace, work), as_json)


@feed.command("list")
def list_feeds(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Say how each is getting on."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> Any:
        return await service.feed_page(db, limit=1000)

    found = in_workspace(state, workspace, work)
    emit(found, as_json, "\n".join(_line(row) for row in found) or "There is no feed yet.")


@feed.command("show")
def show(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Show one, with the address to enter at a service (it may hold a password)."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        return await _shown(db, number, settings)

    _say(in_workspace(state, workspace, work), as_json)


@feed.command("enable")
def enable(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Go on with it, also after what was wrong has been put right."""
    _switch(number, enabled=True, as_json=as_json, state=state, workspace=workspace)


@feed.command("disable")
def disable(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Stop reading it; calls are turned away."""
    _switch(number, enabled=False, as_json=as_json, state=state, workspace=workspace)


@feed.command("remove")
def remove(number: Number, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Forget a feed. What its reports did stays."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await service.remove(db, number)

    in_workspace(state, workspace, work)
    emit({"removed": number}, as_json, f"Feed {number} is gone.")


def _switch(number: int, *, enabled: bool, as_json: bool, state: Path | None, workspace: str) -> None:
    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        await service.switch(db, number, enabled=enabled)
        return await service.get(db, number)

    _say(in_workspace(state, workspace, work), as_json)


async def _shown(db: Connection, number: int, settings: Settings) -> dict[str, Any]:
    row = dict(await service.get(db, number))
    if row["hook"]:
        row["url"] = service.address(row, settings.url, await service.secret_of(db, number, settings))
    return row


def _say(row: dict[str, Any], as_json: bool) -> None:
    lines = [_line(row)]
    if row.get("url"):
        lines.append(f"      Enter at {service.TITLES[row['kind']]}: {row['url']}")
    emit(row, as_json, "\n".join(lines))


def _line(row: dict[str, Any]) -> str:
    where = f"{row['login']} at {row['host']}" if row["host"] else service.TITLES[row["kind"]]
    how = row["state"] if row["enabled"] else "off"
    far = f"{row['taken']} reports, {row['matched']} of our mails"
    return f"{row['id']:5} {how:9} {row['name']} ({where})  {far}  {row['reason']}".rstrip()
