"""Loads tracking hits from the spool into the database: events, first contacts, rollups, unsubscribes.

How far each file has been read is committed together with what was read, so a killed loader repeats nothing and skips
nothing. Opens and clicks are held back for `LAG` seconds, until all that belongs to the same burst is there; who
unsubscribes is gone at once. One loader runs at a time (advisory lock).
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog

from thurn.db.connect import Connection, Row
from thurn.settings import Settings
from thurn.tracking.classify import BURST, Key, bursts, decide
from thurn.tracking.spool import Hit, abandoned, directory, parse

log = structlog.get_logger()

LAG = BURST + 0.5  # seconds
_LOCK = 0x7468_6869  # "thhi": one loader per database
_CHUNK = 4 * 1024 * 1024  # bytes of a file looked at in one pass
_AHEAD = 60.0  # seconds: a hit later than that was stamped by a wrong clock and waits for nothing

# Keyed on the primary keys; the loader is engagement's only writer, so what it reads here stays true.
_LOOK = """
SELECT d.campaign_id, d.id, d.workspace_id, d.contact_id, d.provider, d.handed_over_at, d.settled_at,
       d.state = 'delivered' AS delivered,
       e.opened_human, e.opened_machine, e.clicked_human, e.clicked_machine, e.unsubscribed
FROM delivery d LEFT JOIN engagement e ON e.campaign_id = d.campaign_id AND e.delivery_id = d.id
WHERE d.campaign_id = %s AND d.id = ANY(%s)
"""

_RECENT_CLICKS = """
SELECT delivery_id, at, (detail->>'link')::int AS link FROM event
WHERE campaign_id = %s AND delivery_id = ANY(%s) AND kind = 'clicked' AND at >= %s
"""

_ENGAGED = """
INSERT INTO engagement AS e (campaign_id, delivery_id, workspace_id, opened_human, opened_machine, clicked_human,
                             clicked_machine, unsubscribed)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[],
                     %s::timestamptz[], %s::timestamptz[])
ON CONFLICT (campaign_id, delivery_id) DO UPDATE
SET opened_human = coalesce(e.opened_human, excluded.opened_human),
    opened_machine = coalesce(e.opened_machine, excluded.opened_machine),
    clicked_human = coalesce(e.clicked_human, excluded.clicked_human),
    clicked_machine = coalesce(e.clicked_machine, excluded.clicked_machine),
    unsubscribed = coalesce(e.unsubscribed, excluded.unsubscribed)
