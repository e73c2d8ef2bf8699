"""`thurn campaign create|send|status|pace|pause|resume|cancel`."""

import asyncio
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from thurn.campaigns import pace as pacing
from thurn.campaigns import service
from thurn.campaigns.progress import progress, reasons
from thurn.cli.common import Json, State, Workspace, emit, fail, in_workspace
from thurn.content.program import TemplateError
from thurn.content.service import create_template
from thurn.db.connect import Connection
from thurn.problems import Invalid
from thurn.settings import Settings

campaign = typer.Typer(no_args_is_help=True, help="Make campaigns, send them, see how far they are.")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(campaign, name="campaign")


@campaign.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it; readers don't see it.")],
    sender: Annotated[str, typer.Option("--from", help="`Name <address>` or an address of one of your domains.")],
    lists: Annotated[list[str], typer.Option("--list", help="Who gets it: the name of a list; may be repeated.")],
    template: Annotated[str, typer.Option(help="Name of a template that is there.")] = "",
    subject: Annotated[str, typer.Option(help="With --html or --markdown: the subject.")] = "",
    html: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Make the template from a file.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The same, in Markdown.")] = None,
    reply_to: Annotated[str, typer.Option(help="Where answers go, if not to the sender.")] = "",
    state: State = None,
    workspace: Workspace = "main",
    as_json: Json = False,
) -> None:
    """Make a draft. Nothing is sent."""
    from_name, from_address = _sender(sender)

    async def work(db: Connection, workspace_id: int, settings: Settings) -> int:
        rows = await (await db.execute("SELECT id, name FROM list WHERE name = ANY(%s)", [lists])).fetchall()
        if missing := set(lists) - {row["name"] for row in rows}:
            fail(f"There is no list “{min(missing)}”. Make it with: thurn import FILE --list NAME")
        source = html or markdown
        if source is not None:
            kind = "html" if html else "markdown"
            template_id = await create_template(
                db, workspace_id, name=template or name, kind=kind, subject=subject, source=source.read_text()
            )
        else:
            row = await (await db.execute("SELECT id FROM template WHERE name = %s", [template])).fetchone()
            if row is None:
                fail(f"There is no template “{template}”. Give the mail with --html FILE or --markdown FILE.")
            template_id = row["id"]
        return await service.create(
            db,
            workspace_id,
            name=name,
            from_name=from_name,
            from_address=from_address,
            reply_to=reply_to,
            template_id=template_id,
            list_ids=[row["id"] for row in rows],
        )

    try:
        number = in_workspace(state, workspace, work)
    except TemplateError as error:
        fail(f"The template has a mistake in line {error.line}: {error}")
    emit({"campaign": number}, as_json, f"Campaign {number} is made. Send it with: thurn campaign send {number}")


@campaign.command()
def send(
    number: int, *, wait: bool = False, state: State = None, workspace: Workspace = "main", as_json: Json = False
) -> None:
    """Check everything and send it; with --wait, stay until every recipient has an outcome."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> None:
        await service.launch(db, workspace_id, number, settings)

    try:
        _change(state, workspace, number, work)
    except service.Refused as refused:
        bad = [f for f in refused.findings if f.level == "bad"]
        if as_json:
            emit({"refused": [{"what": f.what, "why": f.why, "fix": f.fix} for f in bad]}, as_json, "")
            raise typer.Exit(1) from refused
        fail("\n".join(["Nothing was sent."] + [f"- {f.what} {f.why} {f.fix}" for f in bad]))
    while wait and not _status(state, workspace, number)["done"]:
        asyncio.run(asyncio.sleep(1))
    emit(_status(state, workspace, number), as_json, f"Campaign {number} is on its way.")


@campaign.command()
def status(number: int, *, state: State = None, workspace: Workspace = "main", as_json: Json = False) -> None:
    """How far a campaign is."""
    data = _status(state, workspace, number)
    lines = [f"{data['name']}: {data['state']} {data['state_reason']}".rstrip()]
    lines += [f"  {measure:24}{n:>10,}" for measure, n in data["tallies"].items()]
    lines += [f"  {r['n']:>6,} {r['state']} ({r['category']}): {r['reply'][:100]}" for r in data["reasons"]]
    emit(data, as_json, "\n".join(lines))


@campaign.command()
def pause(number: int, *, state: State = None, workspace: Workspace = "main") -> None:
    """Stop handing over; resume goes on where it stopped."""
    _change(state, workspace, number, lambda db, w, _: service.pause(db, w, number, "Paused on the command line."))
    print(f"Campaign {number} is paused. Go on with: thurn campaign resume {number}")


@campaign.command()
def resume(
    number: int,
    *,
    despite_guard: Annotated[bool, typer.Option("--despite-guard", help="Although the guard has paused it.")] = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """Go on with a paused campaign."""
    _change(state, workspace, number, lambda db, w, _: service.resume(db, w, number, despite_guard=despite_guard))
    print(f"Campaign {number} goes on.")


@campaign.command()
def cancel(
    number: int,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: State = None,
    workspace: Workspace = "main",
) -> None:
    """End a campaign for everybody who has not been handed over yet. Can't be taken back."""
    waiting = _status(state, workspace, number)["waiting"]
    if not yes and sys.stdin.isatty():
        typer.confirm(f"{waiting:,} people will not get it; that can't be taken back. Cancel it?", abort=True)
    _change(state, workspace, number, lambda db, w, _: service.cancel(db, w, number))
    print(f"Campaign {number} is cancelled. What was handed over before stays with the providers.")


