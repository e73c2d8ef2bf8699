"""The suppression list: who gets nothing, and why. What bars what, and for how long, is decided in barring.py.

A row belongs to a workspace, or (`workspace` None) to the whole installation. Every change is kept in
`suppression_change`, with who made it; a row that is taken back leaves its evidence there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from psycopg import sql

from thurn.audience.addresses import clean
from thurn.audience.barring import PATTERN_CATEGORIES, RULES, Reason, expires, is_pattern
from thurn.audience.service import COUNTED, MOST_A_PAGE, Page, escape_like
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.problems import Invalid, NotFound

LONGEST_NOTE = 1000
_COLUMNS = sql.SQL(
    "s.id, s.workspace_id, s.address, s.reason, s.category, s.evidence, s.source, s.campaign_id, s.report_id,"
    " s.created_at, s.expires_at"
)
_STANDS: LiteralString = "(s.expires_at IS NULL OR s.expires_at > now())"

# What is there already stays, except that a reason without end takes the place of one that ends, and anything the
# place of an unsubscribe, which bars less.
_PUT: LiteralString = """
INSERT INTO suppression AS s
  (workspace_id, address, reason, category, evidence, source, campaign_id, report_id, expires_at)
VALUES (%(workspace)s, %(address)s, %(reason)s, %(category)s, %(evidence)s, %(source)s, %(campaign)s, %(report)s,
        %(expires)s)
ON CONFLICT (workspace_id, address) DO UPDATE
SET reason = excluded.reason, category = excluded.category, evidence = excluded.evidence, source = excluded.source,
    campaign_id = excluded.campaign_id, report_id = excluded.report_id, expires_at = excluded.expires_at,
    created_at = now()
WHERE (s.expires_at IS NOT NULL AND (excluded.expires_at IS NULL OR excluded.expires_at > s.expires_at))
   OR (s.reason = 'unsubscribed' AND excluded.reason <> 'unsubscribed')
