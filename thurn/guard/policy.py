"""Postfix's policy delegation protocol (SMTPD_POLICY_README): attributes in, one action out, many times a connection.

A question that cannot be answered (the database is away) gets a temporary refusal: the client tries again, nothing is
lost and no limit is passed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from thurn.db.connect import Pool, make_pool
from thurn.guard import own_mail, postfix_check
from thurn.mailhost import sending
from thurn.settings import LOOPBACK, Settings

log = structlog.get_logger()

_MOST = 64 * 1024  # octets of a question
_IDLE = 1000.0  # seconds; Postfix keeps its connections for max_idle = 100 s by itself
_LATER = "DEFER_IF_PERMIT 4.3.0 The server cannot decide right now, please try again"

# A check gets the attributes and says `DUNNO` or an action of access(5). Each check is asked; the first that says
# something decides.
Check = Callable[[Pool, Settings, Mapping[str, str]], Awaitable[str]]
CHECKS: tuple[Check, ...] = (postfix_check.check, own_mail.check, sending.check)


async def serve(settings: Settings) -> asyncio.Server:
    """Listen on loopback."""
    pool = make_pool(settings, "system", size=4, patience=4.0)
    await pool.open(wait=False)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (attributes := await _question(reader)) is not None:
                writer.write(f"action={await answer(pool, settings, attributes)}\n\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(talk, LOOPBACK, settings.port["guard_policy"], limit=_MOST)


async def _question(reader: asyncio.StreamReader) -> dict[str, str] | None:
    """The next question's attributes; None when the client has left."""
    try:
        async with asyncio.timeout(_IDLE):
            text = await reader.readuntil(b"\n\n")
    except asyncio.IncompleteReadError:
        return None
    lines = (line.partition("=") for line in text.decode("utf-8", "replace").split("\n"))
    return {name: value for name, _, value in lines if name}


async def answer(pool: Pool, settings: Settings, attributes: Mapping[str, str]) -> str:
    """The action for one question."""
    try:
        for check in CHECKS:
            action = await check(pool, settings, attributes)
            if action != "DUNNO":
                return action
    except (psycopg.Error, PoolTimeout) as error:
        log.warning("database did not answer", error=str(error))
        return _LATER
    return "DUNNO"
