"""Commands for shaping: what providers' replies do to the pace at which they get mail."""

import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from thurn.campaigns import guard
from thurn.cli.common import Json, State, emit, fail, in_workspace
from thurn.db.connect import Connection
from thurn.shaping import api, guard_api, service
from thurn.shaping.rules import Rule

T = TypeVar("T")

shaping = typer.Typer(no_args_is_help=True, help="How fast each provider gets mail, and what holds it back.")
rules = typer.Typer(no_args_is_help=True, help="What a reply of a provider means for how we send.")
shaping.add_typer(rules, name="rules")
guards = typer.Typer(no_args_is_help=True, help="Pauses campaigns that bounce or are called spam too often.")
shaping.add_typer(guards, name="guard")

Egress = Annotated[str, typer.Argument(help="The sending address, for example e1.")]
Slug = Annotated[str, typer.Argument(help="The workspace.")]
Provider = Annotated[str, typer.Argument(help="The provider, for example google.")]
RuleFile = Annotated[Path, typer.Argument(help="A TOML file with one rule, as in docs/operate/shaping.md.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(shaping, name="shaping")


@shaping.command("status")
def status(as_json: Json = False, state: State = None) -> None:
    """List each sending address at each provider: state, pace, why, until when."""

    async def work(db: Connection) -> list[dict[str, Any]]:
        return [lane.model_dump() for lane in (await api.list_lanes(db)).items]

    found = _run(state, work)
    lines = []
    for lane in found:
        where = f"{lane['egress']:8} {lane['provider']:10} {lane['state']:9} {lane['factor']:4.0%}"
        lines.append(f"{where}  {lane['reason']} {lane['todo']}".rstrip())
        if lane["evidence"]:
            lines.append(f"{'':20}{lane['evidence']}")
        if lane["until"]:
            lines.append(f"{'':20}until {lane['until']:%Y-%m-%d %H:%M %Z}")
    emit({"lanes": found}, as_json, "\n".join(lines) or "Nothing was sent within an hour, and nothing is held back.")


@shaping.command("hold")
def hold(
    egress: Egress,
    provider: Provider,
    minutes: Annotated[int | None, typer.Option("--minutes", help="For how long; else until it is lifted.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for your colleagues.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Send nothing from an address to a provider; its mail waits."""

    async def work(db: Connection) -> None:
        await service.hold(db, egress, provider, minutes=minutes, reason=reason, who="command line")

    _run(state, work)
    until = f"for {minutes} minutes" if minutes else "until you lift it"
    emit({"egress": egress, "provider": provider}, as_json, f"Nothing goes from {egress} to {provider} {until}.")


@shaping.command("lift")
def lift(egress: Egress, provider: Provider, as_json: Json = False, state: State = None) -> None:
    """Send at full pace again; replies until now count no more."""

    async def work(db: Connection) -> None:
        await service.lift(db, egress, provider, who="command line")

    _run(state, work)
    emit({"egress": egress, "provider": provider}, as_json, f"Mail goes from {egress} to {provider} as before.")


@shaping.command("try")
def try_out(
    name: Annotated[str | None, typer.Option("--rule", help="One rule that is there; else all that are on.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A TOML file with a rule that is not there yet.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Dry run over the replies of the last 24 hours: what would have fitted and happened. Changes nothing."""

    async def work(db: Connection) -> list[dict[str, Any]]:
        if file is not None:
            wanted = [_read(file)]
            service.check(wanted[0])
        elif name:
            wanted = [await service.find(db, name)]
        else:
            wanted = [each.rule for each in await service.listed(db) if each.on]
        tried = await service.try_out(db, wanted)
        return [api.tried_out(each.egress, each.provider, each.rehearsal).model_dump() for each in tried]

    found = _run(state, work)
    lines = []
    for t in found:
        lines.append(f"{t['rule']}  {t['egress']} to {t['provider']}: fits {t['fitted']:,} of {t['of']:,} answers")
        lines += [f"    {d['at']:%H:%M:%S} {d['action']} after {d['n']} of {d['of']}" for d in t["deeds"]]
        lines += [f"    {r['n']:,} x {r['reply']}" for r in t["replies"]]
    emit({"tried": found}, as_json, "\n".join(lines) or "Nothing of the last 24 hours fits.")


@rules.command("list")
def list_rules(as_json: Json = False, state: State = None) -> None:
    """List every rule."""

    async def work(db: Connection) -> list[dict[str, Any]]:
        return [rule.model_dump() for rule in (await api.list_shaping_rules(db)).items]

    found = _run(state, work)
    text = "\n".join(
        f"{'on ' if r['on'] else 'off'} {'own' if r['own'] else '   '} {r['name']:28} {r['action']:8} "
        f"{r['count']} in {r['period']} min, {','.join(r['provider']) or 'every provider'}"
        for r in found
    )
    emit({"rules": found}, as_json, text)


@rules.command("add")
def add_rule(file: RuleFile, as_json: Json = False, state: State = None) -> None:
    """Add a rule of your own; its two examples must prove it."""
    rule = _read(file)

    async def work(db: Connection) -> None:
        await service.add_rule(db, rule, who="command line")

    _run(state, work)
    emit({"name": rule.name}, as_json, f"The rule {rule.name} is used from now on.")


@rules.command("remove")
def remove_rule(name: str, as_json: Json = False, state: State = None) -> None:
    """Remove a rule of your own."""

    async def work(db: Connection) -> None:
        await service.remove_rule(db, name)

    _run(state, work)
    emit(
        {"name": name},
        as_json,
        f"The rule {name} is gone. What it has stopped stays so until its time is over.",
    )


@rules.command("switch")
def switch(
    name: str,
    on: Annotated[bool, typer.Option("--on/--off", help="Use it, or not.")],
    as_json: Json = False,
    state: State = None,
) -> None:
    """Use a rule, or not."""

    async def work(db: Connection) -> None:
        await service.switch(db, name, on=on)

    _run(state, work)
    emit({"name": name, "on": on}, as_json, f"The rule {name} is {'on' if on else 'off'}.")


@guards.command("list")
def list_guards(as_json: Json = False, state: State = None) -> None:
    """List from which shares of bounces and complaints on each workspace's campaigns are paused."""

    async def work(db: Connection) -> list[dict[str, Any]]:
        return [each.model_dump() for each in (await guard_api.list_sending_guards(db)).items]

    found = _run(state, work)
    lines = []
    for each in found:
        watched = "watched" if each["enabled"] else "not watched"
        limits = f"{each['bounce_pause']:.2%} hard bounces or {each['complaint_pause']:.2%} complaints"
        stopped = f"; ALL PAUSED: {each['paused_why']}" if each["paused_at"] else ""
        lines.append(f"{each['workspace']:20} {watched}, pauses at {limits}{stopped}")
    emit({"guards": found}, as_json, "\n".join(lines))


@guards.command("set")
def set_guard(
    workspace: Slug,
    bounce_pause: Annotated[float | None, typer.Option(help="Percent of hard bounces that pause.")] = None,
    bounce_warn: Annotated[float | None, typer.Option(help="Percent that warn.")] = None,
    complaint_pause: Annotated[float | None, typer.Option(help="Percent of complaints that pause.")] = None,
    complaint_warn: Annotated[float | None, typer.Option(help="Percent that warn.")] = None,
    least_mails: Annotated[int | None, typer.Option(help="Judge nothing with fewer answers.")] = None,
    least_complaints: Annotated[int | None, typer.Option(help="Judge no complaints below so many.")] = None,
    enabled: Annotated[bool | None, typer.Option("--watch/--no-watch", help="Watch it, or not.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Change a workspace's limits; what is not named stays."""
    shares = {"bounce_pause": bounce_pause, "bounce_warn": bounce_warn, "complaint_pause": complaint_pause,
              "complaint_warn": complaint_warn}  # fmt: skip
    given: dict[str, Any] = {name: value / 100 for name, value in shares.items() if value is not None}
    others = {"least_mails": least_mails, "least_complaints": least_complaints, "enabled": enabled}
    given |= {name: value for name, value in others.items() if value is not None}

    async def work(db: Connection) -> None:
        row = await guard_api.find(db, workspace)
        limits, _ = await guard.limits_of(db, row["id"])
        await guard.set_limits(db, row["id"], replace(limits, **given))

    _run(state, work)
    emit({"workspace": workspace}, as_json, f"The limits of {workspace} are changed.")


@guards.command("lift")
def lift_guard(workspace: Slug, as_json: Json = False, state: State = None) -> None:
    """Let a paused workspace send again; its campaigns stay paused until each is resumed."""

    async def work(db: Connection) -> None:
        await guard.lift(db, (await guard_api.find(db, workspace))["id"])

    _run(state, work)
    emit({"workspace": workspace}, as_json, f"{workspace} may send again. Resume its campaigns one by one.")


def _read(file: Path) -> Rule:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"{file} is no TOML: {error}.")
    entry = data["rule"][0] if isinstance(data.get("rule"), list) and data["rule"] else data
    try:
        given = api.RuleIn.model_validate({k: v for k, v in entry.items() if k != "source"})
    except ValueError as error:
        fail(f"{file} holds no rule: {error}")
    return given.rule()


def _run(state: Path | None, work: Callable[[Connection], Awaitable[T]]) -> T:
    return in_workspace(state, "main", lambda db, _, __: work(db))