"""

_TALLY = """
INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
SELECT * FROM unnest(%s::int[], %s::bigint[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (campaign_id, provider, measure) DO UPDATE SET n = campaign_tally.n + excluded.n
"""

_LINK_TALLY = """
INSERT INTO link_tally (workspace_id, campaign_id, number, actor, n)
SELECT * FROM unnest(%s::int[], %s::bigint[], %s::smallint[], %s::text[], %s::bigint[])
ON CONFLICT (campaign_id, number, actor) DO UPDATE SET n = link_tally.n + excluded.n
"""

_LEAVE = """
UPDATE contact c SET unsubscribed_at = n.at, unsubscribed_by = n.campaign_id, updated_at = now()
FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[]) AS n (id, campaign_id, at)
WHERE c.id = n.id AND c.unsubscribed_at IS NULL
"""

# In a fixed order: others lock contacts, too.
_READS = """
UPDATE contact c SET engaged_on = n.day
FROM unnest(%s::bigint[], %s::date[]) AS n (id, day)
WHERE c.id = n.id AND (c.engaged_on IS NULL OR c.engaged_on < n.day)
"""

# Not COPY, which PostgreSQL refuses on a table with row-level security.
_EVENTS = """
INSERT INTO event (at, workspace_id, campaign_id, delivery_id, contact_id, kind, actor, detail)
SELECT * FROM unnest(%s::timestamptz[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[],
                     %s::jsonb[])
"""

_MEASURES = ("opened_human", "opened_machine", "clicked_human", "clicked_machine", "unsubscribed")


@dataclass(slots=True)
class _File:
    """What one pass took from one file."""

    path: Path
    position: int  # after what was taken
    taken: list[Hit] = field(default_factory=list)
    ahead: list[Hit] = field(default_factory=list)  # clicks that came after, for the sake of bursts
    bad: int = 0
    moved: bool = False


@dataclass(slots=True)
class _Batch:
    """What the hits of a pass come to, before it is written."""

    firsts: dict[Key, dict[str, Any]] = field(default_factory=dict)
    tallies: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    links: Counter[tuple[int, int, int, str]] = field(default_factory=Counter)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    left: dict[int, tuple[int, datetime]] = field(default_factory=dict)
    reads: dict[int, date] = field(default_factory=dict)  # contact -> last day on which a person read or clicked
    unknown: int = 0


async def load_spool(settings: Settings, db: Connection, *, limit: int = 10_000) -> int:
    """One pass over this node's spool; returns how many hits were taken, 0 also if another loader is at work.

    `db` must be in autocommit. Takes about `limit` hits at most, the oldest of each file first.
    """
    paths = sorted(directory(settings.state).glob("*.log"), reverse=True)  # who left first, whatever is waiting
    if not paths:
        return 0
    async with db.transaction():
        locked = await (await db.execute("SELECT pg_try_advisory_xact_lock(%s) AS ok", [_LOCK])).fetchone()
        if not locked or not locked["ok"]:
            return 0
        files = await _read(db, settings, paths, limit)
        hits = [hit for file in files for hit in file.taken]
        if hits:
            rows = await _look(db, hits)
            recent = await _recent_clicks(db, hits)
            ahead = [hit for file in files for hit in file.ahead]
            await _write(db, digest(hits, ahead, recent, rows))
        await _keep_positions(db, settings.node, files)
        done = [file.path for file in files if _finished(file)]
    for path in done:  # committed: whoever dies here finds the file again, read to its end
        path.unlink(missing_ok=True)
    return len(hits)


async def take(db: Connection, hits: list[Hit]) -> None:
    """Count hits that came by another way than the spool, in the transaction of `db`; waits for a loader at work."""
    await db.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    await _write(db, digest(hits, [], [], await _look(db, hits)))


async def _read(db: Connection, settings: Settings, paths: list[Path], limit: int) -> list[_File]:
    rows = await db.execute("SELECT file, position FROM spool_position WHERE node = %s", [settings.node])
    positions = {row["file"]: row["position"] async for row in rows}
    gone = sorted(positions.keys() - {path.name for path in paths})
    if gone:
        await db.execute("DELETE FROM spool_position WHERE node = %s AND file = ANY(%s)", [settings.node, gone])
    now = time.time()
    files = []
    for path in paths:
        if limit <= 0:
            break
        until = now - LAG if path.name.startswith("hits-") else now + _AHEAD
        try:
            file = read_file(path, positions.get(path.name, 0), until, now, limit)
        except FileNotFoundError:
            continue
        limit -= len(file.taken)
        files.append(file)
    return files


def read_file(path: Path, position: int, until: float, now: float, limit: int) -> _File:
    """Up to `limit` hits not later than `until` from `position` on, and the clicks of the next `BURST` seconds."""
    file = _File(path, position)
    with path.open("rb") as opened:
        opened.seek(position)
        data = opened.read(_CHUNK)
    lines = data.split(b"\n")[:-1]  # what has no end yet is not there yet
    if not lines and len(data) == _CHUNK:  # no hit is that long: not ours
        file.position += len(data)
        file.bad, file.moved = 1, True
    number = 0
    for number, raw in enumerate(lines):  # noqa: B007 - where it stopped is where looking ahead starts
        if len(file.taken) >= limit:
            break
        hit = parse(raw)
        if hit is None:
            file.bad += raw != b""
        elif hit.at > until and hit.at < now + _AHEAD:
            break
        else:
            file.taken.append(hit)
        file.position += len(raw) + 1
        file.moved = True
    else:
        number = len(lines)
    last = file.taken[-1].at if file.taken else 0.0
    for raw in lines[number:] if file.taken else ():
        if raw.startswith(b"c"):
            hit = parse(raw)
            if hit is not None:
                if hit.at > last + BURST:
                    break
                file.ahead.append(hit)
    return file


async def _look(db: Connection, hits: list[Hit]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for campaign, deliveries in _by_campaign(hits):
        for row in await (await db.execute(_LOOK, [campaign, deliveries])).fetchall():
            found[campaign, row["id"]] = row
    return found


async def _recent_clicks(db: Connection, hits: list[Hit]) -> list[tuple[Key, float, int]]:
    """Clicks already loaded that may belong to the same bursts."""
    clicks = [hit for hit in hits if hit.purpose == "c"]
    if not clicks:
        return []
    since = datetime.fromtimestamp(min(hit.at for hit in clicks) - BURST, UTC)
    found = []
    for campaign, deliveries in _by_campaign(clicks):
        rows = await db.execute(_RECENT_CLICKS, [campaign, deliveries, since])
        found += [((campaign, row["delivery_id"]), row["at"].timestamp(), row["link"] or 0) async for row in rows]
    return found


def _by_campaign(hits: list[Hit]) -> list[tuple[int, list[int]]]:
    grouped: dict[int, set[int]] = {}
    for hit in hits:
        grouped.setdefault(hit.campaign, set()).add(hit.delivery)
    return [(campaign, sorted(deliveries)) for campaign, deliveries in sorted(grouped.items())]


def digest(hits: list[Hit], ahead: list[Hit], recent: list[tuple[Key, float, int]], rows: dict[Key, Row]) -> _Batch:
    """Decide about every hit; those of deliveries that no longer exist are counted and dropped."""
    clicks = [((hit.campaign, hit.delivery), hit.at, hit.link) for hit in (*hits, *ahead) if hit.purpose == "c"]
    burst = bursts([*recent, *clicks])
    batch = _Batch()
    for hit in hits:
        row = rows.get((hit.campaign, hit.delivery))
        if row is None or row["workspace_id"] != hit.workspace:
            batch.unknown += 1
        else:
            _note(batch, hit, row, burst)
    return batch


def _note(batch: _Batch, hit: Hit, row: Row, burst: dict[Key, list[float]]) -> None:
    at = datetime.fromtimestamp(min(hit.at, time.time()), UTC)
    if hit.purpose == "u":
        batch.left.setdefault(row["contact_id"], (hit.campaign, at))
        if _first(batch, row, "unsubscribed", at):
            batch.events.append(_event(at, row, "unsubscribed", "human", {"agent": hit.agent}))
        return
    delivered = row["settled_at"] if row["delivered"] else row["handed_over_at"]
    decision = decide(hit, delivered.timestamp() if delivered else None, burst)
    detail: dict[str, Any] = {"rule": decision.rule, "agent": hit.agent}
    if hit.purpose == "c":
        detail["link"] = hit.link
        batch.links[row["workspace_id"], hit.campaign, hit.link, decision.actor] += 1
    kind = "clicked" if hit.purpose == "c" else "opened"
    if decision.actor == "human":
        batch.reads[row["contact_id"]] = max(at.date(), batch.reads.get(row["contact_id"], at.date()))
    _first(batch, row, f"{kind}_{decision.actor}", at)
    batch.events.append(_event(at, row, kind, decision.actor, detail))


def _first(batch: _Batch, row: Row, measure: str, at: datetime) -> bool:
    """Remember and count a person's first time; False if it was not the first."""
    if row[measure] is not None:
        return False
    row[measure] = at
    batch.firsts.setdefault((row["campaign_id"], row["id"]), {"workspace_id": row["workspace_id"]})[measure] = at
    batch.tallies[row["workspace_id"], row["campaign_id"], row["provider"], measure] += 1
    return True


def _event(at: datetime, row: Row, kind: str, actor: str, detail: dict[str, Any]) -> tuple[Any, ...]:
    text = orjson.dumps(detail).decode()
    return at, row["workspace_id"], row["campaign_id"], row["id"], row["contact_id"], kind, actor, text


async def _write(db: Connection, batch: _Batch) -> None:
    if batch.unknown:
        log.warning("hits for deliveries that no longer exist", dropped=batch.unknown)
    if batch.events:
        await db.execute(_EVENTS, _columns(batch.events))
    if batch.firsts:
        firsts = [(*key, new["workspace_id"], *map(new.get, _MEASURES)) for key, new in sorted(batch.firsts.items())]
        await db.execute(_ENGAGED, _columns(firsts))
    if batch.tallies:
        await db.execute(_TALLY, _columns([(*key, n) for key, n in sorted(batch.tallies.items())]))
    if batch.links:
        await db.execute(_LINK_TALLY, _columns([(*key, n) for key, n in sorted(batch.links.items())]))
    if batch.reads:
        await db.execute(_READS, _columns(sorted(batch.reads.items())))
    if batch.left:
        await db.execute(_LEAVE, _columns([(contact, *left) for contact, left in sorted(batch.left.items())]))


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def _keep_positions(db: Connection, node: str, files: list[_File]) -> None:
    for file in files:
        if file.bad:
            log.warning("torn lines in the spool", file=file.path.name, lines=file.bad)
        if file.moved:
            await db.execute(
                """INSERT INTO spool_position (node, file, position) VALUES (%s, %s, %s)
                   ON CONFLICT (node, file) DO UPDATE SET position = excluded.position""",
                [node, file.path.name, file.position],
            )


def _finished(file: _File) -> bool:
    """Whether a file has been read to the end and nobody writes it. A last line without an end was never answered."""
    if not abandoned(file.path):
        return False
    with file.path.open("rb") as opened:  # only now: the writer may have written until it let go
        opened.seek(file.position)
        rest = opened.read(_CHUNK)
    return len(rest) < _CHUNK and b"\n" not in rest
