"""`thurn queue list|hold|release|retry`: what waits to be sent."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from thurn.cli.common import Json, State, emit, fail, in_house
from thurn.db.connect import Connection
from thurn.queue import service

T = TypeVar("T")

queue = typer.Typer(no_args_is_help=True, help="What waits to be sent: look, hold and release, try again now.")

Provider = Annotated[str, typer.Option("--provider", help="Only this provider, for example gmx.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(queue, name="queue")


@queue.command("list")
def queue_list(as_json: Json = False, state: State = None) -> None:
    """Show what waits, where and why."""
    found = _run(state, service.look)
    lines = [f"held     {_held(each)}  (release {each.id})" for each in found.holds]
    lines += [
        f"waiting  {each.waiting:>9,}  {each.provider:12} {each.campaign} ({each.workspace}), "
        f"{'held' if each.held else each.state}, {each.priority} priority"
        for each in found.waiting
    ]
    for lane in found.lanes:
        lines.append(
            f"postfix  {lane.on_the_way:>9,}  {lane.provider:12} from {lane.egress}, {lane.retrying:,} retrying, "
            f"{lane.per_minute:,} delivered in the last minute"
        )
        lines += [f"         {reason.mails:>9,}  {reason.category}: {reason.reply[:100]}" for reason in lane.reasons]
    emit(service.as_data(found), as_json, "\n".join(lines) or "Nothing waits.")


@queue.command("hold")
def queue_hold(
    provider: Provider = "",
    workspace: Annotated[str, typer.Option("--workspace", help="Only this workspace, by its short name.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever finds it later.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Hold campaigns back: all, those of a workspace, to a provider, or both. What Postfix has of them waits, too."""

    async def work(db: Connection) -> int:
        number = None
        if workspace:
            row = await (await db.execute("SELECT id FROM workspace WHERE slug = %s", [workspace])).fetchone()
            if row is None:
                fail(f"There is no workspace “{workspace}”.")
            number = row["id"]
        return await service.hold(db, workspace=number, provider=provider or None, reason=reason)

    made = _run(state, work)
    emit({"id": made}, as_json, f"Held. Let it go on with: thurn queue release {made}")


@queue.command("release")
def queue_release(number: int, as_json: Json = False, state: State = None) -> None:
    """Let something go on that was held; its number is in the list."""
    _run(state, lambda db: service.release(db, number))
    emit({"id": number}, as_json, "Released.")


@queue.command("retry")
def queue_retry(provider: Provider = "", as_json: Json = False, state: State = None) -> None:
    """Try mail that providers put off again now, not when its time comes."""
    _run(state, lambda db: service.retry(db, provider=provider or None))
    emit({"provider": provider or None}, as_json, "Within two seconds it is tried again.")


def _held(hold: service.Hold) -> str:
    return f"{hold.workspace or 'every workspace'}, {hold.provider or 'every provider'} {hold.reason}".rstrip()


def _run(state: State, work: Callable[[Connection], Awaitable[T]]) -> T:
    return in_house(state, lambda db, _: work(db))
