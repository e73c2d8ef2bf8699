"""What each provider bears, by the book and as operators say instead."""

from dataclasses import asdict
from typing import Any

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.delivery.providers import LOCAL, book
from thurn.problems import Invalid, NotFound

FIELDS = ("connections", "per_connection", "rate_per_minute", "backoff")
BOUNDS = {
    "connections": (1, 200, "connections at once"),
    "per_connection": (1, 10_000, "mails a connection"),
    "rate_per_minute": (1, 1_000_000, "mails a minute"),
    "backoff": (10, 86_400, "seconds to wait"),
}


async def listed(db: Connection) -> list[dict[str, Any]]:
    """Every provider: what the book says and from where, what is set instead, for all egresses and for single ones."""
    said: dict[str, list[Row]] = {}
    for row in await rows(
        db,
        """SELECT l.provider, e.name AS egress, l.connections, l.per_connection, l.rate_per_minute, l.backoff
           FROM provider_limit l LEFT JOIN egress e ON e.id = l.egress_id
           ORDER BY l.provider, e.name NULLS FIRST""",
    ):
        said.setdefault(row["provider"], []).append(row)
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "source": entry.source,
            **asdict(entry.limits),
            "set": [{key: row[key] for key in ("egress", *FIELDS)} for row in said.get(entry.name, [])],
        }
        for entry in book().values()
        if entry.name != LOCAL
    ]


async def get(db: Connection, provider: str) -> dict[str, Any]:
    """One provider, as listed."""
    for entry in await listed(db):
        if entry["name"] == provider:
            return entry
    raise NotFound(f"There is no provider “{provider}” in the book.")


async def put(db: Connection, provider: str, values: dict[str, int | None], *, egress: str = "") -> dict[str, Any]:
    """Set limits at a provider, for one egress or (none named) for all. None: as the book says."""
    await get(db, provider)
    for field, value in values.items():
        low, high, what = BOUNDS[field]
        if value is not None and not low <= value <= high:
            raise Invalid(field, f"Between {low} and {high:,} {what}; empty: as the book says.")
    number = None
    if egress:
        row = await maybe(db, "SELECT id FROM egress WHERE name = %s", [egress])
        if row is None:
            raise Invalid("egress", f"There is no sending address “{egress}”.")
        number = row["id"]
    key = {"egress": number, "provider": provider}
    # One at a time, so that two who set the same limits do not meet.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('provider_limit'))")
    await db.execute(
        "DELETE FROM provider_limit WHERE provider = %(provider)s AND egress_id IS NOT DISTINCT FROM %(egress)s", key
    )
    if any(values.get(field) is not None for field in FIELDS):
        await db.execute(
            """INSERT INTO provider_limit (egress_id, provider, connections, per_connection, rate_per_minute, backoff)
               VALUES (%(egress)s, %(provider)s, %(connections)s, %(per_connection)s, %(rate_per_minute)s,
                       %(backoff)s)""",
            {**dict.fromkeys(FIELDS), **values, **key},
        )
    return await get(db, provider)
