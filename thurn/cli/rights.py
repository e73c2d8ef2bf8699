"""Commands for rights to send as others, and for copies of mail for the record."""

from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.cli.mailhost import Address
from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, rights
from thurn.mailhost.rights import Direction
from thurn.settings import Settings

send_as = typer.Typer(no_args_is_help=True, help="Addresses a mailbox may send as besides its own.")
copies = typer.Typer(no_args_is_help=True, help="Copies of what a mailbox or a domain receives or sends.")

Sender = Annotated[str, typer.Argument(help="An address of your domains, or @brotzeit.example for all of it.")]


def register(app: typer.Typer) -> None:
    """Add these groups."""
    app.add_typer(send_as, name="send-as")
    app.add_typer(copies, name="copies")


@send_as.command("list")
def send_as_list(address: Address, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List what a mailbox may send as; its own address and its aliases go without saying."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[str]:
        return await rights.may_send_as(db, (await mailboxes.get_mailbox(db, address))["id"])

    found = in_workspace(state, workspace, work)
    emit(found, as_json, "\n".join(found) or "Only its own address and its aliases.")


@send_as.command("allow")
def send_as_allow(address: Address, sender: Sender, state: State = None, workspace: Workspace = "main") -> None:
    """Let a mailbox send as another address."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        row = await mailboxes.get_mailbox(db, address)
        await rights.allow_sending(db, workspace_id, row["id"], sender)

    in_workspace(state, workspace, work)
    print(f"{address} may send as {sender}.")


@send_as.command("forbid")
def send_as_forbid(address: Address, sender: Sender, state: State = None, workspace: Workspace = "main") -> None:
    """Undo it."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await rights.forbid_sending(db, (await mailboxes.get_mailbox(db, address))["id"], sender)

    in_workspace(state, workspace, work)
    print(f"{address} may send as {sender} no longer.")


@copies.command("list")
def copies_list(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List every rule and who made it."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        return await rights.copies(db)

    found = in_workspace(state, workspace, work)
    lines = [
        f"{row['id']:>4}  {row['direction']} by {row['address']} -> {row['copy_to']}  ({row['created_by']})"
        for row in found
    ]
    emit(found, as_json, "\n".join(lines) or "No copies are made.")


@copies.command("add")
def copies_add(
    direction: Annotated[Direction, typer.Argument(help="received or sent")],
    address: Annotated[str, typer.Argument(help="A mailbox, or @brotzeit.example for a whole domain.")],
    copy_to: Annotated[str, typer.Argument(help="Who gets the copy.")],
    outside: Annotated[bool, typer.Option("--outside", help="The copy may leave your domains.")] = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Copy what a mailbox or a domain receives or sends. Whom it concerns may have to be told."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> int:
        return await rights.add_copy(
            db, workspace_id, direction=direction, address=address, copy_to=copy_to, outside=outside, by="command line"
        )

    print(f"Rule {in_workspace(state, workspace, work)}: what is {direction} by {address} is copied to {copy_to}.")


@copies.command("remove")
def copies_remove(
    number: Annotated[int, typer.Argument(help="The rule's number, from `thurn copies list`.")],
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """End a rule."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await rights.remove_copy(db, number)

    in_workspace(state, workspace, work)
    print("No more copies are made by this rule.")
