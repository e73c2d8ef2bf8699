"""`thurn user` and `thurn api-key`: who may sign in, and keys for programs."""

import sys
from typing import Annotated

import typer

from thurn.accounts import passwords
from thurn.accounts.service import create_account, create_api_key
from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.settings import Settings

Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Name = Annotated[str, typer.Option("--name", help="The person's name.")]
KeyName = Annotated[str, typer.Option("--name", help="What the key is for.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    user = typer.Typer(no_args_is_help=True, help="People who sign in to the web interface.")
    user.command("create")(user_create)
    app.add_typer(user, name="user")
    key = typer.Typer(no_args_is_help=True, help="Keys for programs that use the API.")
    key.command("create")(key_create)
    app.add_typer(key, name="api-key")


def user_create(
    email: str,
    name: Name = "",
    password_stdin: Stdin = False,
    state: State = None,
    as_json: Json = False,
    workspace: Workspace = "main",
) -> None:
    """Create an account that owns the workspace. Its password is generated and shown once, or read."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else passwords.generate()

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[int, str]:
        account = await create_account(db, email=email, name=name, password=password, workspace=workspace_id)
        return account, f"{settings.url}/sign-in"

    account, url = in_workspace(state, workspace, work)
    data: dict[str, object] = {"id": account, "email": email, "url": url}
    text = f"{email} can sign in at {url}"
    if not password_stdin:
        data["password"] = password
        text += f"\nPassword, shown this once: {password}"
    emit(data, as_json, text)


def key_create(
    name: KeyName = "command line", state: State = None, as_json: Json = False, workspace: Workspace = "main"
) -> None:
    """Create an API key. It is shown once: Thurn keeps only its hash."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[int, str, str]:
        number, key = await create_api_key(db, workspace_id, name)
        return number, key, f"{settings.url}/api/v1"

    number, key, url = in_workspace(state, workspace, work)
    emit({"id": number, "key": key, "url": url}, as_json, f"{key}\nShown this once. The API is at {url}.")
