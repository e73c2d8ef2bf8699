"""Suppressed addresses as a CSV file: in, from whatever system had them before, and out."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from thurn.audience import suppression
from thurn.audience.addresses import clean
from thurn.audience.barring import RULES, Reason
from thurn.audience.columns import field_name, read_header
from thurn.audience.csvfile import CsvFile, NotCsv, Record, Refused
from thurn.audience.imports import harmless
from thurn.db.connect import Connection
from thurn.problems import Invalid

_CHUNK = 2000
_SHOWN = 200  # refused rows that are told of one by one
_REASON_COLUMNS = ("reason", "cause", "type", "bounce_type", "suppression_type", "status", "category")

# What other systems call it (Mailchimp, Brevo, SendGrid, Mailgun, Postmark, SES, SparkPost, Mailjet, listmonk).
_WORDS: dict[str, Reason] = {
    **dict.fromkeys(
        ("bounce", "bounced", "bounces", "hard", "hard_bounce", "hard_bounces", "hardbounce", "hardbounced", "cleaned",
         "permanent", "dead", "invalid", "invalid_email", "unknown_address"), "bounce",
    ),
    **dict.fromkeys(("soft", "soft_bounce", "soft_bounces", "softbounce", "transient"), "soft-bounces"),
    **dict.fromkeys(
        ("complaint", "complained", "complaints", "spam", "spam_report", "spamreport", "spam_reports", "spamcomplaint",
         "spam_complaint", "abuse", "junk"), "complaint",
    ),
    **dict.fromkeys(
        ("unsubscribe", "unsubscribed", "unsubscribes", "unsub", "opt_out", "optout", "opted_out", "left",
         "manualsuppression_unsubscribe", "list_unsubscribe", "global_unsubscribe"), "unsubscribed",
    ),
    **dict.fromkeys(("manual", "manualsuppression", "manual_suppression", "by_hand", "admin"), "manual"),
}  # fmt: skip
_BLOCKS = frozenset({"block", "blocked", "blocks", "blocklisted", "policy", "reputation"})


@dataclass(slots=True)
class Loaded:
    """What became of a file. `known`: suppressed for as much already. `refused`: the first 200, line and reason."""

    added: int = 0
    known: int = 0
    refused_count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Count a row that was not taken."""
        self.refused_count += 1
        if len(self.refused) < _SHOWN:
            self.refused.append((line, reason))


Row = tuple[int, str, Reason]


async def load(
    db: Connection, workspace: int | None, path: Path, *, name: str, actor: str, reason: Reason = "manual"
) -> Loaded:
    """Suppress every address of a CSV file; `NotCsv` when it is none. `reason` holds where the file names none.

    The addresses may stand alone, one a line; else the first line names the columns.
    """
    if reason not in RULES:
        raise Invalid("reason", f"A reason is one of: {', '.join(RULES)}.")
    loaded = Loaded()
    with await asyncio.to_thread(CsvFile, path) as file:
        read = _rows(file.records(), reason)
        while chunk := await asyncio.to_thread(lambda: list(islice(read, _CHUNK))):
            good: dict[str, Reason] = {}
            taken = 0
            for row in chunk:
                if isinstance(row, Refused):
                    loaded.refuse(row.number, row.reason)
                else:
                    taken += 1
                    good[row[1]] = row[2]
            added = await suppression.put_many(db, workspace, list(good.items()))
            loaded.added += added
            loaded.known += taken - added
    words = f"{loaded.added:,} addresses added from {name[:200]}"
    await suppression.note_import(db, workspace, actor=actor, note=words)
    return loaded


def _rows(records: Iterator[Record | Refused], otherwise: Reason) -> Iterator[Row | Refused]:
    first = next(records, None)
    if isinstance(first, Refused):
        raise NotCsv(f"The first line cannot be read: {first.reason}")
    if first is None:
        raise NotCsv("The file is empty.")
    place = next((i for i, cell in enumerate(first.cells) if "@" in cell), None)
    why: int | None = None
    if place is None:
        place = read_header(first.cells).email
        titles = [field_name(cell) for cell in first.cells]
        why = next((titles.index(title) for title in _REASON_COLUMNS if title in titles), None)
    else:
        records = chain([first], records)
    for record in records:
        yield record if isinstance(record, Refused) else _row(record, place, why, otherwise)


def _row(record: Record, place: int, why: int | None, otherwise: Reason) -> Row | Refused:
    cells = record.cells
    cell = cells[place].strip() if place < len(cells) else ""
    if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@"):  # as `export` wrote it
        cell = cell[1:]
    try:
        address = clean(cell).lower()
    except Invalid as wrong:
        return Refused(record.number, str(wrong), record.lines)
    said = field_name(cells[why]) if why is not None and why < len(cells) else ""
    if said in _BLOCKS:
        return Refused(
            record.number,
            "A block is aimed at the sender, not at the address: it is no reason to write to it no more.",
            record.lines,
        )
    return record.number, address, _WORDS.get(said, otherwise)


async def export(db: Connection, *, everywhere: bool = False) -> AsyncIterator[bytes]:
    """Everything that stands, oldest last, as CSV (UTF-8 with a mark, so that spreadsheets read it)."""
    yield "\ufeff".encode() + _line(["email", "reason", "category", "since", "until", "evidence"])
    before: int | None = None
    while True:
        page = await suppression.suppression_page(db, everywhere=everywhere, before=before, limit=200, counted=False)
        if not page.items:
            return
        yield b"".join(
            _line([
                harmless(row["address"]), row["reason"], row["category"], row["created_at"].isoformat(),
                row["expires_at"].isoformat() if row["expires_at"] else "", harmless(row["evidence"]),
            ])
            for row in page.items
        )  # fmt: skip
        before = page.items[-1]["id"]


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()
