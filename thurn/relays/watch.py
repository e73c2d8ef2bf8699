"""Looking after relays: each is tried now and then, at once when mail for it was put off, and its circuit opened."""

import asyncio

import structlog
from cryptography.exceptions import InvalidTag

from thurn.alerts import mended, notify
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one, rows
from thurn.relays import service
from thurn.relays.probe import Door, Found, probe
from thurn.settings import Settings

log = structlog.get_logger()

# A closed circuit is tried every half hour, and when mail was put off since the last look; an open one when its time is
# over.
_DUE = """
SELECT r.egress_id AS id, e.name, r.host, r.broken_until IS NOT NULL AS broken
FROM relay r JOIN egress e ON e.id = r.egress_id
LEFT JOIN LATERAL (SELECT sum(n) AS n FROM lane_tally t WHERE t.egress_id = r.egress_id AND t.measure = 'deferred') d
  ON true
WHERE e.removed_at IS NULL AND e.node = %s AND CASE
  WHEN r.broken_until IS NOT NULL THEN r.broken_until <= now()
  ELSE r.checked_at IS NULL OR r.checked_at < now() - interval '30 minutes' OR r.failures > 0
       OR coalesce(d.n, 0) > r.deferred_seen END
"""


async def look(settings: Settings) -> None:
    """Try every relay of this node that is due."""
    async with await connect(settings, "system", autocommit=True) as db:
        for relay in await rows(db, _DUE, [settings.node]):
            await try_one(db, settings, relay["id"])


async def try_one(db: Connection, settings: Settings, number: int) -> Found:
    """Try a relay, write down what came of it, and tell the operators once when it breaks and when it is well again."""
    door = await door_of(db, settings, number)
    found = await ask(settings, door)
    async with db.transaction():
        await write_down(db, number, found, host=door.host if door else "")
    return found


async def door_of(db: Connection, settings: Settings, number: int) -> Door | None:
    """Where a relay is and how to get in; None if its password cannot be read. `NotFound`."""
    try:
        return await service.door(db, number, settings=settings)
    except InvalidTag:
        return None


async def ask(settings: Settings, door: Door | None) -> Found:
    """Go there; takes up to half a minute, so not with a transaction open."""
    if door is None:
        return Found("password", "Its password was sealed with another master secret. Enter the password again.")
    return await asyncio.to_thread(probe, settings, door)


async def write_down(db: Connection, number: int, found: Found, *, host: str) -> None:
    """Keep what came of a try, whoever asked for it, and tell the operators or say that it is well again."""
    circuit = await service.record(db, number, found)
    if circuit is not None:
        await _tell(db, number, host, found, is_open=circuit.open)
    log.info("relay tried", relay=number, works=found.works, trouble=found.trouble)


async def _tell(db: Connection, number: int, host: str, found: Found, *, is_open: bool) -> None:
    house = (await one(db, "SELECT id FROM workspace WHERE slug = 'main'"))["id"]
    key = f"relay:{number}"
    if is_open:
        await notify(
            db, house, f"The relay {host} does not take our mail",
            f"{found.says} Nothing is handed to it until a try succeeds; mail waits or takes the next way of its pool. "
            "Thurn tries again by itself.",
            key, link="/house/delivery/relays", act="See the relay",
        )  # fmt: skip
    elif found.works:
        await mended(
            db, house, key, subject=f"The relay {host} takes our mail again", text="Mail goes by it as before."
        )  # fmt: skip
