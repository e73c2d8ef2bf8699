"""Follows the mail log of this node's `mx` and writes it down as the message trace.

How far it has read is committed together with what it has read, so each line counts once, whatever is killed.
"""

import asyncio
from datetime import UTC, datetime

import structlog

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.feedback.postfix_log import when
from thurn.feedback.tail import Tail, follow
from thurn.settings import Settings
from thurn.trace.book import Book, Mail, domains_of
from thurn.trace.lines import parse
from thurn.trace.store import numbers, workspaces, write

log = structlog.get_logger()

_STUMBLE = 10.0  # seconds until the next try
_ROWS = 6  # that one recipient in a line adds at most: a message and a recipient for each of three workspaces


class TraceReader:
    """One node's log. `run` never returns; a lost database connection is waited out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tail = Tail(settings.state / "log" / "mx.mail.log")
        self._door = f"127.0.0.1[127.0.0.1]:{settings.port['forward']}"
        self._book = Book({}, self._door)

    async def run(self) -> None:
        """Follow the log for ever. What it may stumble over must not take the reading of bounces down with it."""
        while True:
            try:
                await follow(self._settings, self.load, self.step)
            except Exception:
                log.exception("the message trace stumbles, trying again")
                await asyncio.sleep(_STUMBLE)

    async def load(self, db: Connection) -> None:
        """Take up where the last life has committed."""
        node = self._settings.node
        row = await maybe(db, "SELECT inode, position FROM trace_position WHERE node = %s", [node])
        self._tail.inode, self._tail.position = (row["inode"], row["position"]) if row else (0, 0)
        rows = await db.execute("SELECT queue_id, known FROM trace_open WHERE node = %s", [node])
        self._book = Book({row["queue_id"]: Mail.of(row["known"]) async for row in rows}, self._door)
        await db.commit()

    async def step(self, db: Connection) -> int:
        """Read what is new and commit it; how many bytes that were."""
        data = self._tail.read()
        if data is None:
            return 0
        now = datetime.now(UTC)
        lines = data.split(b"\n")
        entries = [(when(raw, now), entry) for raw in lines if (entry := parse(raw)) is not None]
        if entries:
            found = await workspaces(db, domains_of(entries, self._book.mails))
            batch = self._book.take(entries, found, iter(await numbers(db, _ROWS * self._book.most(entries))))
            batch.gone |= self._book.forget(now)
            await write(db, self._settings.node, batch, self._book.mails)
        self._tail.position += len(data)
        await db.execute(
            """INSERT INTO trace_position (node, inode, position) VALUES (%s, %s, %s)
               ON CONFLICT (node) DO UPDATE SET inode = excluded.inode, position = excluded.position""",
            [self._settings.node, self._tail.inode, self._tail.position],
        )
        await db.commit()
        return len(data)
