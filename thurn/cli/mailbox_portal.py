"""`thurn mailbox …`: what its owner does in the portal, for administrators."""

import sys
from datetime import date, datetime
from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, Workspace, emit, in_workspace
from thurn.db.connect import Connection
from thurn.mailhost.mailboxes import get_mailbox
from thurn.portal import changes, filters, sessions, two_factor
from thurn.portal.sieve import Absence
from thurn.settings import Settings

Address = Annotated[str, typer.Argument(help="The address, for example anna@brotzeit.example.")]


def add_to(mailbox: typer.Typer) -> None:
    """Add the commands to `thurn mailbox`."""
    mailbox.command("reset-two-factor")(reset_two_factor)
    mailbox.command("sign-out")(sign_out)
    mailbox.command("absence")(absence)


def reset_two_factor(
    address: Address, as_json: Json = False, state: State = None, workspace: Workspace = "main"
) -> None:
    """Turn two-factor off for somebody who lost the phone. Make sure that it is they who ask; the owner is told."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await get_mailbox(db, address)
        await two_factor.turn_off(db, workspace_id, row["id"], by_admin=True)
        return {"address": row["address"], "two_factor": False}

    _say(state, workspace, work, as_json, "Two-factor is off. The owner sees that under Security.")


def sign_out(address: Address, as_json: Json = False, state: State = None, workspace: Workspace = "main") -> None:
    """Sign everybody out of the portal and webmail. Passwords stay: see also `thurn mailbox password`."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await get_mailbox(db, address)
        ended = await sessions.end_others(db, row["id"])
        await changes.note(db, workspace_id, row["id"], "Everybody was signed out", by_admin=True)
        return {"address": row["address"], "ended": ended}

    _say(state, workspace, work, as_json, "Everybody is signed out.")


def absence(
    address: Address,
    off: Annotated[bool, typer.Option("--off", help="Turn the absence reply off.")] = False,
    text: Annotated[str, typer.Option("--text", help="What to answer; “-” reads it from standard input.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="Empty: “Auto:” and theirs.")] = "",
    first_day: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")] = None,
    last_day: Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day.")] = None,
    as_json: Json = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Show a mailbox's absence reply, or with --text or --off change it."""
    body = sys.stdin.read() if text == "-" else text

    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any]:
        row = await get_mailbox(db, address)
        now = await filters.absence(db, row["id"])
        if off or body:
            kept = now.every_days
            new = Absence(True, _day(first_day), _day(last_day), subject, body, kept)
            if off:
                new = Absence(False, now.first_day, now.last_day, now.subject, now.body, kept)
            await filters.put_absence(db, workspace_id, row["id"], new)
            await changes.note(db, workspace_id, row["id"], "The absence reply was changed", by_admin=True)
            await filters.publish(db, settings, row["id"])
            now = await filters.absence(db, row["id"])
        return {
            "address": row["address"], "active": now.active, "first_day": now.first_day, "last_day": now.last_day,
            "subject": now.subject, "body": now.body, "every_days": now.every_days,
            "in_force": not await filters.pending(db, row["id"]),
            "status": filters.in_words(now, date.today()),  # noqa: DTZ011 - as Dovecot
        }  # fmt: skip

    _say(state, workspace, work, as_json, "{status}\n{body}")


def _day(given: datetime | None) -> date | None:
    return given.date() if given else None


def _say(state: Any, workspace: str, work: Any, as_json: bool, text: str) -> None:
    done: dict[str, Any] = in_workspace(state, workspace, work)
    emit(done, as_json, text.replace("{status}", str(done.get("status"))).replace("{body}", str(done.get("body"))))
