"""Commands for machines that send: let one join, join, look, remove, give up."""

import csv
import socket
import sys
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, emit, fail, in_house
from thurn.db.connect import Connection
from thurn.nodes import join as joining
from thurn.nodes import service
from thurn.settings import Settings, load_settings
from thurn.stack.checks import complaints

node = typer.Typer(no_args_is_help=True, help="Machines that send.")
Name = Annotated[str, typer.Argument(help="Name of the machine, for example berlin2.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(node, name="node")
    app.command("join")(join)


def join(
    url: Annotated[str, typer.Argument(help="Address of the installation's pages.")],
    token: Annotated[str, typer.Argument(help="What `thurn node add` has printed there.")],
    hostname: Annotated[str, typer.Option("--hostname", help="This machine's name in HELO.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Make this machine send for an installation on another one. It needs an empty state directory."""
    place = load_settings(state).state
    if found := complaints(place, node=True):
        fail("\n\n".join(found))
    try:
        name = joining.join(place, url, token, hostname.strip().lower() or socket.getfqdn())
    except joining.Refused as refused:
        fail(str(refused))
    emit({"node": name, "state": str(place)}, as_json, f"This machine is {name} now. Start it with `thurn up`.")


def _line(row: dict[str, Any]) -> str:
    seen = f"seen {row['seen_at']:%Y-%m-%d %H:%M:%S}" if row["seen_at"] else "never seen"
    words = "silent" if row["silent"] else "this one" if row["first"] else row["state"]
    amounts = f"{row['leased']} leased, {row['queued']} in Postfix"
    inside = ", ".join(row["egresses"]) or "none"
    lines = [f"{row['name']:16} {words:9} {row['hostname'] or '-':28} {seen}, {amounts}, addresses: {inside}"]
    if row["trouble"] and row["state"] in ("joined", "leaving"):
        lines.append(f"{'':16} {row['trouble']}")
    return "\n".join(lines)


@node.command("list")
def node_list(as_json: Json = False, state: State = None) -> None:
    """List the machines that send."""
    found = in_house(state, lambda db, _: service.listed(db))
    emit({"nodes": found}, as_json, "\n".join(map(_line, found)))


@node.command("add")
def node_add(name: Name, as_json: Json = False, state: State = None) -> None:
    """Let a machine join, and print the command for it. The token in it is good for an hour and for one machine."""
    made = in_house(state, lambda db, settings: service.add(db, settings, name))
    emit(
        made, as_json,
        f"Type this on the other machine, as root, within an hour:\n\n    {made['command']}\n    thurn up",
    )  # fmt: skip


@node.command("show")
def node_show(
    name: Name,
    table: Annotated[bool, typer.Option("--csv", help="Print each recipient as CSV.")] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Show a machine, and what it has taken of which nobody knows the end."""

    async def work(db: Connection, settings: Settings) -> dict[str, Any]:
        found = {"node": await service.get(db, name), "campaigns": await service.campaigns(db, name)}
        return found | ({"people": await service.people(db, name)} if table or as_json else {})

    found = in_house(state, work)
    if table and not as_json:
        write = csv.writer(sys.stdout)
        write.writerow(service.COLUMNS)
        write.writerows(service.line(row) for row in found["people"])
        return
    lines = [_line(found["node"])]
    lines += [
        f"{'':16} campaign {c['campaign_id']} “{c['campaign']}”: {c['leased']} leased, {c['taken']} in its Postfix"
        for c in found["campaigns"]
    ]
    emit(found, as_json, "\n".join(lines))


@node.command("remove")
def node_remove(name: Name, as_json: Json = False, state: State = None) -> None:
    """Have a machine leave: it takes nothing new, and goes when nothing of it is on its way."""
    row = in_house(state, lambda db, settings: service.remove(db, settings, name))
    said = f"{name} takes nothing new and goes when nothing of it is on its way." if row else f"{name} never came."
    emit({"node": name, "state": row["state"] if row else None}, as_json, said)


@node.command("lost")
def node_lost(
    name: Name,
    confirm: Annotated[str, typer.Option("--confirm", help="The name again: this cannot be undone.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Send again to those it had only claimed. Some may get the mail twice.")
    ] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Give a machine up that never comes back. What it had taken becomes “unknown”, and is not sent again."""
    n = in_house(state, lambda db, settings: service.lose(db, settings, name, confirm=confirm, again=again))
    emit(
        {"node": name, "deliveries": n}, as_json,
        f"{name} is given up. {n} deliveries are settled without it; `thurn node show {name} --csv` lists them.",
    )  # fmt: skip
