"""Commands that start, stop and show the roles of an installation."""

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from thurn.certificates.service import in_trouble
from thurn.cli.common import Json, State, emit, fail
from thurn.db.connect import connect
from thurn.settings import SERVICES, Settings, load_settings
from thurn.stack import control
from thurn.stack.control import RoleStatus, StackError
from thurn.stack.roles import PYTHON
from thurn.stack.run import run as run_role

# Ports that programs other than our own connect to.
PUBLIC = tuple(service for service, standard in SERVICES.items() if standard is not None)

Roles = Annotated[
    list[str] | None, typer.Argument(metavar="[ROLE…]", help="Which roles; none: all.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("migrate")(migrate)
    app.command("run", hidden=True)(run)


def up(
    roles: Roles = None,
    state: State = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every role is healthy.")] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Send everything to a simulated internet on this machine.")
    ] = False,
) -> None:
    """Start every role, or some, in the order they need each other. Does no harm when they run."""
    settings = load_settings(state)
    if simulate and not settings.simulate:
        remember_simulate(settings.state)
        settings = load_settings(settings.state)
    try:
        control.up(settings, roles or (), wait=wait, report=lambda line: typer.echo(line, err=True))
    except StackError as problem:
        fail(str(problem))
    typer.echo(f"Thurn is up in {settings.state}. `thurn status` shows it, `thurn down` stops it.", err=True)


def down(state: State = None) -> None:
    """Stop every role and leave no process behind."""
    control.down(load_settings(state).state)


def status(state: State = None, as_json: Json = False) -> None:
    """Show roles with their health, ports and addresses. Exits 3 unless every started role is well."""
    settings = load_settings(state)
    found = control.status(settings)
    trouble = asyncio.run(certificate_trouble(settings)) if "db" not in found or found["db"].ok else []
    emit(
        as_data(settings, found) | {"certificates": trouble},
        as_json,
        "\n".join([as_text(settings, found), *(f"certificate  {each['problem']}" for each in trouble)]),
    )
    started = [role for role in found.values() if role.process.state != "stopped"]
    if not started or not all(role.ok for role in started):
        raise typer.Exit(3)


def migrate(state: State = None) -> None:
    """Bring the database's schema to this version's."""
    try:
        typer.echo(control.bring_up_to_date(load_settings(state)))
    except StackError as problem:
        fail(str(problem))


def run(role: str, state: State = None) -> None:
    """Run one of our own roles in the foreground (what the supervisor does)."""
    if role not in PYTHON:
        fail(f"“{role}” is not a role of our own. Those are: {', '.join(PYTHON)}.")
    run_role(role, load_settings(state))


def remember_simulate(state: Path) -> None:
    """Write `simulate = true` into the installation's thurn.toml and keep the rest of the file."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = state / "thurn.toml"
    text = path.read_text() if path.exists() else ""
    line = "simulate = true"
    text, replaced = re.subn(r"(?m)^\s*simulate\s*=.*$", line, text)
    path.write_text(text if replaced else f"{line}\n{text}")


async def certificate_trouble(settings: Settings) -> list[dict[str, Any]]:
    """Certificates that are not in order, as the worker saw them last; none while the database cannot be asked."""
    try:
        async with await connect(settings, "system") as db:
            return await in_trouble(db)
    except psycopg.Error:
        return []


def as_data(settings: Settings, found: dict[str, RoleStatus]) -> dict[str, Any]:
    """The status for programs."""
    ports = settings.port if (settings.state / "ports.json").exists() and not settings.joined else {}
    return {
        "roles": {
            name: {
                "state": role.process.state,
                "health": role.health,
                "pid": role.process.pid,
                "since": role.process.since.isoformat() if role.process.since else None,
            }
            for name, role in found.items()
        },
        "ports": {service: ports[service] for service in PUBLIC if service in ports},
        "urls": {
            "web": settings.url if ports else None,
            "webmail": settings.webmail_url if ports else None,
            "api": f"{settings.url}/api/v1" if ports else None,
        },
    }


def as_text(settings: Settings, found: dict[str, RoleStatus]) -> str:
    """The status for people."""
    data = as_data(settings, found)
    lines = [f"{'role':<10} {'process':<9} {'pid':>7}  health"]
    lines += [
        f"{name:<10} {role.process.state:<9} {role.process.pid or '':>7}  {role.health}" for name, role in found.items()
    ]
    lines += [""]
    if settings.joined:
        lines += [f"sends for  {settings.joined}"]
    else:
        lines += ["ports      " + "  ".join(f"{service} {port}" for service, port in data["ports"].items())]
        lines += [f"web        {data['urls']['web'] or '(not started yet)'}"]
    lines += [f"state      {settings.state}"]
    return "\n".join(lines)
