"""Commands for sending addresses, pools and rules, and limits of providers."""

from typing import Annotated, Any

import typer

from thurn.cli.common import Json, State, emit, in_house
from thurn.db.connect import Connection
from thurn.delivery import egress as addresses
from thurn.delivery import limits, pools
from thurn.delivery.egress_check import check
from thurn.settings import Settings
from thurn.warmup import service as warmup

egress = typer.Typer(no_args_is_help=True, help="Sending addresses: where mail leaves, and under which name.")
pool = typer.Typer(no_args_is_help=True, help="Pools of sending addresses, and which mail uses which.")
provider = typer.Typer(no_args_is_help=True, help="What each provider bears.")

Name = Annotated[str, typer.Argument(help="Short name of the sending address, for example out2.")]
Pool = Annotated[str, typer.Argument(help="Name of the pool.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(egress, name="egress")
    app.add_typer(pool, name="pool")
    app.add_typer(provider, name="provider")


def _line(row: dict[str, Any]) -> str:
    where = " ".join(filter(None, (row["bind4"], row["bind6"]))) or "(the system chooses)"
    inside = ", ".join(member["name"] for member in row["pools"]) or "no pool"
    lines = [f"{row['name']:9} {row['state']:8} {where:32} {row['helo'] or '(hostname)':28} {inside}"]
    lines += [f"          {c['level']:5} {c['what']} {c['fix']}".rstrip() for c in row["checks"]]
    return "\n".join(lines)


@egress.command("list")
def egress_list(as_json: Json = False, state: State = None) -> None:
    """List sending addresses with what the last check has found."""
    found = in_house(state, lambda db, _: addresses.listed(db))
    emit({"egresses": found}, as_json, "\n".join(map(_line, found)))


@egress.command("add")
def egress_add(
    name: Name,
    bind4: Annotated[str, typer.Option("--bind4", help="IPv4 address of this server.")] = "",
    bind6: Annotated[str, typer.Option("--bind6", help="IPv6 address of this server.")] = "",
    helo: Annotated[str, typer.Option("--helo", help="Its name in HELO; else the server's.")] = "",
    into: Annotated[str, typer.Option("--pool", help="A pool to put it into.")] = "",
    node: Annotated[str, typer.Option("--node", help="The sending machine that has them; else this one.")] = "",
    warm_up: Annotated[bool, typer.Option("--warm-up", help="Warm it up: for an address that is new.")] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Add a sending address and check it. Postfix has it within seconds."""

    async def work(db: Connection, settings: Settings) -> tuple[dict[str, Any], str]:
        await addresses.add(db, settings, name=name, bind4=bind4, bind6=bind6, helo=helo, pool=into, node=node)
        if warm_up:
            await warmup.start(db, name.strip().lower(), who="command line")
        note = (await pools.get(db, into))["note"] if into else ""
        return await check(db, name.strip().lower(), settings), note

    made, note = in_house(state, work)
    emit(made, as_json, f"{_line(made)}\n{note}".rstrip())


@egress.command("set")
def egress_set(
    name: Name,
    bind4: Annotated[str | None, typer.Option("--bind4", help="IPv4 address; empty: none.")] = None,
    bind6: Annotated[str | None, typer.Option("--bind6", help="IPv6 address; empty: none.")] = None,
    helo: Annotated[str | None, typer.Option("--helo", help="Name in HELO; empty: the server's.")] = None,
    use: Annotated[bool | None, typer.Option("--use/--no-use", help="Whether it takes new mail.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Change a sending address, or take it out of use and back."""

    async def work(db: Connection, settings: Settings) -> dict[str, Any]:
        return await addresses.change(db, settings, name, bind4=bind4, bind6=bind6, helo=helo, enabled=use)

    row = in_house(state, work)
    emit(row, as_json, _line(row))


@egress.command("check")
def egress_check(name: Name, as_json: Json = False, state: State = None) -> None:
    """Look whether this server has the address and whether reverse DNS is right; 1 if something is bad."""
    row = in_house(state, lambda db, settings: check(db, name, settings))
    emit(row, as_json, _line(row))
    if any(each["level"] == "bad" for each in row["checks"]):
        raise typer.Exit(1)


@egress.command("remove")
def egress_remove(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Do not wait; another address carries what is left.")] = False,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Remove a sending address; it goes when nothing of it is on its way."""

    async def work(db: Connection, settings: Settings) -> None:
        await addresses.remove(db, name, now=now)

    in_house(state, work)
    emit(
        {"removed": name, "now": now},
        as_json,
        f"{name} is gone." if now else f"{name} takes nothing new and goes when nothing of it is on its way.",
    )


@pool.command("list")
def pool_list(as_json: Json = False, state: State = None) -> None:
    """List pools and rules."""

    async def work(db: Connection, settings: Settings) -> dict[str, Any]:
        return {"pools": await pools.listed(db), "rules": await pools.rules(db)}

    found = in_house(state, work)
    lines = []
    for each in found["pools"]:
        inside = ", ".join(f"{m['name']} ({m['weight']})" for m in each["members"]) or "empty"
        lines.append(f"{each['name']:20} {inside}")
        lines += [f"{'':20} {each['note']}"] if each["note"] else []
    for rule in found["rules"]:
        whose = rule["domain"] or rule["workspace"] or "everybody"
        whose = f"campaign {rule['campaign']}" if rule["campaign"] else whose
        lines.append(f"rule {rule['id']:<5} {rule['stream']} of {whose}: {rule['pool']}")
    emit(found, as_json, "\n".join(lines))


@pool.command("add")
def pool_add(name: Pool, as_json: Json = False, state: State = None) -> None:
    """Add a pool."""
    made = in_house(state, lambda db, _: pools.add(db, name))
    emit(made, as_json, f"The pool {made['name']} is empty: put a sending address into it with `thurn pool put`.")


@pool.command("remove")
def pool_remove(name: Pool, as_json: Json = False, state: State = None) -> None:
    """Remove a pool that no rule leads to."""
    in_house(state, lambda db, _: pools.remove(db, name))
    emit({"removed": name}, as_json, f"The pool {name} is gone.")


@pool.command("put")
def pool_put(
    name: Pool,
    member: Name,
    weight: Annotated[int, typer.Option("--weight", help="Its share compared to the others'.")] = 100,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Put a sending address into a pool, or change its weight."""
    row = in_house(state, lambda db, _: pools.put_member(db, name, member, weight=weight))
    emit(row, as_json, f"{member} carries mail of {name}. {row['note']}".rstrip())


@pool.command("drop")
def pool_drop(name: Pool, member: Name, as_json: Json = False, state: State = None) -> None:
    """Take a sending address out of a pool."""
    in_house(state, lambda db, _: pools.drop_member(db, name, member))
    emit({"dropped": member}, as_json, f"{member} carries no mail of {name} any more.")


@pool.command("rule")
def pool_rule(
    stream: Annotated[str, typer.Argument(help="marketing, transactional or people.")],
    name: Pool,
    workspace: Annotated[str, typer.Option("--workspace", help="Of this workspace only.")] = "",
    campaign: Annotated[int | None, typer.Option("--campaign", help="Of this campaign only.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Say which pool carries a stream."""

    async def work(db: Connection, settings: Settings) -> dict[str, Any]:
        return await pools.put_rule(db, stream=stream, pool=name, workspace=workspace, campaign=campaign)

    made = in_house(state, work)
    emit(made, as_json, f"Rule {made['id']}: {stream} uses {name}.")


@pool.command("unrule")
def pool_unrule(
    rule: Annotated[int, typer.Argument(help="Its number, from `thurn pool list`.")],
    as_json: Json = False,
    state: State = None,
) -> None:
    """Remove a rule; the next wider one counts."""
    in_house(state, lambda db, _: pools.drop_rule(db, rule))
    emit({"removed": rule}, as_json, "The rule is gone.")


@provider.command("list")
def provider_list(as_json: Json = False, state: State = None) -> None:
    """List the book of providers and what is set instead."""
    found = in_house(state, lambda db, _: limits.listed(db))
    lines = []
    for entry in found:
        rate = entry["rate_per_minute"] or "no limit"
        lines.append(
            f"{entry['name']:10} {entry['connections']:>4} x {entry['per_connection']:<5} {rate!s:>9} a minute"
        )
        for each in entry["set"]:
            said = ", ".join(f"{key} {each[key]}" for key in limits.FIELDS if each[key] is not None)
            lines.append(f"           set for {each['egress'] or 'all'}: {said}")
    emit({"providers": found}, as_json, "\n".join(lines))


@provider.command("set")
def provider_set(
    name: Annotated[str, typer.Argument(help="Name of the provider, from `thurn provider list`.")],
    egress_name: Annotated[str, typer.Option("--egress", help="For this sending address only.")] = "",
    connections: Annotated[int | None, typer.Option("--connections", help="At once.")] = None,
    per_connection: Annotated[int | None, typer.Option("--per-connection", help="Mails a connection.")] = None,
    rate: Annotated[int | None, typer.Option("--rate", help="Mails a minute.")] = None,
    backoff: Annotated[int | None, typer.Option("--backoff", help="Seconds to leave it alone.")] = None,
    as_json: Json = False,
    state: State = None,
) -> None:
    """Set limits at a provider; what is left out is as the book says, without any option all of it."""
    values = {
        "connections": connections, "per_connection": per_connection, "rate_per_minute": rate, "backoff": backoff
    }  # fmt: skip
    entry = in_house(state, lambda db, _: limits.put(db, name, values, egress=egress_name))
    emit(entry, as_json, f"Limits at {entry['title']} are set.")