RETURNING s.id
"""
_NOTE: LiteralString = """
INSERT INTO suppression_change (workspace_id, address, action, reason, evidence, actor, note)
VALUES (%(workspace)s, %(address)s, %(action)s, %(reason)s, %(evidence)s, %(actor)s, %(note)s)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What made Thurn suppress an address: a dead address, a complaint, a pattern."""

    workspace: int
    address: str
    reason: Reason
    evidence: str
    category: str = ""
    source: str = ""
    campaign: int | None = None
    report: int | None = None


# ------------------------------------------------------------------ looking


def _whose(everywhere: bool) -> sql.SQL:
    """Own rows, or those of the installation. The workspace is the one that `db` is in."""
    return sql.SQL("s.workspace_id IS NULL" if everywhere else "s.workspace_id = current_workspace()")


async def suppression_page(
    db: Connection,
    *,
    everywhere: bool = False,
    before: int | None = None,
    after: int | None = None,
    limit: int = 25,
    query: str = "",
    reason: str = "",
    counted: bool = True,
) -> Page:
    """What stands, newest first, as in `contact_page`; `query` is part of an address. Items as in `get`."""
    limit = max(1, min(limit, MOST_A_PAGE))
    values: dict[str, Any] = {"limit": limit + 1, "before": before, "after": after, "reason": reason}
    wanted = [_whose(everywhere), sql.SQL(_STANDS)]
    needle = query.replace("\0", "").strip().lower()[:320]
    if needle:
        wanted.append(sql.SQL("s.address LIKE %(needle)s"))
        values["needle"] = f"%{escape_like(needle)}%"
    if reason:
        wanted.append(sql.SQL("s.reason = %(reason)s"))
    where = sql.SQL(" AND ").join(wanted)
    forward = after is not None and before is None
    edge = sql.SQL("s.id > %(after)s" if forward else "s.id < %(before)s" if before is not None else "true")
    found = await db.execute(
        sql.SQL(
            """SELECT {columns}, c.name AS campaign FROM suppression s LEFT JOIN campaign c ON c.id = s.campaign_id
               WHERE {where} AND {edge} ORDER BY s.id {order} LIMIT %(limit)s"""
        ).format(columns=_COLUMNS, where=where, edge=edge, order=sql.SQL("ASC" if forward else "DESC")),
        values,
    )
    items = await found.fetchall()
    total = await _count(db, where, values) if counted else None
    return Page.of(items, limit=limit, before=before, after=after, total=total)


async def _count(db: Connection, where: sql.Composed, values: Mapping[str, Any]) -> int | None:
    found = await db.execute(
        sql.SQL("SELECT count(*) AS n FROM (SELECT 1 FROM suppression s WHERE {} LIMIT {}) AS counted").format(
            where, sql.Literal(COUNTED + 1)
        ),
        values,
    )
    n = int((await found.fetchall())[0]["n"])
    return n if n <= COUNTED else None


async def counts(db: Connection, *, everywhere: bool = False) -> dict[str, int]:
    """How many addresses stand there for each reason."""
    found = await db.execute(
        sql.SQL("SELECT s.reason, count(*) AS n FROM suppression s WHERE {} AND {} GROUP BY s.reason").format(
            _whose(everywhere), sql.SQL(_STANDS)
        )
    )
    return {row["reason"]: row["n"] for row in await found.fetchall()}


async def get(db: Connection, number: int, *, everywhere: bool = False) -> Row:
    """One that stands: id, workspace_id, address, reason, category, evidence, source, campaign_id, campaign, report_id,
    created_at, expires_at; `NotFound`."""
    found = await db.execute(
        sql.SQL(
            """SELECT {columns}, c.name AS campaign FROM suppression s LEFT JOIN campaign c ON c.id = s.campaign_id
               WHERE {whose} AND {stands} AND s.id = %s"""
        ).format(columns=_COLUMNS, whose=_whose(everywhere), stands=sql.SQL(_STANDS)),
        [number],
    )
    row = await found.fetchone()
    if row is None:
        raise NotFound("There is no such entry on the suppression list. It may have been taken off.")
    return row


async def find(db: Connection, address: str, *, everywhere: bool = False) -> Row | None:
    """The entry of an address, as in `get`; None if it has none."""
    found = await db.execute(
        sql.SQL("SELECT s.id FROM suppression s WHERE {} AND {} AND s.address = %s").format(
            _whose(everywhere), sql.SQL(_STANDS)
        ),
        [_key(address)],
    )
    row = await found.fetchone()
    return None if row is None else await get(db, row["id"], everywhere=everywhere)


async def history(db: Connection, address: str, *, everywhere: bool = False, limit: int = 50) -> list[Row]:
    """What was done with an address, newest first: at, action, reason, evidence, actor, note."""
    found = await db.execute(
        sql.SQL(
            """SELECT s.at, s.action, s.reason, s.evidence, s.actor, s.note FROM suppression_change s
               WHERE {} AND s.address = %s ORDER BY s.id DESC LIMIT %s"""
        ).format(_whose(everywhere)),
        [_key(address), limit],
    )
    return await found.fetchall()


# ------------------------------------------------------------------ by people


async def add(
    db: Connection,
    workspace: int | None,
    address: str,
    *,
    actor: str,
    reason: Reason = "manual",
    note: str = "",
    days: int | None = None,
    source: str = "hand",
) -> bool:
    """Suppress an address; False if it was already, for a reason that bars as much. `Invalid` for what is no address.

    `workspace` None: everywhere. `days`: for how long, else as the reason says.
    """
    if reason not in RULES:
        raise Invalid("reason", f"A reason is one of: {', '.join(RULES)}.")
    if days is not None and not 1 <= days <= 3650:
        raise Invalid("days", "It can last from 1 day to 3,650, or for good.")
    note = " ".join(note.replace("\0", "").split())[:LONGEST_NOTE]
    now = datetime.now(UTC)
    until = expires(reason, now) if days is None else now + timedelta(days=days)
    row = await maybe(
        db,
        _PUT,
        _values(workspace, clean(address).lower(), reason, evidence=note, source=source, until=until),
    )
    if row is not None:
        await _note(db, workspace, clean(address).lower(), "added", reason=reason, actor=actor, note=note)
    return row is not None


async def remove(db: Connection, number: int, *, actor: str, note: str = "", everywhere: bool = False) -> Row:
    """Take a suppression back; returns the row that was. `NotFound`.

    Mail goes to the address again. It is suppressed anew as soon as there is a new reason; older soft bounces no
    longer count.
    """
    row = await get(db, number, everywhere=everywhere)
    await db.execute("DELETE FROM suppression WHERE id = %s", [row["id"]])
    note = " ".join(note.replace("\0", "").split())[:LONGEST_NOTE]
    await _note(
        db, row["workspace_id"], row["address"], "removed", reason=row["reason"], evidence=row["evidence"],
        actor=actor, note=note,
    )  # fmt: skip
    return row


async def put_many(db: Connection, workspace: int | None, entries: Sequence[tuple[str, Reason]]) -> int:
    """Suppress clean addresses of a file; returns how many were not suppressed for as much before."""
    now = datetime.now(UTC)
    async with db.cursor() as cursor:
        await cursor.executemany(
            _PUT,
            [
                _values(workspace, address, reason, source="import", until=expires(reason, now))
                for address, reason in entries
            ],
            returning=False,
        )
        return max(0, cursor.rowcount)


async def note_import(db: Connection, workspace: int | None, *, actor: str, note: str) -> None:
    """One line of history for a whole file."""
    await _note(db, workspace, "", "imported", actor=actor, note=note)


# ------------------------------------------------------------------ by what came back


async def suppress(db: Connection, found: Found) -> None:
    """Suppress an address for something that happened. What stands already for as much stays as it is."""
    address = found.address.lower()
    row = await maybe(
        db,
        _PUT,
        _values(
            found.workspace, address, found.reason, category=found.category, evidence=found.evidence,
            source=found.source, campaign=found.campaign, report=found.report,
            until=expires(found.reason, datetime.now(UTC)),
        ),
    )  # fmt: skip
    if row is not None:
        await _note(db, found.workspace, address, "added", reason=found.reason, actor="Thurn", note=found.evidence)


async def soft_pattern(db: Connection, workspace: int, contact: int, address: str) -> bool:
    """Whether a contact's soft bounces have become a pattern: since the last sign of life, and since a person let the
    address in again."""
    bounces = await rows(
        db,
        """WITH life AS (
             SELECT greatest(
               (SELECT max(e.at) FROM event e WHERE e.contact_id = %(contact)s AND e.kind = 'delivered'
                  AND NOT EXISTS (SELECT 1 FROM event b WHERE b.campaign_id = e.campaign_id
                                  AND b.delivery_id = e.delivery_id AND b.kind = 'bounced')),
               (SELECT max(e.at) FROM event e WHERE e.contact_id = %(contact)s
                  AND (e.kind = 'replied' OR e.kind IN ('opened', 'clicked') AND e.actor = 'human')),
               (SELECT max(h.at) FROM suppression_change h WHERE h.address = %(address)s AND h.action = 'removed'
                  AND h.workspace_id = %(workspace)s)) AS at)
           SELECT e.at FROM event e, life
           WHERE e.contact_id = %(contact)s AND e.kind = 'bounced' AND e.at > coalesce(life.at, '-infinity')
             AND e.detail->>'hard' IS DISTINCT FROM 'true' AND e.detail->>'category' = ANY(%(categories)s)
           ORDER BY e.at DESC LIMIT 1000""",
        {
            "contact": contact, "address": address.lower(), "workspace": workspace,
            "categories": sorted(PATTERN_CATEGORIES),
        },
    )  # fmt: skip
    return is_pattern([row["at"] for row in bounces], datetime.now(UTC))


async def let_go(db: Connection, limit: int = 2000) -> int:
    """Remove what has run out, and note it; returns how many. As the machinery."""
    gone = await rows(
        db,
        """WITH over AS (
             DELETE FROM suppression WHERE id IN (
               SELECT id FROM suppression WHERE expires_at <= now() ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
             RETURNING workspace_id, address, reason, evidence)
           INSERT INTO suppression_change (workspace_id, address, action, reason, evidence, actor, note)
           SELECT workspace_id, address, 'removed', reason, evidence, 'Thurn', 'Its time has run out.' FROM over
           RETURNING id""",
        [limit],
    )
    return len(gone)


# ------------------------------------------------------------------ parts


def _key(address: str) -> str:
    return address.replace("\0", "").strip().lower()[:320]


def _values(
    workspace: int | None,
    address: str,
    reason: str,
    *,
    until: datetime | None,
    category: str = "",
    evidence: str = "",
    source: str = "",
    campaign: int | None = None,
    report: int | None = None,
) -> Mapping[str, Any]:
    return {
        "workspace": workspace, "address": address, "reason": reason, "category": category,
        "evidence": evidence[:2000], "source": source, "campaign": campaign, "report": report, "expires": until,
    }  # fmt: skip


async def _note(
    db: Connection,
    workspace: int | None,
    address: str,
    action: str,
    *,
    actor: str,
    reason: str = "",
    evidence: str = "",
    note: str = "",
) -> None:
    await db.execute(
        _NOTE,
        {
            "workspace": workspace, "address": address, "action": action, "reason": reason,
            "evidence": evidence[:2000], "actor": actor, "note": note[:LONGEST_NOTE],
        },
    )  # fmt: skip
