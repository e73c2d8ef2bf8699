"""What came back by mail, as it was recorded: for people who want to know what Thurn made of it, and why."""

import re
from typing import Any

from psycopg import sql

from thurn.audience.service import MOST_A_PAGE, Page, escape_like
from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.problems import NotFound

KINDS = {
    "bounce": "Bounce", "delayed": "Notice of delay", "complaint": "Complaint", "auto-reply": "Automatic reply",
    "reply": "Reply", "unsubscribe": "Unsubscribe by mail", "dmarc": "DMARC report", "tlsrpt": "TLS report",
    "other": "Something else",
}  # fmt: skip
MATCHED_BY = {
    "address": "the address it came to, which we signed", "sender": "the return address of our mail in it",
    "message-id": "the Message-ID of our mail in it", "feedback-id": "the CFBL-Feedback-ID of our mail in it",
    "unsubscribe": "the unsubscribe address of our mail", "reference": "the mail of ours that it refers to",
}  # fmt: skip
RAW_DAYS, ROW_DAYS = 90, 400  # how long the mail itself is kept, and the line about it
_SHOWN = 20_000  # characters of a mail's source
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_COLUMNS = sql.SQL(
    "r.id, r.received_at, r.kind, r.matched, r.matched_by, r.workspace_id, r.campaign_id, r.delivery_id, r.address,"
    " r.sender, r.subject, r.recipient, r.category, r.effect, r.summary"
)
_LIKE = "r.address ILIKE %(q)s OR r.sender ILIKE %(q)s OR r.recipient ILIKE %(q)s OR r.subject ILIKE %(q)s"


async def returned_page(
    db: Connection,
    *,
    unmatched: bool | None = None,
    operator: bool = False,
    before: int | None = None,
    after: int | None = None,
    limit: int = 25,
    query: str = "",
    kind: str = "",
) -> Page:
    """What came back to a workspace, newest first. With `operator` also what belongs to nobody; `unmatched` True or
    False asks for one of both. `total` is not counted.

    Items: id, received_at, kind, matched, matched_by, campaign_id, campaign, delivery_id, address, sender, subject,
    recipient, category, effect, summary.
    """
    limit = max(1, min(limit, MOST_A_PAGE))
    values: dict[str, Any] = {"limit": limit + 1, "before": before, "after": after, "kind": kind}
    wanted = [_visible(operator)]
    if unmatched is not None:
        wanted.append(sql.SQL("NOT r.matched" if unmatched else "r.matched"))
    if kind:
        wanted.append(sql.SQL("r.kind = %(kind)s"))
    needle = query.replace("\0", "").strip()[:320]
    if needle:
        wanted.append(sql.SQL(f"({_LIKE})"))
        values["q"] = f"%{escape_like(needle)}%"
    forward = after is not None and before is None
    wanted.append(sql.SQL("r.id > %(after)s" if forward else "r.id < %(before)s" if before is not None else "true"))
    found = await db.execute(
        sql.SQL(
            """SELECT {columns}, c.name AS campaign FROM incoming_report r LEFT JOIN campaign c ON c.id = r.campaign_id
               WHERE {where} ORDER BY r.id {order} LIMIT %(limit)s"""
        ).format(columns=_COLUMNS, where=sql.SQL(" AND ").join(wanted), order=sql.SQL("ASC" if forward else "DESC")),
        values,
    )
    return Page.of(await found.fetchall(), limit=limit, before=before, after=after, total=None)


def _visible(operator: bool) -> sql.SQL:
    own = "r.workspace_id = current_workspace()"
    return sql.SQL("(r.workspace_id = current_workspace() OR r.workspace_id IS NULL)") if operator else sql.SQL(own)


async def kinds(db: Connection, *, operator: bool = False) -> dict[str, int]:
    """How many of each kind came in the last 30 days; `unmatched` counts those that belong to nobody."""
    found = await db.execute(
        sql.SQL(
            """SELECT kind, count(*) AS n, count(*) FILTER (WHERE NOT matched) AS unmatched FROM incoming_report r
               WHERE {} AND received_at > now() - interval '30 days' GROUP BY kind"""
        ).format(_visible(operator))
    )
    counted = await found.fetchall()
    return {row["kind"]: row["n"] for row in counted} | {"unmatched": sum(row["unmatched"] for row in counted)}


async def get(db: Connection, number: int, *, operator: bool = False) -> Row:
    """One of them, with `raw` (bytes or None) and `contact_id` of the delivery; `NotFound`."""
    found = await db.execute(
        sql.SQL(
            """SELECT {}, c.name AS campaign, r.raw, d.contact_id FROM incoming_report r
               LEFT JOIN campaign c ON c.id = r.campaign_id
               LEFT JOIN delivery d ON d.campaign_id = r.campaign_id AND d.id = r.delivery_id
               WHERE r.id = %s AND {}"""
        ).format(_COLUMNS, _visible(operator)),
        [number],
    )
    row = await found.fetchone()
    if row is None:
        raise NotFound("There is no such mail here.")
    return row


def source(raw: bytes | None) -> str:
    """A mail as it came, as text that does nothing: no controls, nothing that turns the direction of writing."""
    if raw is None:
        return ""
    text = raw[: _SHOWN * 2].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("\ufffd", text)[:_SHOWN]


async def forget(db: Connection, limit: int = 1000) -> int:
    """Drop mails and lines that are old; returns how many. As the machinery."""
    bare = await rows(
        db,
        """UPDATE incoming_report SET raw = NULL WHERE id IN (
             SELECT id FROM incoming_report WHERE raw IS NOT NULL AND received_at < now() - make_interval(days => %s)
             ORDER BY received_at LIMIT %s) RETURNING id""",
        [RAW_DAYS, limit],
    )
    gone = await rows(
        db,
        """DELETE FROM incoming_report WHERE id IN (
             SELECT id FROM incoming_report WHERE received_at < now() - make_interval(days => %s)
             ORDER BY id LIMIT %s) RETURNING id""",
        [ROW_DAYS, limit],
    )
    return len(bare) + len(gone)
