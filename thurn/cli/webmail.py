"""`thurn webmail`."""

from datetime import timedelta
from typing import Annotated

import typer

from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.mailhost.mailboxes import stored
from thurn.settings import Settings
from thurn.webmail import service

_DAY = 24 * 60


def register(app: typer.Typer) -> None:
    """Add `thurn webmail …`."""
    group = typer.Typer(no_args_is_help=True, help="Reading and writing mail in the browser.")
    app.add_typer(group, name="webmail")
    group.command()(link)


def link(
    address: Annotated[str, typer.Argument(help="The mailbox.")],
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=_DAY, help="How long the link is good.")] = 5,
    state: State = None,
    workspace: Workspace = "main",
    json: Json = False,
) -> None:
    """Make a link that opens this mailbox in webmail, signed in, once, for whoever has it.

    Its owner is not asked; the sign-in shows among the mailbox's recent sign-ins as “a link made by the operator”.
    """
    url = in_workspace(state, workspace, lambda db, number, settings: _link(db, number, settings, address, minutes))
    until = (
        f"Good once, for {minutes} minute{'' if minutes == 1 else 's'}. Its use shows in the mailbox's recent sign-ins."
    )
    emit({"address": address, "url": url, "minutes": minutes}, json, f"{url}\n{until}")


async def _link(db: Connection, workspace: int, settings: Settings, address: str, minutes: int) -> str:
    found = await maybe(db, "SELECT id, enabled FROM mailbox WHERE address = %s", [stored(address)])
    if found is None:
        fail(f"There is no mailbox {address} in this workspace.")
    if not found["enabled"]:
        fail(f"The mailbox {address} is disabled: webmail would not open it. Enable it first.")
    token = await service.link(db, workspace, found["id"], lasts=timedelta(minutes=minutes))
    return f"{settings.webmail_url}/?_task=login&_thurn={token}"
