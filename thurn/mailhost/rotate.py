"""DKIM rotation in the database: starting one, and taking the step that a look at DNS allows."""

from collections.abc import Iterable
from datetime import UTC, datetime

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.dns.verdicts import Check
from thurn.mailhost.keys import make_keys
from thurn.mailhost.rotation import Key, plan
from thurn.problems import Conflict
from thurn.settings import Settings

_LABEL = "._domainkey."


async def start(db: Connection, domain: Row, settings: Settings) -> None:
    """Make the next pair of keys. `Conflict` while one is on its way already."""
    coming = await rows(
        db,
        "SELECT selector FROM dkim_key WHERE domain_id = %s AND state IN ('pending', 'published') FOR UPDATE",
        [domain["id"]],
    )
    if coming:
        names = " and ".join(sorted(row["selector"] for row in coming))
        raise Conflict(f"A rotation is under way: publish the keys {names}, then Thurn goes on by itself.")
    await make_keys(
        db, domain["workspace_id"], domain_id=domain["id"], domain=domain["name"], settings=settings, state="pending"
    )


async def cancel(db: Connection, domain: Row) -> None:
    """Drop the keys that are not in use yet. `Conflict` when there are none."""
    dropped = await rows(
        db,
        "DELETE FROM dkim_key WHERE domain_id = %s AND state IN ('pending', 'published') RETURNING id",
        [domain["id"]],
    )
    if not dropped:
        raise Conflict("No rotation is under way.")


async def step(db: Connection, domain: Row, checks: Iterable[Check], settings: Settings) -> bool:
    """Move the keys as far as DNS allows, all in one statement; True if something changed.

    In the caller's transaction, with the domain's row locked.
    """
    found = await rows(db, "SELECT * FROM dkim_key WHERE domain_id = %s AND state <> 'retired'", [domain["id"]])
    seen = {
        check.record.name.partition(_LABEL)[0]: {"ok": True, "warn": False, "bad": False}.get(check.level)
        for check in checks
        if _LABEL in check.record.name
    }
    due = plan([_key(row) for row in found], seen, datetime.now(UTC), months=domain["rotate_months"])
    if due.moves:
        await db.execute(
            """UPDATE dkim_key k SET state = m.state,
                 published_at = CASE m.state WHEN 'published' THEN now() WHEN 'pending' THEN NULL ELSE published_at END,
                 active_at = CASE m.state WHEN 'active' THEN now() ELSE active_at END,
                 retiring_at = CASE m.state WHEN 'retiring' THEN now() WHEN 'active' THEN NULL ELSE retiring_at END,
                 retired_at = CASE m.state WHEN 'retired' THEN now() END,
                 private_key = CASE m.state WHEN 'retired' THEN ''::bytea ELSE private_key END
               FROM unnest(%s::int[], %s::text[]) AS m(id, state) WHERE k.id = m.id""",
            [[key for key, _ in due.moves], [state for _, state in due.moves]],
        )
    if due.make:
        await start(db, domain, settings)
    return bool(due.moves) or due.make


def _key(row: Row) -> Key:
    since = {"pending": "created_at", "published": "published_at", "active": "active_at", "retiring": "retiring_at"}
    return Key(
        row["id"], row["selector"], row["algorithm"], row["state"], row[since[row["state"]]] or row["created_at"],
        row["active_at"],
    )  # fmt: skip
