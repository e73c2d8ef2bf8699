"""Leases whose end nobody saw: was the mail handed over or not? Found out, never guessed; nothing is sent on suspicion.

A lease is unknown when its sender died or its connection broke. In this order, so that no mail slips through between:

1. wait until the server has ended those sessions, by its own log: what was in the socket has been read and written
   down, or is lost for good;
2. list the queue of `out`;
3. wait until the mail log has been read past this moment: what left the queue before 2 has logged its `from=` before;
4. who shows up nowhere was never taken, and is queued again.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from thurn.db.connect import Connection
from thurn.delivery.out_queue import client_ports, queued_deliveries
from thurn.delivery.outcomes import Outcome, append
from thurn.delivery.sessions import Served, still_open
from thurn.feedback.tail import behind
from thurn.mail.tokens import VerpTokens
from thurn.settings import Settings

log = structlog.get_logger()

_SETTLE = 1.0  # seconds for postlogd to write what was logged before
_LOOK = 0.25
# Seconds for the server to notice and log the end of a session: a client killed with an answer unread resets its
# connection, which is gone from the kernel's table while the server still writes down a mail it has read in full.
_LINGER = 3.0

_UNPROVEN = """
SELECT d.campaign_id, d.id, d.attempt FROM delivery d
WHERE d.campaign_id = ANY(%(campaigns)s) AND d.state = 'leased' AND d.lease = ANY(%(lives)s)
  AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.campaign_id = d.campaign_id AND o.delivery_id = d.id
                  AND (o.attempt IS NULL OR o.attempt = d.attempt))
  AND (d.campaign_id, d.id) NOT IN (SELECT q.campaign_id, q.delivery_id FROM queue_entry q)
"""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A lease whose end nobody saw."""

    campaign: int
    delivery: int
    attempt: int


async def leases_of(db: Connection, lives: list[int]) -> list[Unknown]:
    """Every lease of these lives."""
    rows = await db.execute(
        "SELECT campaign_id, id, attempt FROM delivery WHERE state = 'leased' AND lease = ANY(%s)", [lives]
    )
    return [Unknown(r["campaign_id"], r["id"], r["attempt"]) async for r in rows]


async def settle(
    db: Connection,
    settings: Settings,
    tokens: VerpTokens,
    lives: list[int],
    unknown: Iterable[Unknown],
    ports: set[int],
    in_use: Callable[[], set[int]] = set,
    sessions: frozenset[Served] = frozenset(),
) -> tuple[int, int]:
    """Settle `unknown` leases of `lives`, which went over connections from `ports`.

    `in_use` gives the ports of this life's own open connections: the kernel may have given one of `ports` to one of
    them, which proves that the old connection is gone. `sessions` are the server's halves of the connections.

    Returns how many were found handed over and how many are queued again.

    Waits as long as it takes: for `out` to run, for its connections to end, for its log to be read.
    """
    wanted = set(unknown)
    while (ports - in_use()) & client_ports(settings.port["out"]):
        await asyncio.sleep(_LOOK)
    await asyncio.sleep(_LINGER)
    await _ended(settings, set(sessions))
    held = await _queue(settings, tokens)
    await asyncio.sleep(_SETTLE)
    await _log_read(db, settings)
    campaigns = sorted({u.campaign for u in wanted})
    async with db.transaction():
        rows = await db.execute(_UNPROVEN, {"campaigns": campaigns, "lives": lives})
        unproven = wanted & {Unknown(r["campaign_id"], r["id"], r["attempt"]) async for r in rows}
        now = datetime.now(UTC)
        outcomes = [
            Outcome(u.campaign, u.delivery, "handed_over", now, attempt=u.attempt, source="reconcile")
            if (u.campaign, u.delivery) in held
            else Outcome(u.campaign, u.delivery, "returned", now, attempt=u.attempt, source="reconcile")
            for u in sorted(unproven, key=lambda u: (u.campaign, u.delivery))
        ]
        await append(db, outcomes)
    returned = sum(o.kind == "returned" for o in outcomes)
    return len(wanted) - returned, returned


