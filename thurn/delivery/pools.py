"""Pools of egresses, and the rules which mail uses which pool, as operators see them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import psycopg

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound

DEFAULT = "default"
STREAMS = ("marketing", "transactional", "people")
Stream = Literal["marketing", "transactional", "people"]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}$")


async def listed(db: Connection) -> list[Row]:
    """Pools with what is in them and how many rules lead to them; the default first.

    `note`: what an operator has to know of a relay beside addresses of other machines; mostly empty.
    """
    found = await rows(
        db,
        """SELECT p.id, p.name,
                  coalesce((SELECT json_agg(json_build_object('name', e.name, 'weight', m.weight, 'rank', m.rank,
                                                              'node', e.node, 'relay', coalesce(r.host, ''))
                                            ORDER BY e.id)
                            FROM pool_egress m JOIN egress e ON e.id = m.egress_id
                            LEFT JOIN relay r ON r.egress_id = e.id
                            WHERE m.pool_id = p.id AND e.removed_at IS NULL), '[]') AS members,
                  (SELECT count(*) FROM pool_rule r WHERE r.pool_id = p.id) AS rules
           FROM pool p ORDER BY p.name <> 'default', p.name""",
    )
    return [{**row, "note": relay_note(row["members"])} for row in found]


def relay_note(members: Iterable[Mapping[str, Any]]) -> str:
    """What it means that relays send by one machine only, where addresses of others are in the same pool."""
    members = list(members)
    said = []
    for relay in members:
        away = [each for each in members if relay["relay"] and not each["relay"] and each["node"] != relay["node"]]
        for rank in sorted({each["rank"] for each in away}):
            names = " and ".join(each["name"] for each in away if each["rank"] == rank)
            node, host = relay["node"], relay["relay"]
            if relay["rank"] < rank:
                then = f", and comes first here: while it cannot, or {node} is down, mail goes by {names}."
            elif relay["rank"] > rank:
                then = f", and comes last here: it is no help while {node} is down."
            else:
                then = f". Between it and {names} weights do not count: each takes what it can."
            said.append(f"The relay {host} sends by the machine {node} only{then}")
    return " ".join(dict.fromkeys(said))


async def get(db: Connection, name: str) -> Row:
    """One pool, as listed."""
    for row in await listed(db):
        if row["name"] == name:
            return row
    raise NotFound(f"There is no pool “{name}”.")


async def add(db: Connection, name: str) -> Row:
    """A pool without anything in it."""
    name = name.strip().lower()
    if not _NAME.match(name):
        raise Invalid("name", "A name has up to 31 letters, digits and hyphens, for example newsletters.")
    made = await maybe(db, "INSERT INTO pool (name) VALUES (%s) ON CONFLICT (name) DO NOTHING RETURNING id", [name])
    if made is None:
        raise Conflict(f"There is a pool “{name}” already.")
    return await get(db, name)


async def remove(db: Connection, name: str) -> None:
    """Drop a pool that no rule leads to; the addresses in it stay."""
    pool = await get(db, name)
    if name == DEFAULT:
        raise Conflict("The pool “default” carries everything that no rule speaks of. It stays.")
    if pool["rules"]:
        raise Conflict(f"Rules lead to “{name}”. Remove or change them first.")
    await db.execute("DELETE FROM pool WHERE name = %s", [name])


async def put_member(db: Connection, pool: str, egress: str, *, weight: int = 100) -> Row:
    """Let an egress carry mail of a pool; its share goes by the weights."""
    if not 1 <= weight <= 1000:
        raise Invalid("weight", "A weight is between 1 and 1000.")
    found = await get(db, pool)
    row = await maybe(db, "SELECT id FROM egress WHERE name = %s AND removed_at IS NULL", [egress])
    if row is None:
        raise Invalid("egress", f"There is no sending address “{egress}”.")
    await db.execute(
        """INSERT INTO pool_egress (pool_id, egress_id, weight) VALUES (%s, %s, %s)
           ON CONFLICT (pool_id, egress_id) DO UPDATE SET weight = excluded.weight""",
        [found["id"], row["id"], weight],
    )
    return await get(db, pool)


async def drop_member(db: Connection, pool: str, egress: str) -> None:
    """Take an egress out of a pool. The last one of a pool in use stays: its mail would wait for ever."""
    found = await get(db, pool)
    await one(db, "SELECT 1 FROM pool WHERE id = %s FOR UPDATE", [found["id"]])
    found = await get(db, pool)
    if egress not in [member["name"] for member in found["members"]]:
        raise NotFound(f"“{egress}” is not in the pool “{pool}”.")
    if len(found["members"]) == 1 and (pool == DEFAULT or found["rules"]):
        raise Conflict(
            f"“{egress}” is the last one in “{pool}”, whose mail would wait for ever. Add another one first."
        )
    await db.execute(
        "DELETE FROM pool_egress WHERE pool_id = %s AND egress_id = (SELECT id FROM egress WHERE name = %s)",
        [found["id"], egress],
    )


async def rules(db: Connection) -> list[Row]:
    """Which mail uses which pool, the widest first."""
    return await rows(
        db,
        """SELECT r.id, r.stream, w.slug AS workspace, r.campaign_id AS campaign, d.name AS domain, p.name AS pool
           FROM pool_rule r JOIN pool p ON p.id = r.pool_id LEFT JOIN workspace w ON w.id = r.workspace_id
           LEFT JOIN domain d ON d.id = r.domain_id
           ORDER BY r.campaign_id NULLS FIRST, r.domain_id NULLS FIRST, w.slug NULLS FIRST, r.stream, r.id""",
    )


async def put_rule(db: Connection, *, stream: str, pool: str, workspace: str = "", campaign: int | None = None) -> Row:
    """Say which pool carries a stream: of the house, of a workspace, or one campaign. Replaces the rule there was."""
    if stream not in STREAMS:
        raise Invalid("stream", f"A stream is one of {', '.join(STREAMS)}.")
    if stream == "people" and (workspace or campaign is not None):
        raise Invalid("workspace", "People's mail leaves the house one way, whatever workspace it is from.")
    if campaign is not None and (stream != "marketing" or workspace):
        raise Invalid("campaign", "A campaign is marketing, and its rule needs no workspace.")
    found = await get(db, pool)
    if not found["members"]:
        raise Invalid("pool", f"“{pool}” has no sending address in it: what it should carry would wait for ever.")
    number = None
    if workspace:
        row = await maybe(db, "SELECT id FROM workspace WHERE slug = %s", [workspace])
        if row is None:
            raise Invalid("workspace", f"There is no workspace “{workspace}”.")
        number = row["id"]
    values = {"workspace": number, "stream": stream, "campaign": campaign, "pool": found["id"]}
    try:
        async with db.transaction():  # a rule that cannot be leaves the one there was
            await db.execute(
                """DELETE FROM pool_rule WHERE stream = %(stream)s AND domain_id IS NULL
                   AND workspace_id IS NOT DISTINCT FROM %(workspace)s
                   AND campaign_id IS NOT DISTINCT FROM %(campaign)s""",
                values,
            )
            made = await one(
                db,
                """INSERT INTO pool_rule (workspace_id, stream, campaign_id, pool_id)
                   VALUES (%(workspace)s, %(stream)s, %(campaign)s, %(pool)s) RETURNING id""",
                values,
            )
    except psycopg.errors.ForeignKeyViolation:
        raise Invalid("campaign", f"There is no campaign {campaign}.") from None
    except psycopg.errors.UniqueViolation:
        raise Conflict("Somebody else has set this rule a moment ago. Look again.") from None
    return next(rule for rule in await rules(db) if rule["id"] == made["id"])


async def drop_rule(db: Connection, rule: int) -> None:
    """Remove a rule; the next wider one counts."""
    done = await db.execute("DELETE FROM pool_rule WHERE id = %s", [rule])
    if not done.rowcount:
        raise NotFound("There is no such rule.")
