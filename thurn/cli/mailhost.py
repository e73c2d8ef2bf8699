"""Commands for domains and mailboxes."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.dns.check import check_domain
from thurn.dns.facts import facts
from thurn.dns.records import Record, records, zone_file
from thurn.dns.verdicts import Check
from thurn.mailhost import mailboxes, removed, service
from thurn.settings import Settings
from thurn.web.words import count, size

domain = typer.Typer(no_args_is_help=True, help="Domains that mail is sent from and received for.")
mailbox = typer.Typer(no_args_is_help=True, help="Mailboxes of people.")

Name = Annotated[str, typer.Argument(help="The domain, for example brotzeit.example.")]
Address = Annotated[str, typer.Argument(help="The address, for example anna@brotzeit.example.")]

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    import_module("thurn.cli.domains")  # hangs its commands into `domain`
    app.add_typer(domain, name="domain")


@domain.command("add")
def domain_add(name: Name, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Add a domain with its DKIM keys and print the DNS records to publish."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[str, list[Record]]:
        domain_id = await service.add_domain(db, workspace_id, name=name, settings=settings)
        row = await service.get_domain_by_id(db, domain_id)
        return row["name"], records(facts(row, settings))

    stored, wanted = in_workspace(state, workspace, work)
    text = f"{stored} is added. Publish these records where its DNS is kept, then run: thurn domain check {stored}\n"
    emit(_published(wanted), as_json, f"{text}\n{_listing(wanted)}")


@domain.command("list")
def domain_list(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List the domains and whether their records are in place."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while rows := await service.domain_page(db, after=found[-1]["name"] if found else ""):
            keys = ("name", "bounce_host", "verified_at", "checked_at", "mailboxes")
            found += [{key: row[key] for key in keys} for row in rows]
        return found

    rows = in_workspace(state, workspace, work)
    lines = [f"{'verified' if row['verified_at'] else 'not yet':9} {row['name']}" for row in rows]
    emit(rows, as_json, "\n".join(lines) or "No domains yet. Add one: thurn domain add NAME")


@domain.command("show")
def domain_show(name: Name, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Print the DNS records of a domain."""
    wanted, _ = _wanted(name, state, workspace)
    emit(_published(wanted), as_json, _listing(wanted))


@domain.command("zone")
def domain_zone(name: Name, state: State = None, workspace: Workspace = "main") -> None:
    """Print the DNS records of a domain as a zone file."""
    _, zone = _wanted(name, state, workspace)
    print(zone, end="")


@domain.command("check")
def domain_check(name: Name, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Look the records up in DNS. Exit code 1 when something that campaigns need is not right."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[Check]:
        return await check_domain(db, (await service.get_domain(db, name))["id"], settings)

    checks = in_workspace(state, workspace, work)
    verified = all(check.level in ("ok", "warn") for check in checks if check.record.required)
    emit(
        {"verified": verified, "checks": [check.as_json() for check in checks]},
        as_json,
        "\n".join(_finding(check) for check in checks),
    )
    if not verified:
        raise typer.Exit(1)


@domain.command("remove")
def domain_remove(
    name: Name,
    destroy: Annotated[bool, typer.Option("--destroy-mail", help="Destroy its mail now, not in 30 days.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Remove a domain with its keys, mailboxes and aliases. The mail is kept for 30 days."""

    async def look(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        return await service.get_domain(db, name)

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await service.remove_domain(db, name, destroy=destroy)

    row = in_workspace(state, workspace, look)
    boxes = count(row["mailboxes"], "mailbox", "mailboxes")
    mails = f"{count(row['messages'], 'mail', 'mails')}, {size(row['bytes'])}"
    fate = "destroyed" if destroy else f"kept for {removed.DAYS} days"
    if not yes:
        typer.confirm(f"Remove {name} with its DKIM keys and {boxes}? Their mail ({mails}) is {fate}.", abort=True)
    in_workspace(state, workspace, work)
    print(f"{name} is removed. The mail of its mailboxes ({mails}) is {fate}.")


@mailbox.command("add")
def mailbox_add(
    address: Address,
    name: Annotated[str, typer.Option("--name", help="Whose mailbox it is, for example “Anna Lindner”.")] = "",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Make a mailbox; without --password-stdin its password is made here and printed once."""
    given = sys.stdin.readline().rstrip("\r\n") if password_stdin else None

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        secret = await service.add_mailbox(db, workspace_id, address=address, password=given, name=name)
        stored = mailboxes.stored(address)
        return {"address": stored} if given is not None else {"address": stored, "password": secret}

    made = in_workspace(state, workspace, work)
    shown = f"\nPassword: {made['password']}\nIt is not shown again." if "password" in made else ""
    emit(made, as_json, f"{made['address']} is ready.{shown}")


@mailbox.command("list")
def mailbox_list(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List the mailboxes."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while rows := await mailboxes.mailbox_page(db, after=found[-1]["address"] if found else None, limit=500):
            keys = ("address", "name", "state", "enabled", "may_send", "send_limit", "quota_bytes", "bytes_used",
                    "messages_used", "used_at", "forward_to", "forward_keep")  # fmt: skip
            found += [{key: row[key] for key in keys} for row in rows]
        return found

    rows = in_workspace(state, workspace, work)
    lines = [f"{row['state']:13} {_used(row):>20}  {row['address']}" for row in rows]
    emit(rows, as_json, "\n".join(lines) or "No mailboxes yet. Make one: thurn mailbox add ADDRESS")


def _used(row: dict[str, Any]) -> str:
    return f"{size(row['bytes_used'] or 0)} of {size(row['quota_bytes'])}"


@mailbox.command("password")
def mailbox_password(
    address: Address,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Give a mailbox a new password."""
    given = sys.stdin.readline().rstrip("\r\n") if password_stdin else None

    async def work(db: Connection, workspace_id: int, settings: Settings) -> str:
        return await mailboxes.set_password(db, address, given)

    secret = in_workspace(state, workspace, work)
    made = {"address": address} if given is not None else {"address": address, "password": secret}
    emit(
        made,
        as_json,
        "The password is changed." if given is not None else f"Password: {secret}\nIt is not shown again.",
    )


def _wanted(name: str, state: Path | None, workspace: str) -> tuple[list[Record], str]:
    """The records of a domain, and its zone file."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[list[Record], str]:
        of = facts(await service.get_domain(db, name), settings)
        return records(of), zone_file(of, records(of))

    return in_workspace(state, workspace, work)


def _published(wanted: list[Record]) -> list[dict[str, Any]]:
    """What a program can publish: the records whose value is known."""
    return [record.as_json() for record in wanted if record.values]


def _listing(wanted: list[Record]) -> str:
    blocks = []
    for record in wanted:
        value = record.values[0] if record.values else "(the address of this server)"
        advice = "" if record.required else " (campaigns work without it)"
        blocks.append(f"{record.purpose}{advice}\n  {record.why}\n  {record.type:4} {record.name}\n       {value}")
    return "\n\n".join(blocks)


def _finding(check: Check) -> str:
    lines = [f"{check.level:7} {check.what}"]
    if check.level != "ok":
        lines += [f"        now: {value}" for value in check.found]
        lines += [f"        {check.fix}"] if check.fix else []
        lines += [f"        {check.record.type} {check.record.name}\n        {value}" for value in check.publish]
    return "\n".join(lines)