@campaign.command()
def pace(
    number: int,
    *,
    speed: Annotated[str, typer.Option(help="At most so many mails: 500/minute, 2000/hour; `none`: no limit.")] = "",
    days: Annotated[str, typer.Option(help="Days on which mail may leave: mon-fri, `sat,sun`; `any`: always.")] = "",
    opens: Annotated[str, typer.Option("--from", help="With --days: the hour they begin.")] = "00:00",
    closes: Annotated[str, typer.Option("--until", help="With --days: the hour they end.")] = "00:00",
    zone: Annotated[str, typer.Option(help="With --days: the time zone.")] = "UTC",
    priority: Annotated[str, typer.Option(help="high, normal or low, among the campaigns of the workspace.")] = "",
    state: State = None,
    workspace: Workspace = "main",
    as_json: Json = False,
) -> None:
    """Show or change how fast, when and before whom a campaign sends; at any time."""

    async def work(db: Connection, workspace_id: int, settings: Settings) -> pacing.Pace:
        wanted = before = await pacing.get(db, number)
        if speed:
            wanted = replace(wanted, **pacing.speed_of(speed))
        if days:
            window = None if days == "any" else pacing.window_of(days, opens, closes, zone)
            wanted = replace(wanted, window=window)
        if priority:
            wanted = replace(wanted, priority=pacing.priority_of(priority))
        if wanted != before:
            await pacing.put(db, number, wanted)
        return wanted

    try:
        found = in_workspace(state, workspace, work)
    except LookupError:
        fail(f"There is no campaign {number}.")
    except Invalid as error:
        fail(str(error))
    data = asdict(found)
    if found.window is not None:
        data["window"] |= {"days": sorted(found.window.days), "opens": f"{found.window.opens:%H:%M}",
                           "closes": f"{found.window.closes:%H:%M}"}  # fmt: skip
    emit(data, as_json, f"Campaign {number}: {found.in_words() or 'as fast as it goes, at any time'}.")


def _change(state: Path | None, workspace: str, number: int, work: Any) -> None:
    try:
        in_workspace(state, workspace, work)
    except LookupError:
        fail(f"There is no campaign {number}.")
    except service.WrongState as error:
        fail(str(error))


def _status(state: Path | None, workspace: str, number: int) -> dict[str, Any]:
    async def work(db: Connection, workspace_id: int, settings: Settings) -> dict[str, Any] | None:
        row = await service.get(db, number)
        found = await progress(db, number)
        if row is None or found is None:
            return None
        return {
            "campaign": number,
            "name": row["name"],
            "state": found.state,
            "state_reason": found.state_reason,
            "done": found.done,
            "recipients": found.recipients,
            "waiting": found.waiting,
            "tallies": dict(sorted(found.tallies.items())),
            "reasons": [
                {"category": r.category, "state": r.state, "n": r.n, "reply": r.reply}
                for r in await reasons(db, number)
            ],
        }

    data = in_workspace(state, workspace, work)
    if data is None:
        fail(f"There is no campaign {number}.")
    return data


def _sender(text: str) -> tuple[str, str]:
    name, _, rest = text.rpartition("<")
    return (name.strip().strip('"'), rest.rstrip("> ")) if name or text.startswith("<") else ("", text.strip())
