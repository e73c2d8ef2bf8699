"""Commands of the group feedback."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.settings import Settings

_WORDS = {
    "bounce": "A bounce: the mail was not delivered.",
    "delayed": "A notice of delay: the other server keeps trying. Thurn changes nothing.",
    "delivered": "A notice of success. Thurn changes nothing.",
    "complaint": "A complaint: the recipient called the mail unwanted.",
    "auto-reply": "An automatic reply. Thurn changes nothing.",
    "reply": "A person answers. Thurn changes nothing.",
    "dmarc": "A DMARC report about a domain.",
    "tlsrpt": "A report about TLS with a domain (RFC 8460).",
    "other": "Neither a bounce nor a complaint. Thurn changes nothing.",
}
_ACTIONS = {
    "suppress": "this address gets no more mail",
    "retry": "the address stays; the next mail is tried as usual",
    "slow": "the address stays; Thurn sends less to this provider",
    "stop": "the address stays; the sender has to change something first",
    "": "nothing",
}


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(no_args_is_help=True, help="What comes back: bounces, complaints, replies.")
    group.command("explain")(explain)
    group.command("list")(list_)
    group.command("show")(show)
    app.add_typer(group, name="feedback")


def explain(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR|-", help="A mail, a folder of mails (one answer for each), or - for standard input."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say what a mail that came back means, or a line that a mail server said. Needs no running Thurn.

    thurn feedback explain bounce.eml

    echo "550 5.1.1 User unknown" | thurn feedback explain -
    """
    for explained in _explain(source):
        print(json.dumps(explained, ensure_ascii=False) if as_json else _in_words(explained))


def _explain(source: str) -> Iterator[dict[str, Any]]:
    from thurn.feedback.explain import explain as read  # the other commands start faster without it
    from thurn.feedback.explain import explain_file
    from thurn.feedback.mime import LONGEST

    if source == "-":
        yield read(sys.stdin.buffer.read(LONGEST), "-")
        return
    path, unread = Path(source), 0
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    except OSError as error:
        fail(f"{source} cannot be read: {error.strerror}.")
    for file in files:
        try:
            yield explain_file(file)
        except OSError as error:
            unread += 1
            print(f"{file} cannot be read: {error.strerror}.", file=sys.stderr)
    if unread:
        raise typer.Exit(1)


def _in_words(explained: dict[str, Any]) -> str:
    lines = [f"{explained['file']}: {_WORDS[explained['kind']]}"] if "kind" in explained else []
    for said in explained.get("recipients", [explained]):
        who = f"  {said['address']}: " if said.get("address") else "  "
        lines.append(f"{who}{said['category']}, {'hard' if said['hard'] else 'soft'}: {_ACTIONS[said['action']]}.")
        if said["diagnostic"]:
            lines.append(f"    {said['diagnostic'][:200]}")
    return "\n".join(lines)


def list_(
    query: Annotated[str, typer.Option("--search", help="Part of an address or a subject.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="bounce, complaint, reply, unsubscribe, delayed …")] = "",
    unmatched: Annotated[bool, typer.Option("--unmatched", help="Only what belongs to no mail of ours.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """List the newest 200 mails that came back, and what Thurn made of each."""
    from thurn.feedback import returned  # `explain` starts without a database

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        page = await returned.returned_page(
            db, operator=workspace == "main", unmatched=unmatched or None, query=query, kind=kind, limit=200
        )
        return page.items

    found = in_workspace(state, workspace, work)
    lines = [
        f"{row['id']:>6}  {row['received_at']:%Y-%m-%d %H:%M}  {row['kind']}"
        f"{': ' + row['category'] if row['category'] else ''}  about {row['recipient'] or 'nobody'}\n"
        f"        {row['effect'] or row['summary']}"
        for row in found
    ]
    emit(found, as_json, "\n".join(lines) or "Nothing came back.")


def show(
    number: Annotated[int, typer.Argument(help="Its number, from `thurn feedback list`.", min=1, max=2**62)],
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Show one of them, with the mail as it came."""
    from thurn.feedback import returned

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await returned.get(db, number, operator=workspace == "main")
        return {**row, "raw": returned.source(row["raw"])}

    row = in_workspace(state, workspace, work)
    head = [f"{name}: {row[name]}" for name in ("received_at", "kind", "address", "sender", "recipient", "campaign")]
    emit(row, as_json, "\n".join([row["effect"] or row["summary"], *head, "", row["raw"] or "The mail is not kept."]))