async def settle_former(
    db: Connection,
    settings: Settings,
    tokens: VerpTokens,
    life: int,
    ports: set[int],
    in_use: Callable[[], set[int]],
    sessions: frozenset[Served],
) -> None:
    """Settle what the lives before `life` on this node have left; the rest as in `settle`."""
    rows = await db.execute(
        "SELECT id FROM sender_life WHERE node = %s AND settled_at IS NULL AND id < %s", [settings.node, life]
    )
    lives = [row["id"] async for row in rows]
    if leases := await leases_of(db, lives):
        found, returned = await settle(db, settings, tokens, lives, leases, ports, in_use, sessions)
        log.info("leases of a former life settled", handed_over=found, queued_again=returned)
    await db.execute("UPDATE sender_life SET settled_at = now() WHERE id = ANY(%s)", [lives])


async def _ended(settings: Settings, sessions: set[Served]) -> None:
    log = settings.state / "log" / "out.mail.log"
    size = log.stat().st_size if log.exists() else 0
    while size and (sessions := await asyncio.to_thread(still_open, log, sessions, size)):
        await asyncio.sleep(_LOOK)


_LOST = """
SELECT d.campaign_id, d.id, d.attempt FROM delivery d
WHERE d.campaign_id IN (SELECT id FROM campaign WHERE state IN ('sending', 'paused', 'cancelled'))
  AND d.state IN ('handed_over', 'deferred') AND d.handed_over_at < %(before)s
  AND d.lease = ANY(ARRAY(SELECT id FROM sender_life WHERE node = %(node)s))
  AND (d.campaign_id, d.id) NOT IN (SELECT o.campaign_id, o.delivery_id FROM outcome o)
"""


async def declare_lost(db: Connection, settings: Settings, tokens: VerpTokens) -> int:
    """After `out` has crashed: deliveries that it took, that left its queue, and whose log lines never came.

    A killed master takes lines with it that were written and not yet read by its log service. What the provider said is
    lost then; the delivery is `unknown`, not resent. Returns how many.
    """
    before = datetime.now(UTC)
    held = await _queue(settings, tokens)
    await asyncio.sleep(_SETTLE)
    # A mail that moved from `deferred` to `active` during one listing stands in neither part of it.
    held |= await _queue(settings, tokens)
    await _log_read(db, settings)
    async with db.transaction():
        rows = await db.execute(_LOST, {"before": before, "node": settings.node})
        gone = [
            Outcome(r["campaign_id"], r["id"], "lost", before, source="reconcile")
            async for r in rows
            if (r["campaign_id"], r["id"]) not in held
        ]
        await append(db, gone)
    return len(gone)


async def _queue(settings: Settings, tokens: VerpTokens) -> set[tuple[int, int]]:
    while True:
        try:
            return await queued_deliveries(settings.state / "out" / "queue", tokens)
        except OSError:  # `out` is down: the supervisor is starting it
            await asyncio.sleep(_LOOK)


async def _log_read(db: Connection, settings: Settings) -> None:
    """Return once `feedback` has committed everything that stands in the log now."""
    path = settings.state / "log" / "out.mail.log"
    try:
        now = path.stat()
    except FileNotFoundError:
        return
    end = await asyncio.to_thread(_last_line_ends, path, now.st_size)
    while True:
        row = await (
            await db.execute("SELECT inode, position FROM log_position WHERE node = %s", [settings.node])
        ).fetchone()
        if row and (row["position"] >= end if row["inode"] == now.st_ino else behind(path, row["inode"], now.st_ino)):
            return
        await asyncio.sleep(_LOOK)


def _last_line_ends(path: Path, size: int) -> int:
    """Where the last whole line of a log ends; what a full disk has cut off after it is read by nobody."""
    with path.open("rb") as file:
        begin = max(0, size - 65_536)
        file.seek(begin)
        found = file.read(size - begin).rfind(b"\n") + 1
    return begin + found if found else size
