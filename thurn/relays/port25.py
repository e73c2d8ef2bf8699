"""Whether mail can leave this machine at all: many hosting companies block port 25 until asked."""

import asyncio
from collections.abc import Sequence

import structlog

from thurn.alerts import mended, notify
from thurn.db.connect import connect
from thurn.db.fetch import maybe, one
from thurn.settings import Settings

log = structlog.get_logger()

Target = tuple[str, int]
# Servers that take connections from anybody. Two companies: if neither answers, it is not them.
TARGETS: tuple[Target, ...] = (
    ("gmail-smtp-in.l.google.com", 25),
    ("alt1.gmail-smtp-in.l.google.com", 25),
    ("outlook-com.olc.protection.outlook.com", 25),
)
_PATIENCE = 10.0  # seconds
_KEY = "port25"


async def look(settings: Settings, targets: Sequence[Target] = TARGETS) -> bool:
    """Try, and tell the operators once if nothing can leave; True if something can. A connection, no mail."""
    can = any(await asyncio.gather(*(_answers(*target) for target in targets)))
    async with await connect(settings, "system") as db, db.transaction():
        house = (await one(db, "SELECT id FROM workspace WHERE slug = 'main'"))["id"]
        relayed = await maybe(
            db,
            """SELECT 1 FROM relay r JOIN pool_egress pe USING (egress_id) JOIN pool p ON p.id = pe.pool_id
               WHERE p.name = 'default' AND r.works LIMIT 1""",
        )
        if can or relayed:
            await mended(db, house, _KEY, subject="Mail can leave this server again", text="Port 25 answers.")
        else:
            await notify(
                db, house, "Mail cannot leave this server: port 25 is blocked",
                "No mail server of Google or Microsoft answers at port 25 from here, so the network in between blocks "
                "it. Most hosting companies open it when asked; until then send by a relay.",
                _KEY, link="/house/delivery/relays/new", act="Add a relay",
            )  # fmt: skip
    log.info("port 25 tried", open=can)
    return can


async def _answers(host: str, port: int) -> bool:
    """Whether it greets us: some networks take the connection themselves and stay silent."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.read(4)).startswith(b"220")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
