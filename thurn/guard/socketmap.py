"""Postfix's socketmap protocol (socketmap_table(5)): netstrings `name key` in, `OK value` or `NOTFOUND ` out.

Three maps, all of the sender rewriting scheme: `srs` gives a sender the return address to use when its mail is sent on,
`srs-back` where a return address leads, `srs-access` whether one may be written to.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from thurn.db.connect import Pool, make_pool
from thurn.mail.srs import Srs, is_srs
from thurn.secrets import Secrets
from thurn.settings import LOOPBACK, Settings
from thurn.stack.prepare import fqdn

log = structlog.get_logger()

_MOST = 10_000  # octets of a question
_IDLE = 1000.0  # seconds
_DAY = 86400
Map = Callable[[Pool, Srs, str], Awaitable[str | None]]


async def _away(pool: Pool, srs: Srs, sender: str) -> str | None:
    """A domain that takes mail here may send from here anyway, and its bounces come here."""
    domain = sender.rpartition("@")[2].lower()
    if not domain or not domain.isprintable():
        return None
    async with pool.connection() as db:
        ours = await (
            await db.execute(
                "SELECT 1 FROM domain WHERE proven_at IS NOT NULL AND %s IN (name, bounce_host)",
                [domain.encode("utf-8", "replace").decode()],
            )
        ).fetchone()
    rewritten = srs.forward(sender, _today())
    return None if ours or rewritten == sender else rewritten


async def _back(pool: Pool, srs: Srs, recipient: str) -> str | None:
    return srs.reverse(recipient, _today())


async def _access(pool: Pool, srs: Srs, recipient: str) -> str | None:
    if not is_srs(recipient) or srs.reverse(recipient, _today()):
        return None
    return "550 5.1.1 This return address was not made here, or it has expired"


MAPS: dict[str, Map] = {"srs": _away, "srs-back": _back, "srs-access": _access}


def srs_of(settings: Settings) -> Srs:
    """The installation's own: its key, and the host that return addresses are at."""
    return Srs(Secrets(settings.state).derive("srs"), fqdn(settings.hostname))


def _today() -> int:
    return int(time.time()) // _DAY


async def serve(settings: Settings) -> asyncio.Server:
    """Listen on loopback."""
    pool = make_pool(settings, "system", size=4, patience=4.0)
    await pool.open(wait=False)
    srs = srs_of(settings)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (question := await _netstring(reader)) is not None:
                reply = (await answer(pool, srs, question)).encode("utf-8", "surrogateescape")
                writer.write(b"%d:%s," % (len(reply), reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(talk, LOOPBACK, settings.port["guard_maps"], limit=_MOST)


async def _netstring(reader: asyncio.StreamReader) -> str | None:
    """The next question; None when the client has left. ValueError for what is no netstring."""
    try:
        async with asyncio.timeout(_IDLE):
            head = await reader.readuntil(b":")
            size = int(head[:-1]) if head[:-1].isdigit() and len(head) <= 6 else _MOST + 1
            if size > _MOST:
                raise ValueError("no netstring, or a very long one")
            text = await reader.readexactly(size + 1)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    if text[-1:] != b",":
        raise ValueError("a netstring ends with a comma")
    return text[:-1].decode("utf-8", "surrogateescape")


async def answer(pool: Pool, srs: Srs, question: str) -> str:
    """The reply to one question."""
    name, _, key = question.partition(" ")
    if name not in MAPS:
        return "PERM there is no such map"
    try:
        value = await MAPS[name](pool, srs, key)
    except (psycopg.Error, PoolTimeout) as error:
        log.warning("database did not answer", error=str(error))
        return "TEMP the database did not answer"
    return "NOTFOUND " if value is None else f"OK {value}"
