"""Commands for what belongs to mailboxes: settings, forwarding, many at once, app passwords, aliases."""

import math
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.audience.csvfile import NotCsv
from thurn.cli import mailbox_portal
from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.cli.mailhost import Address, mailbox
from thurn.db.connect import Connection
from thurn.mailhost import aliases, app_passwords, bulk, forwards, mailboxes
from thurn.mailhost.bulk import line
from thurn.problems import Invalid
from thurn.settings import Settings

_AT_A_TIME = 25  # mailboxes in one transaction

alias = typer.Typer(no_args_is_help=True, help="Other names for mailboxes, catch-alls, alias domains.")
app_password = typer.Typer(no_args_is_help=True, help="App passwords of mailboxes.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group, and of `mailbox` from other files: `thurn mailbox` loads this one alone."""
    mailbox_portal.add_to(mailbox)
    import_module("thurn.cli.removed")  # hangs its commands into `mailbox`
    app.add_typer(mailbox, name="mailbox")
    app.add_typer(alias, name="alias")
    app.add_typer(app_password, name="app-password")


@mailbox.command("set")
def mailbox_set(
    address: Address,
    name: Annotated[str | None, typer.Option("--name", help="Whose mailbox it is.")] = None,
    quota: Annotated[float | None, typer.Option("--quota", help="How much it holds, in GB.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Recipients it may write to in 24 hours.")] = None,
    may_send: Annotated[bool | None, typer.Option("--may-send/--receives-only", help="Whether it may send.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether anybody may sign in.")] = None,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Change a mailbox; what is left out stays."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        if quota is not None and not math.isfinite(quota):
            raise Invalid("quota", "Give the size in GB, for example 5.")
        octets = None if quota is None else int(quota * mailboxes.GIB)
        await mailboxes.update_mailbox(db, address, name=name, quota_bytes=octets, send_limit=limit, may_send=may_send)
        if enabled is not None:
            await mailboxes.set_enabled(db, address, enabled=enabled)

    in_workspace(state, workspace, work)
    print(f"{address} is changed.")


@mailbox.command("forward")
def mailbox_forward(
    address: Address,
    targets: Annotated[list[str] | None, typer.Argument(help="Addresses; none: its mail is sent on no longer.")] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Whether a copy stays.")] = True,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Send the mail of a mailbox on to other addresses."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await mailboxes.get_mailbox(db, address)
        kept = await forwards.put(db, workspace_id, row["id"], targets=targets or [], keep_copy=keep)
        return {"targets": list(kept.targets), "keep_copy": kept.keep_copy}

    done = in_workspace(state, workspace, work)
    to = ", ".join(done["targets"])
    emit(done, as_json, f"Mail of {address} is sent on to {to}." if to else f"Mail of {address} stays there.")


@mailbox.command("import")
def mailbox_import(
    file: Annotated[Path, typer.Argument(help="CSV with the columns address, name, password, quota (in GB).")],
    check: Annotated[bool, typer.Option("--check", help="Only say what would become of each row.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Make many mailboxes; prints CSV with the passwords that were made, which are not shown again.

    Exit code 1 when a row was left out.
    """
    try:
        wanted = bulk.read(file)
    except (NotCsv, OSError) as refused:
        fail(str(refused))

    async def look(db: Connection, workspace_id: int, settings: Settings) -> list[bulk.Made]:
        looked = await bulk.look_through(db, wanted)
        return [bulk.Made(row.line, row.address, "", row.problem) for row in looked]

    async def make(db: Connection, workspace_id: int, settings: Settings) -> list[bulk.Made]:
        part = await bulk.look_through(db, wanted[len(found) : len(found) + _AT_A_TIME])
        return [made async for made in bulk.make(db, workspace_id, part)]

    found: list[bulk.Made] = []
    if check:
        found = in_workspace(state, workspace, look)
    else:
        while len(found) < len(wanted):
            found += in_workspace(state, workspace, make)
            if sys.stderr.isatty():
                print(f"\r{len(found):,} of {len(wanted):,}", end="", file=sys.stderr, flush=True)
    if as_json:
        emit([asdict(row) for row in found], True, "")
    else:
        print(line("address", "password", "problem"), end="")
        for row in found:
            print(line(row.address, row.password, row.problem), end="")
    if any(row.problem for row in found):
        raise typer.Exit(1)


@app_password.command("add")
def app_password_add(
    address: Address,
    name: Annotated[str, typer.Option("--name", help="What it is for, for example “Phone”.")],
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Make an app password and print it once."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await mailboxes.get_mailbox(db, address)
        number, secret = await app_passwords.create(db, workspace_id, row["id"], name=name)
        return {"id": number, "password": secret}

    made = in_workspace(state, workspace, work)
    emit(made, as_json, f"App password {made['id']}: {made['password']}\nIt is not shown again.")


@app_password.command("list")
def app_password_list(
    address: Address, as_json: Json = False, state: State = None, workspace: Workspace = "main"
) -> None:
    """List the app passwords of a mailbox."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        return await app_passwords.of_mailbox(db, (await mailboxes.get_mailbox(db, address))["id"])

    rows = in_workspace(state, workspace, work)
    lines = [f"{row['id']:>6}  {row['name']}  {row['last_used_at'] or 'never used'}" for row in rows]
    emit(rows, as_json, "\n".join(lines) or "None.")


@app_password.command("revoke")
def app_password_revoke(
    address: Address, number: Annotated[int, typer.Argument(help="Its number.")], state: State = None,
    workspace: Workspace = "main",
) -> None:  # fmt: skip
    """Take an app password away."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await app_passwords.revoke(db, (await mailboxes.get_mailbox(db, address))["id"], number)

    in_workspace(state, workspace, work)
    print("It is revoked.")


@alias.command("add")
def alias_add(
    address: Annotated[str, typer.Argument(help="The alias, or @brotzeit.example for a catch-all.")],
    target: Annotated[str, typer.Argument(help="A mailbox here or an address anywhere.")],
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Let mail to an address arrive somewhere else."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await aliases.add(db, workspace_id, address=address, target=target)

    in_workspace(state, workspace, work)
    print(f"{address} leads to {target}.")


@alias.command("remove")
def alias_remove(
    address: Annotated[str, typer.Argument(help="The alias.")],
    target: Annotated[str, typer.Argument(help="Where it leads.")],
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Undo it."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await aliases.remove(db, address=address, target=target)

    in_workspace(state, workspace, work)
    print(f"{address} leads to {target} no longer.")


@alias.command("list")
def alias_list(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List aliases, catch-alls and domains that are another's name."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        while rows := await aliases.page(db, after=found[-1]["address"] if found else None, limit=500):
            found += rows
        return {"aliases": found, "domains": await aliases.alias_domains(db)}

    known = in_workspace(state, workspace, work)
    lines = [f"{row['address']} -> {', '.join(row['targets'])}" for row in known["aliases"]]
    lines += [f"every address at {row['name']} -> the same at {row['target']}" for row in known["domains"]]
    emit(known, as_json, "\n".join(lines) or "No aliases yet. Make one: thurn alias add ADDRESS TARGET")


@alias.command("domain")
def alias_domain(
    name: Annotated[str, typer.Argument(help="The domain that is only a name.")],
    target: Annotated[str, typer.Argument(help="The domain it leads to; empty: a domain of its own again.")] = "",
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Make every address at a domain the same address at another."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await aliases.lead_domain(db, name, target or None)

    in_workspace(state, workspace, work)
    print(f"Every address at {name} is the same at {target}." if target else f"{name} is a domain of its own.")
