"""Sending addresses as operators see them: added, changed, taken out of use, removed when nothing of them is left."""

import ipaddress
import re
from collections.abc import Mapping

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings

_HOST = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
NAME = re.compile(r"[a-z][a-z0-9]{0,7}$")

_LISTED = """
SELECT e.id, e.name, e.node, host(e.bind4) AS bind4, host(e.bind6) AS bind6, e.helo, e.enabled, e.removed_at, e.checks,
       e.checked_at, CASE WHEN n.seen_at IS NOT NULL THEN n.missing END AS missing,
       CASE WHEN n.login IS NOT NULL THEN n.hostname ELSE '' END AS hostname,
       coalesce((SELECT json_agg(json_build_object('name', p.name, 'weight', m.weight) ORDER BY p.name)
                 FROM pool_egress m JOIN pool p ON p.id = m.pool_id WHERE m.egress_id = e.id), '[]') AS pools,
       coalesce((SELECT sum(CASE WHEN t.measure = 'handed_over' THEN t.n
                                 WHEN t.measure <> 'deferred' THEN -t.n ELSE 0 END)
                 FROM lane_tally t WHERE t.egress_id = e.id), 0)::bigint AS waiting
FROM egress e LEFT JOIN node n ON n.name = e.node WHERE e.kind = 'address'
"""
_ONE = _LISTED + " AND e.name = %s"
_ALL = _LISTED + " ORDER BY e.removed_at IS NOT NULL, e.id"


async def listed(db: Connection) -> list[Row]:
    """All of them, those on their way out last; `waiting`: mails handed to Postfix that are not settled."""
    return [_shaped(row) for row in await rows(db, _ALL)]


async def get(db: Connection, name: str) -> Row:
    """One of them."""
    row = await maybe(db, _ONE, [name])
    if row is None:
        raise NotFound(f"There is no sending address “{name}”.")
    return _shaped(row)


def _shaped(row: Row) -> Row:
    state = "leaving" if row["removed_at"] else "on" if row["enabled"] else "off"
    return {**row, "bind4": row["bind4"] or "", "bind6": row["bind6"] or "", "state": state}


async def add(
    db: Connection,
    settings: Settings,
    *,
    name: str,
    bind4: str = "",
    bind6: str = "",
    helo: str = "",
    pool: str = "",
    node: str = "",
) -> Row:
    """Add one on a node (none named: the first one), to a pool if one is named. `Invalid` names the wrong field."""
    name = name.strip().lower()
    if not NAME.match(name):
        raise Invalid("name", "A name is a letter and up to seven letters or digits, for example out2.")
    found = _values(settings, {"bind4": bind4, "bind6": bind6, "helo": helo})
    if not (found["bind4"] or found["bind6"]):
        raise Invalid("bind4", "Enter an address of this server, IPv4 or IPv6 or both.")
    if await maybe(db, "SELECT 1 FROM egress WHERE name = %s", [name]):
        raise Conflict(f"There is a sending address “{name}” already.")
    await _taken(db, found, "")
    inside = await maybe(db, "SELECT id FROM pool WHERE name = %s", [pool]) if pool else None
    if pool and inside is None:
        raise Invalid("pool", f"There is no pool “{pool}”.")
    if node and node != settings.node:
        there = await maybe(db, "SELECT FROM node WHERE name = %s AND state = 'joined'", [node.replace("\0", "")])
        if there is None:
            raise Invalid("node", f"There is no sending machine “{node[:60]}”.")
    made = await one(
        db,
        "INSERT INTO egress (name, node, bind4, bind6, helo) VALUES (%s, %s, %s, %s, %s) RETURNING id",
        [name, node or settings.node, found["bind4"], found["bind6"], found["helo"] or ""],
    )
    if inside is not None:
        await db.execute("INSERT INTO pool_egress (pool_id, egress_id) VALUES (%s, %s)", [inside["id"], made["id"]])
    return await get(db, name)


async def change(
    db: Connection,
    settings: Settings,
    name: str,
    *,
    bind4: str | None = None,
    bind6: str | None = None,
    helo: str | None = None,
    enabled: bool | None = None,
) -> Row:
    """Change what is given. An address that is on its way out can't be changed, only taken back into use."""
    before = await get(db, name)
    given = {key: value for key, value in {"bind4": bind4, "bind6": bind6, "helo": helo}.items() if value is not None}
    found = _values(settings, given)
    await _taken(db, found, name)
    if enabled is False and before["state"] == "on":
        await _not_the_last(db, before)
    for key, value in found.items():
        await db.execute(_SET[key], [value, name])
    if found:  # what was found out was about the old ones
        await db.execute("UPDATE egress SET checks = '[]', checked_at = NULL WHERE name = %s", [name])
    if enabled is not None:
        await db.execute(
            "UPDATE egress SET enabled = %(on)s, removed_at = CASE WHEN %(on)s THEN NULL ELSE removed_at END"
            " WHERE name = %(name)s",
            {"on": enabled, "name": name},
        )
    return await get(db, name)


