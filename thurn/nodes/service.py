"""Machines that send, as operators see them: added, removed in order, given up for good."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.delivery.board import NODE_STALE
from thurn.nodes.token import Token
from thurn.problems import Conflict, Invalid, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
VALID = timedelta(hours=1)  # of a token
LONG = 120  # seconds of silence until owners are told: most are started again before

_LISTED = f"""
SELECT n.name, n.state, n.login IS NULL AND n.state = 'joined' AS first, n.hostname, n.created_at, n.joined_at,
       n.ended_at, n.seen_at, n.roles, n.able, n.trouble, n.missing, n.token_until,
       coalesce(n.seen_at + make_interval(secs => {NODE_STALE}), n.joined_at + make_interval(secs => {LONG})) < now()
         AS silent, coalesce(n.seen_at, n.joined_at) < now() - make_interval(secs => {LONG}) AS long_silent,
       coalesce(f.leased, 0) AS leased, coalesce(f.queued, 0) AS queued,
       coalesce((SELECT json_agg(e.name ORDER BY e.id) FROM egress e
                 WHERE e.node = n.name AND e.kind = 'address' AND e.removed_at IS NULL), '[]') AS egresses
FROM node n LEFT JOIN node_figures() f ON f.node = n.name
"""  # noqa: S608 - a constant


async def listed(db: Connection) -> list[Row]:
    """All of them: the first one, those that send, those that did."""
    found = await rows(db, _LISTED + " ORDER BY n.login IS NOT NULL, n.ended_at IS NOT NULL, n.created_at", [])
    return [_shaped(row) for row in found]


async def get(db: Connection, name: str) -> Row:
    """One of them."""
    row = await maybe(db, _LISTED + " WHERE n.name = %s", [name.replace("\0", "")])
    if row is None:
        raise NotFound(f"There is no sending machine “{name[:60]}”.")
    return _shaped(row)


def _shaped(row: Row) -> Row:
    here = row["state"] in ("joined", "leaving")
    return {**row, "silent": here and bool(row["silent"]), "long_silent": here and bool(row["long_silent"])}


async def add(db: Connection, settings: Settings, name: str) -> dict[str, Any]:
    """Let a machine join under this name within an hour; once more for one that did not come."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name) or name == settings.node:
        raise Invalid("name", "A name is a letter and up to 30 letters, digits and hyphens, like berlin2.")
    if not (settings.database_listen or settings.database_url):
        raise Conflict(
            "Another machine could not reach the database. Set database_listen in thurn.toml to an address that it "
            "reaches, run `thurn up`, and open port "
            f"{settings.database_port} to that machine alone. docs/operate/nodes.md tells more."
        )
    token = Token.fresh()
    until = datetime.now(UTC) + VALID
    sealed = Secrets(settings.state).seal(str(token).encode(), f"node-token:{token.id}")
    made = await maybe(
        db,
        """INSERT INTO node (name, token_id, token, token_until) VALUES (%s, %s, %s, %s)
           ON CONFLICT (name) DO UPDATE
             SET token_id = excluded.token_id, token = excluded.token, token_until = excluded.token_until
             WHERE node.state = 'invited' OR (node.state = 'joined' AND node.seen_at IS NULL)
           RETURNING name""",
        [name, token.id, sealed, until],
    )
    if made is None:
        raise Conflict(f"There is or was a sending machine “{name}”. Choose a name that no machine had.")
    return {"name": name, "token": str(token), "until": until, "command": f"thurn join {settings.url} {token}"}


