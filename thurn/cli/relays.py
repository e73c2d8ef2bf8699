"""Commands for relays."""

import asyncio
from typing import Annotated, Any, cast

import typer

from thurn.cli.common import Json, State, emit, fail, in_house
from thurn.db.connect import Connection, connect
from thurn.problems import Problem
from thurn.relays import service
from thurn.relays.watch import try_one
from thurn.settings import Settings, load_settings

relay = typer.Typer(no_args_is_help=True, help="Other servers that mail leaves by.")

Number = Annotated[int, typer.Argument(help="Its number, from `thurn relay list`.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(relay, name="relay")


@relay.command("list")
def relay_list(as_json: Json = False, state: State = None) -> None:
    """List relays, what goes by them, and how the last try went."""
    found = in_house(state, lambda db, _: service.listed(db))
    emit(found, as_json, "\n".join(map(_line, found)) or "There is no relay. Mail goes out directly.")


@relay.command("add")
def relay_add(
    host: Annotated[str, typer.Argument(help="For example smtp.eu.mailgun.org.")],
    username: Annotated[str, typer.Option("--user", help="The user name there.")] = "",
    port: Annotated[int, typer.Option("--port")] = 587,
    security: Annotated[str, typer.Option("--security", help="starttls, tls or none.")] = "starttls",
    fingerprint: Annotated[str, typer.Option("--fingerprint", help="SHA-256 of its certificate.")] = "",
    use: Annotated[str, typer.Option("--use", help="fallback, first, domain or none.")] = "none",
    domain: Annotated[str, typer.Option("--domain", help="The domain, for --use domain.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Add a relay. Its password is asked for, or read from standard input; it is never an argument."""
    if use not in service.USES:
        fail(f"--use is one of {', '.join(service.USES)}.")
    password = typer.prompt("Password there", hide_input=True) if username else None
    given = service.Relay(host, port, security, username, password, fingerprint)

    async def work(db: Connection, settings: Settings) -> int:
        return await service.add(db, given, settings=settings, use=cast("service.Use", use), domain=domain)

    number = in_house(state, work)
    emit({"id": number}, as_json, f"Relay {number} is added. Try it: thurn relay try {number}")


@relay.command("try")
def relay_try(number: Number, as_json: Json = False, state: State = None) -> None:
    """Connect and sign in; no mail is sent. Exits 3 if it does not work."""
    settings = load_settings(state)

    async def work() -> dict[str, Any]:
        async with await connect(settings, "system", autocommit=True) as db:
            await service.get(db, number)
            found = await try_one(db, settings, number)
            return {"works": found.works, "trouble": found.trouble, "says": found.says}

    try:
        done = asyncio.run(work())
    except Problem as problem:
        fail(str(problem))
    emit(done, as_json, done["says"])
    if not done["works"]:
        raise typer.Exit(3)


@relay.command("use")
def relay_use(
    number: Number,
    use: Annotated[str, typer.Argument(help="fallback, first, domain or none.")],
    domain: Annotated[str, typer.Option("--domain", help="The domain, for `domain`.")] = "",
    as_json: Json = False,
    state: State = None,
) -> None:
    """Say which mail goes by a relay."""
    if use not in service.USES:
        fail(f"One of {', '.join(service.USES)}.")

    async def work(db: Connection, settings: Settings) -> str:
        await service.put_to_use(db, number, use=cast("service.Use", use), domain=domain)
        return await service.by_one_machine(db, settings) if use != "none" else ""

    note = in_house(state, work)
    emit({"id": number, "use": use}, as_json, f"{service.USES[use]}.\n{note}".rstrip())


@relay.command("remove")
def relay_remove(number: Number, as_json: Json = False, state: State = None) -> None:
    """Remove a relay; mail that is on its way there goes on."""
    in_house(state, lambda db, _: service.remove(db, number))
    emit({"id": number}, as_json, "Removed. What is on its way there goes on.")


_GOES = {"first": "everything", "fallback": "when we cannot send", "none": "nothing yet"}


def _line(each: dict[str, Any]) -> str:
    how = (
        "broken" if each["broken_until"] else {True: "works", False: "does not work", None: "not tried"}[each["works"]]
    )
    goes = each["domains"] or _GOES[service.used_as(each)]
    return f"{each['id']:4} {each['name']:5} {each['host']}:{each['port']}  {how}  ({goes})  {each['says']}".rstrip()
