"""The LMTP server (RFC 2033) that takes what came back (bounces, complaints, stray replies) from Postfix `mx`.

A mail is answered 250 once what it means is committed, and 451 when the database is away: then Postfix keeps it. No
mail is ever sent in answer, and nothing is refused for good, so that no bounce can cause another.
"""

import asyncio
from typing import Any

import psycopg
import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from psycopg_pool import PoolTimeout

from thurn.db.connect import Pool
from thurn.feedback.bounce_mail import read
from thurn.feedback.incoming import Tokens, concerns_us, record
from thurn.settings import Settings

log = structlog.get_logger()

_SIZE = 32 * 1024 * 1024  # bytes of a mail, more than `mx` lets through
_PATIENCE = 5.0  # seconds for a connection to the database

_DONE = "250 2.0.0 Read"
_AWAY = "451 4.3.0 The reply cannot be forwarded right now, try again later"
_LATER = "451 4.3.0 The database is away, try again later"


class _Server(LMTP):
    """Lines as long as Postfix cares to send; bounces carry what others wrote."""

    line_length_limit = 128 * 1024


class Handler:
    """Takes one mail at a time; `aiosmtpd` calls it by these names."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings, self._pool, self._tokens = settings, pool, Tokens.of(settings)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Record a mail for each of its recipients; LMTP wants one reply for each (RFC 2033, 4.2)."""
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        addresses = [address for address in envelope.rcpt_tos if concerns_us(address)]
        try:
            if addresses:
                await self._record(addresses, raw, (envelope.mail_from or "").strip("<>"))
            answer = _DONE
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("a report could not be stored, Postfix keeps it", error=str(error))
            answer = _LATER
        except OSError as error:
            log.warning("a reply could not be forwarded, Postfix keeps it", error=str(error))
            answer = _AWAY
        return "\r\n".join([answer] * len(envelope.rcpt_tos))

    async def handle_exception(self, error: Exception) -> str:
        """Nothing is lost by a fault of ours either."""
        log.error("a report could not be read", exc_info=error)
        return "451 4.3.0 Something went wrong, try again later"

    async def _record(self, addresses: list[str], raw: bytes, sender: str) -> None:
        incoming = read(raw)
        async with self._pool.connection(timeout=_PATIENCE) as db, db.transaction():
            for address in addresses:
                matched = await record(db, self._settings, self._tokens, address, incoming, raw, sender)
                log.info("report", to=address, kind=incoming.kind, matched=matched)


async def serve_lmtp(settings: Settings, pool: Pool) -> asyncio.Server:
    """Listen on the port `feedback`; the server runs in this loop until it is closed."""
    handler = Handler(settings, pool)
    loop = asyncio.get_running_loop()

    def session() -> Any:
        return _Server(handler, data_size_limit=_SIZE, hostname=settings.hostname, ident="Thurn", loop=loop)

    return await loop.create_server(session, "127.0.0.1", settings.port["feedback"])
