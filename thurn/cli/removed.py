"""`thurn mailbox …`: removing a mailbox, and what can be done about a removed one."""

from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.cli.mailhost import Address, mailbox
from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, removed
from thurn.settings import Settings
from thurn.web.words import count, size

Destroy = Annotated[bool, typer.Option("--destroy-mail", help="Destroy its mail now instead of in 30 days.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Number = Annotated[int | None, typer.Option("--number", help="Which, as listed; else the one removed last.")]


@mailbox.command("remove")
def mailbox_remove(
    address: Address, destroy: Destroy = False, yes: Yes = False, state: State = None, workspace: Workspace = "main"
) -> None:
    """Close a mailbox. Its mail is kept for 30 days, in which it can be restored."""

    async def look(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        return await mailboxes.get_mailbox(db, address)

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await mailboxes.remove_mailbox(db, address, destroy=destroy)

    row = in_workspace(state, workspace, look)
    mails = mails_of(row["messages_used"] or 0, row["bytes_used"] or 0)
    if not yes:
        fate = f"{mails} are destroyed" if destroy else f"{mails} are kept for {removed.DAYS} days"
        typer.confirm(f"Remove {row['address']}? Nobody can sign in, new mail is refused, and {fate}.", abort=True)
    in_workspace(state, workspace, work)
    print(f"{row['address']} is removed. {fate_of(mails, row['address'], destroy=destroy)}")


@mailbox.command("removed")
def mailbox_removed(as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """List removed mailboxes whose mail is still here."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while rows := await removed.page(db, after=removed.place_of(found[-1]) if found else None, limit=500):
            found += rows
        return found

    rows = in_workspace(state, workspace, work)
    lines = [
        f"{row['id']:>6}  until {row['destroy_at']:%Y-%m-%d}  {size(row['bytes']):>9}  {row['address']}" for row in rows
    ]
    emit(rows, as_json, "\n".join(lines) or "None.")


@mailbox.command("restore")
def mailbox_restore(
    address: Address, number: Number = None, as_json: Json = False, state: State = None, workspace: Workspace = "main"
) -> None:
    """Bring a removed mailbox back with its mail, password and aliases."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await (removed.newest(db, address) if number is None else removed.get(db, number))
        return {"address": await removed.restore(db, row["id"])}

    done = in_workspace(state, workspace, work)
    emit(done, as_json, f"{done['address']} is back.")


@mailbox.command("destroy")
def mailbox_destroy(
    address: Address, number: Number = None, yes: Yes = False, state: State = None, workspace: Workspace = "main"
) -> None:
    """Destroy the mail of a removed mailbox now."""

    async def look(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        return await (removed.newest(db, address) if number is None else removed.get(db, number))

    row = in_workspace(state, workspace, look)
    if not yes:
        mails = mails_of(row["messages"], row["bytes"])
        typer.confirm(f"Destroy {mails} of {row['address']}? Nobody can bring them back.", abort=True)

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await removed.destroy(db, row["id"])

    in_workspace(state, workspace, work)
    print(f"The mail of {row['address']} is being destroyed.")


def mails_of(messages: int, octets: int) -> str:
    """How much that is, in words."""
    return f"{count(messages, 'mail', 'mails')}, {size(octets)}"


def fate_of(mails: str, address: str, *, destroy: bool) -> str:
    """What becomes of the mail of what was removed."""
    if destroy:
        return f"Its mail ({mails}) is being destroyed."
    return f"Its mail ({mails}) is kept for {removed.DAYS} days. To bring it back: thurn mailbox restore {address}"