async def remove(db: Connection, settings: Settings, name: str) -> Row | None:
    """Have it leave: it takes nothing new, and goes when nothing of it is on its way. None: it never came."""
    row = await get(db, name)
    if row["first"]:
        raise Conflict("This machine has the database and everything else. It stays.")
    if row["state"] == "invited":
        await db.execute("DELETE FROM node WHERE name = %s", [name])
        return None
    if row["state"] != "joined":
        raise Conflict(f"“{name}” is {_ENDED[row['state']]} already.")
    needed = await maybe(
        db,
        """SELECT p.name FROM pool p JOIN pool_egress m ON m.pool_id = p.id JOIN egress e ON e.id = m.egress_id
           WHERE e.node = %(node)s AND e.enabled
             AND (p.name = 'default' OR EXISTS (SELECT FROM pool_rule r WHERE r.pool_id = p.id))
             AND NOT EXISTS (SELECT FROM pool_egress o JOIN egress x ON x.id = o.egress_id
                             WHERE o.pool_id = p.id AND x.node <> %(node)s AND x.enabled AND x.removed_at IS NULL)
           ORDER BY p.name LIMIT 1""",
        {"node": name},
    )
    if needed is not None:
        raise Conflict(
            f"The pool “{needed['name']}” has sending addresses of this machine only, and its mail would wait for "
            "ever. Put another one into that pool first."
        )
    await db.execute("UPDATE node SET state = 'leaving' WHERE name = %s", [name])
    await db.execute(
        "UPDATE egress SET enabled = false, removed_at = coalesce(removed_at, now()) WHERE node = %s", [name]
    )
    return await get(db, name)


_ENDED = {"leaving": "leaving", "left": "gone", "lost": "given up for lost"}


async def people(db: Connection, name: str, *, limit: int | None = None) -> list[Row]:
    """Deliveries it has taken and of which nobody knows the end; of a lost one those that it was about."""
    return await rows(db, "SELECT * FROM node_people(%s) LIMIT %s", [name, limit])


async def campaigns(db: Connection, name: str) -> list[Row]:
    """The same, counted by campaign."""
    return await rows(
        db,
        """SELECT workspace_id, workspace, campaign_id, campaign, count(*) FILTER (WHERE was = 'leased') AS leased,
                  count(*) FILTER (WHERE was <> 'leased') AS taken, count(*) FILTER (WHERE again) AS again
           FROM node_people(%s) GROUP BY 1, 2, 3, 4 ORDER BY 3""",
        [name],
    )


async def lose(db: Connection, settings: Settings, name: str, *, confirm: str, again: bool = False) -> int:
    """Give it up for good; returns how many deliveries that is about. `again`: queue anew what was only leased."""
    row = await get(db, name)
    if row["first"]:
        raise Conflict("This machine has the database and everything else. It cannot be given up.")
    if row["state"] not in ("joined", "leaving"):
        raise Conflict(f"“{name}” is {_ENDED.get(row['state'], 'not here yet')}.")
    if confirm != name:
        raise Invalid("confirm", f"Type {name} to confirm.")
    found = await one(
        db,
        "SELECT node_lose(%s, %s, make_interval(secs => %s)) AS n",
        [name, again, silence(settings)],
    )
    if found["n"] is None:
        raise Conflict(
            f"“{name}” was seen less than {(silence(settings) + 59) // 60} minutes ago and may still be "
            "sending what it has. Switch it off, and try again when it has been silent for so long: by then it has "
            "stopped its Postfix by itself even if it still runs."
        )
    return int(found["n"])


def silence(settings: Settings) -> int:
    """Seconds after its last word until a machine has stopped its Postfix for certain: it looks now and then only."""
    return settings.node_patience + max(5, settings.node_patience // 10)


COLUMNS = ("recipient", "workspace", "campaign", "campaign_id", "delivery_id", "was", "since", "queued_again", "now")


def line(row: Row) -> list[str]:
    """A delivery for a table. A cell that a spreadsheet would run is kept from that."""
    since = row["since"].isoformat() if row["since"] else ""
    again = "yes" if row["again"] else "no"
    names = ("recipient", "workspace", "campaign", "campaign_id", "delivery_id", "was")
    cells = [*(row[name] for name in names), since, again, row["state"]]
    return [f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text for text in map(str, cells)]
