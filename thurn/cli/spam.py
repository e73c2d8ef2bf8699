"""Commands for the quarantine and for what domains and mailboxes wish of the spam filter."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, service
from thurn.settings import Settings
from thurn.spam import delivery, preferences, quarantine
from thurn.spam.reasons import reasons
from thurn.spam.senders import Listed

held = typer.Typer(no_args_is_help=True, help="Mail that was refused as spam and is held for its recipients.")
spam = typer.Typer(no_args_is_help=True, help="What a domain or a mailbox wishes to happen with spam.")

HeldId = Annotated[int, typer.Argument(help="Its number, from `thurn quarantine list`.", min=1, max=2**62)]
Of = Annotated[str, typer.Argument(help="A domain (brotzeit.example) or a mailbox (anna@brotzeit.example).")]
Points = Annotated[int | None, typer.Option(min=1, max=1000, help="Points; 1000: never.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(held, name="quarantine")
    app.add_typer(spam, name="spam")


@held.command("list")
def held_list(
    mailbox: Annotated[str, typer.Option("--mailbox", help="Only of this mailbox.")] = "",
    query: Annotated[str, typer.Option("--search", help="Part of sender or subject.")] = "",
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """List the newest 100 that are held."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> list[dict[str, Any]]:
        box = (await mailboxes.get_mailbox(db, mailbox))["id"] if mailbox else None
        shown = ("id", "at", "address", "header_from", "mail_from", "subject", "score", "required")
        return [
            {name: row[name] for name in shown}
            | {"reasons": [each.text for each in reasons(row["symbols"], header_from=row["header_from"])]}
            for row in await quarantine.held(db, box, query=query, limit=100)
        ]

    rows = in_workspace(state, workspace, work)
    lines = [
        f"{row['id']:>6}  {row['at']:%d %b %H:%M}  for {row['address']}\n"
        f"        {row['subject'] or '(no subject)'}, from {row['header_from'] or row['mail_from'] or 'nobody'}\n"
        f"        {row['reasons'][0]}"
        for row in rows
    ]
    emit(rows, as_json, "\n".join(lines) or "Nothing is held.")


@held.command("release")
def held_release(held_id: HeldId, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Put a held mail into the inbox it was for; the filter learns that it is no spam."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> str:
        return str((await delivery.release(db, settings, held_id))["address"])

    address = in_workspace(state, workspace, work)
    emit({"address": address}, as_json, f"It is in the inbox of {address}.")


@held.command("delete")
def held_delete(held_id: HeldId, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Delete a held mail for good."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await quarantine.get(db, held_id)
        await quarantine.delete(db, [held_id])

    in_workspace(state, workspace, work)
    emit({"deleted": held_id}, as_json, "It is deleted.")


@spam.command("show")
def spam_show(of: Of, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Say what happens with spam."""
    _show(of, as_json, state, workspace)


@spam.command("set")
def spam_set(
    of: Of,
    junk_at: Points = None,
    refuse_at: Points = None,
    greylist: Annotated[bool | None, typer.Option(help="Ask suspicious senders to come again.")] = None,
    digest: Annotated[bool | None, typer.Option(help="A daily list of what is newly held.")] = None,
    digest_hour: Annotated[int | None, typer.Option(min=0, max=23, help="When it is sent.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget own wishes first.")] = False,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Change what happens with spam; what is left out stays."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        domain_id, mailbox_id = await _find(db, of)
        own = preferences.Preferences() if reset else (await preferences.get(db, domain_id, mailbox_id))[0]
        given = {"junk_at": junk_at, "refuse_at": refuse_at, "greylist": greylist, "digest": digest,
                 "digest_hour": digest_hour}  # fmt: skip
        wish = replace(own, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        await preferences.put(db, workspace_id, domain_id, mailbox_id, wish=wish)

    in_workspace(state, workspace, work)
    _show(of, as_json, state, workspace)


Sender = Annotated[str, typer.Argument(help="An address, a domain, or *.domain for all below it.")]


@spam.command("allow")
def spam_allow(of: Of, sender: Sender, state: State = None, workspace: Workspace = "main") -> None:
    """Always let a sender in, if DKIM, SPF or DMARC prove that it is them."""
    print(f"{_list(of, sender, 'allow', state, workspace)} is always let in, if it is really them.")


@spam.command("block")
def spam_block(of: Of, sender: Sender, state: State = None, workspace: Workspace = "main") -> None:
    """Always refuse a sender."""
    print(f"{_list(of, sender, 'block', state, workspace)} is always refused.")


@spam.command("forget")
def spam_forget(of: Of, sender: Sender, state: State = None, workspace: Workspace = "main") -> None:
    """Take a sender off the list."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        domain_id, mailbox_id = await _find(db, of)
        await preferences.remove_sender(db, domain_id, mailbox_id, sender=sender)

    in_workspace(state, workspace, work)
    print(f"{sender} is judged as anybody.")


def _list(of: str, sender: str, verdict: Listed, state: Path | None, workspace: str) -> str:
    async def work(db: Connection, workspace_id: int, settings: Settings) -> str:
        domain_id, mailbox_id = await _find(db, of)
        return await preferences.add_sender(db, workspace_id, domain_id, mailbox_id, sender=sender, verdict=verdict)

    return in_workspace(state, workspace, work)


def _show(of: str, as_json: bool, state: Path | None, workspace: str) -> None:
    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        domain_id, mailbox_id = await _find(db, of)
        own, effective = await preferences.get(db, domain_id, mailbox_id)
        senders = await preferences.senders(db, domain_id, mailbox_id)
        return {"own": asdict(own), "effective": asdict(effective), "outcome": preferences.outcome(effective),
                "senders": [{"sender": each["sender"], "verdict": each["verdict"]} for each in senders]}  # fmt: skip

    said = in_workspace(state, workspace, work)
    lines = [*said["outcome"], *(f"{each['verdict']:5} {each['sender']}" for each in said["senders"])]
    emit(said, as_json, "\n".join(lines))


async def _find(db: Connection, of: str) -> tuple[int, int | None]:
    """Domain and mailbox (None: the whole domain) that an argument names."""
    if "@" in of:
        row = await mailboxes.get_mailbox(db, of)
        return row["domain_id"], row["id"]
    return (await service.get_domain(db, of))["id"], None
