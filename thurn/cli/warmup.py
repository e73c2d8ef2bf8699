"""Commands for warm-up: how much a new sending address sends each day."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar, cast

import typer

from thurn.cli.common import Json, State, emit, in_house
from thurn.db.connect import Connection
from thurn.delivery.providers import book
from thurn.warmup import api, outlook, service
from thurn.warmup.curve import parse
from thurn.warmup.schemas import WarmupOut, WarmupWhen

T = TypeVar("T")

warmup = typer.Typer(no_args_is_help=True, help="A new sending address sends a little more each day.")

Egress = Annotated[str, typer.Argument(help="The sending address, for example out2.")]
Provider = Annotated[str, typer.Argument(help="The provider, for example google.")]
Everywhere = Annotated[str, typer.Argument(help="The provider; left out: all.")]
CurveText = Annotated[str, typer.Option("--curve", help="`50 x 1.4 to 100000`, or a cap for each day: `50,100,200`.")]
Above = Annotated[str, typer.Option("--overflow", help="What is above the cap: pool or wait.")]
WHO = "command line"


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(warmup, name="warmup")


@warmup.command("list")
def list_plans(as_json: Json = False, state: State = None) -> None:
    """List every plan: state, day of its curve, today's cap, sent, left, why."""
    found = _run(state, service.listed)
    emit({"plans": [_data(row) for row in found]}, as_json, "\n".join(map(_line, found)) or "No address is warmed up.")


@warmup.command("start")
def start(
    egress: Egress,
    providers: Annotated[list[str] | None, typer.Option("--provider", help="Only here; may be repeated.")] = None,
    curve: CurveText = "",
    overflow: Above = "pool",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Warm an address up, at every provider of the book."""

    async def work(db: Connection) -> list[dict[str, Any]]:
        return await service.start(
            db, egress, curve=parse(curve) if curve else None, providers=providers or service.EVERY,
            overflow=cast("service.Overflow", overflow), who=WHO,
        )  # fmt: skip

    made = _run(state, work)
    emit({"plans": [_data(row) for row in made]}, as_json, "\n".join(map(_line, made)))


@warmup.command("show")
def show(egress: Egress, provider: Provider, as_json: Json = False, state: State = None) -> None:
    """Show a plan day by day: what was sent, what came of it, what was decided and why."""

    async def work(db: Connection) -> dict[str, Any]:
        row = await service.get(db, egress, provider)
        return {"line": _line(row), "full": (await api.full(db, row)).model_dump(mode="json")}

    found = _run(state, work)
    full = found["full"]
    lines = [found["line"], "Curve: " + ", ".join(f"{cap:,}" for cap in full["curve"])]
    lines += [
        f"{day['day']}  cap {day['cap'] or 0:>8,}  sent {day['sent']:>8,}  delivered {day['delivered']:>8,}  "
        f"bounced {day['bounced']:,}  put off {day['put_off']:,}  complaints {day['complained']:,}"
        for day in full["days"]
    ]
    lines += [f"{deed['at'][:16]}  {deed['what']}: {deed['why']}" for deed in full["deeds"]]
    emit(full, as_json, "\n".join(lines))


@warmup.command("set")
def set_plan(
    egress: Egress,
    provider: Provider,
    curve: CurveText = "",
    step: Annotated[int | None, typer.Option("--day", help="The day of the curve that counts now.")] = None,
    overflow: Annotated[str | None, typer.Option("--overflow", help="What is above the cap: pool or wait.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Change the curve, the day of it that counts, or what happens above the cap."""

    async def work(db: Connection) -> dict[str, Any]:
        return await service.change(
            db, egress, provider, curve=parse(curve) if curve else None, step=step,
            overflow=cast("service.Overflow | None", overflow), who=WHO,
        )  # fmt: skip

    row = _run(state, work)
    emit(_data(row), as_json, _line(row))


@warmup.command("pause")
def pause(egress: Egress, provider: Everywhere = "", as_json: Json = False, state: State = None) -> None:
    """Hold at today's cap until somebody goes on."""
    _act(state, egress, provider, service.pause, as_json, "Paused: it goes on sending up to its cap and does not grow.")


@warmup.command("resume")
def resume(egress: Egress, provider: Everywhere = "", as_json: Json = False, state: State = None) -> None:
    """Go on; what was answered until now is forgiven."""
    _act(state, egress, provider, service.resume, as_json, "It goes on.")


@warmup.command("stop")
def stop(egress: Egress, provider: Everywhere = "", as_json: Json = False, state: State = None) -> None:
    """End it: no cap from now on."""
    _act(state, egress, provider, service.stop, as_json, "Stopped. There is no cap any more.")


@warmup.command("when")
def when(
    n: Annotated[int | None, typer.Argument(help="How many recipients.")] = None,
    list_id: Annotated[int | None, typer.Option("--list", help="Or the members of this list.")] = None,
    campaign: Annotated[int | None, typer.Option("--campaign", help="Or who waits in this campaign.")] = None,
    pool: Annotated[str, typer.Option("--pool", help="Else the campaign's, or `default`.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Tell when they will have gone out, by provider and by day."""

    async def work(db: Connection) -> WarmupWhen:
        return api.when_of(await outlook.ask(db, n=n, list_id=list_id, campaign=campaign, pool=pool))

    found = _run(state, work)
    lines = [
        f"{each.recipients:>12,}  {_title(each.provider):24} "
        + (f"{each.until:%a %Y-%m-%d %H:%M} UTC" if each.until else f"not within 400 days: {each.left:,} are left")
        for each in found.providers
    ]
    lines += [f"{day.day:%a %Y-%m-%d}  {day.total:>12,}" for day in found.days]
    if not found.shares_known:
        lines.append("Nothing was sent yet: how they are shared among providers is assumed.")
    emit(found.model_dump(mode="json"), as_json, "\n".join(lines))


def _act(state: State, egress: str, provider: str, act: Any, as_json: bool, said: str) -> None:
    async def work(db: Connection) -> int:
        if not provider:
            return await service.of_all(db, egress, act, who=WHO)
        await act(db, egress, provider, who=WHO)
        return 1

    emit({"egress": egress, "plans": _run(state, work)}, as_json, said)


def _run(state: State, work: Callable[[Connection], Awaitable[T]]) -> T:
    return in_house(state, lambda db, _: work(db))


def _title(provider: str) -> str:
    known = book().get(provider)
    return known.title if known else provider


def _data(row: dict[str, Any]) -> dict[str, Any]:
    return WarmupOut(**row).model_dump(mode="json")


def _line(row: dict[str, Any]) -> str:
    where = f"{row['egress']:8} {row['provider']:10} {row['state']:8} day {row['step']:>3} of {row['days']:<3}"
    today = f"{row['sent']:>8,} of {row['cap']:>9,} today" if row["left"] is not None else f"{'no cap':>26}"
    return f"{where} {today}  {row['reason']}".rstrip()
