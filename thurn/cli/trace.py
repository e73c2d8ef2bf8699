"""The command `trace`."""

from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.trace import search
from thurn.trace.route import WORDS, route


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(trace)


def trace(
    query: Annotated[
        str, typer.Argument(metavar="ADDRESS|ID", help="An address, @domain, a Message-ID or a queue id.")
    ],
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 10,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Say what became of a mail, newest first, in the servers' own words. Exit code 1 when nothing is found."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> tuple[list[Any], list[Any]]:
        found = await search.find(db, search.Wanted(query), limit=limit)
        numbers = dict.fromkeys(row["trace_id"] for row in found)
        mails = [await search.message(db, number) for number in numbers]
        return mails, await search.campaign_mails(db, query, limit=limit)

    mails, campaigns = in_workspace(state, workspace, work)
    text = [_mail(mail) for mail in mails] + [_campaign_mail(mail) for mail in campaigns]
    emit({"mails": mails, "campaigns": campaigns}, as_json, "\n\n".join(text) or "Nothing is known of it.")
    if not mails and not campaigns:
        raise typer.Exit(1)


def _mail(mail: dict[str, Any]) -> str:
    lines = [f"{mail['at'].astimezone():%Y-%m-%d %H:%M:%S}  {mail['queue_id']}  {mail['sender'] or '<>'}"]
    lines += [f"  {WORDS[r['state']]:10} {r['recipient']}" for r in mail["recipients"]]
    for stop in route(mail):
        lines.append(f"    {stop.at.astimezone():%H:%M:%S}  {stop.title}. {stop.text}".rstrip())
        lines += [f"              {stop.reply}"] if stop.reply else []
    return "\n".join(lines)


def _campaign_mail(mail: dict[str, Any]) -> str:
    reply = f"\n    {mail['reply']}" if mail["reply"] else ""
    return f"{mail['at'].astimezone():%Y-%m-%d %H:%M:%S}  campaign “{mail['campaign']}”  {mail['state']}{reply}"