_SET = {
    "bind4": "UPDATE egress SET bind4 = %s::inet WHERE name = %s",
    "bind6": "UPDATE egress SET bind6 = %s::inet WHERE name = %s",
    "helo": "UPDATE egress SET helo = coalesce(%s, '') WHERE name = %s",
}


async def remove(db: Connection, name: str, *, now: bool = False) -> None:
    """Take one out of use; its row goes when nothing of it is on its way: that may take as long as mail is tried.

    `now`: at once; the first one carries what is left.
    """
    before = await get(db, name)
    if before["state"] == "on":
        await _not_the_last(db, before)
    if now:
        await _not_the_last(db, before)
        await db.execute("DELETE FROM egress WHERE name = %s", [name])
    else:
        await db.execute(
            "UPDATE egress SET enabled = false, removed_at = coalesce(removed_at, now()) WHERE name = %s", [name]
        )


async def _not_the_last(db: Connection, row: Row) -> None:
    """The locked rows keep two operators from taking the last two at once. A further machine may have none."""
    others = await rows(
        db,
        "SELECT id FROM egress WHERE enabled AND removed_at IS NULL AND kind = 'address' AND node = %s ORDER BY id"
        " FOR UPDATE",
        [row["node"]],
    )
    further = await maybe(db, "SELECT FROM node WHERE name = %s AND login IS NOT NULL", [row["node"]])
    if further is None and not [each for each in others if each["id"] != row["id"]]:
        raise Conflict(
            f"“{row['name']}” is the only sending address in use: without it nothing is sent. Add another one first."
        )
    needed = await maybe(
        db,
        """SELECT p.name FROM pool p JOIN pool_egress m ON m.pool_id = p.id
           WHERE m.egress_id = %(id)s
             AND (p.name = 'default' OR EXISTS (SELECT 1 FROM pool_rule r WHERE r.pool_id = p.id))
             AND NOT EXISTS (SELECT 1 FROM pool_egress o JOIN egress e ON e.id = o.egress_id
                             WHERE o.pool_id = p.id AND e.id <> %(id)s AND e.enabled AND e.removed_at IS NULL)
           ORDER BY p.name LIMIT 1""",
        {"id": row["id"]},
    )
    if needed is not None:
        raise Conflict(
            f"“{row['name']}” is the only one in use in the pool “{needed['name']}”, whose mail would wait for ever. "
            "Put another one into that pool first."
        )


async def _taken(db: Connection, found: Mapping[str, str | None], name: str) -> None:
    for key in ("bind4", "bind6"):
        if address := found.get(key):
            row = await maybe(
                db, "SELECT name FROM egress WHERE %s::inet IN (bind4, bind6) AND name <> %s", [address, name]
            )
            if row is not None:
                raise Invalid(key, f"{address} belongs to “{row['name']}” already.")


def _values(settings: Settings, given: Mapping[str, str]) -> dict[str, str | None]:
    """As they are stored: None for what was left empty."""
    found: dict[str, str | None] = {}
    for key, version in (("bind4", 4), ("bind6", 6)):
        if key in given:
            found[key] = _address(settings, key, version, given[key].strip()) if given[key].strip() else None
    if "helo" in given:
        helo = given["helo"].strip().rstrip(".").lower()
        if helo and not _HOST.match(helo):
            raise Invalid("helo", "This is no host name. Enter one with a dot, for example out2.example.com.")
        found["helo"] = helo or None
    return found


def _address(settings: Settings, key: str, version: int, text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(key, f"“{text[:60]}” is no address. It looks like {_EXAMPLES[version]}.") from None
    if address.version != version:
        raise Invalid(key, f"This is an IPv{address.version} address; enter it in the other field.")
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise Invalid(key, "Enter the address alone, without a zone, and an IPv4 address in the other field.")
    unusable = address.is_multicast or address.is_unspecified or address.is_link_local or address.is_reserved
    if (unusable and not address.is_loopback) or (address.is_loopback and not settings.simulate):
        raise Invalid(key, f"Nobody can be reached from {address}: enter an address that belongs to this server.")
    return str(address)


_EXAMPLES = {4: "192.0.2.22", 6: "2001:db8::22"}
