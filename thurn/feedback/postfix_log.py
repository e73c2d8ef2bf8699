"""What a line of `out`'s mail log says: pure, no files, no database.

Lines of interest (Postfix 3.7; the process name starts with the instance's syslog name):

    Nov 23 20:30:01 mail out/qmgr[12]: 4XyZ: from=<b.e1.google.tok@bounce.x>, size=7012, nrcpt=1 (queue active)
    Nov 23 20:30:02 mail out/smtp[13]: 4XyZ: to=<a@b>, relay=…, delay=…, dsn=2.0.0, status=sent (250 2.0.0 Ok)
    Nov 23 20:30:02 mail out/qmgr[12]: 4XyZ: removed

A campaign mail has one recipient, so a queue id stands for one delivery.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

QUEUE_ID = rb"([0-9A-F]{6,}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,})"  # short and long ones (enable_long_queue_ids)
_LINE = re.compile(rb"\[\d+\]: " + QUEUE_ID + rb": (.*)$", re.DOTALL)
# The first dsn= is Postfix's; what follows the status is a stranger's text and may look like a log itself.
_STATUS = re.compile(rb"to=<[^>]*>, .*?dsn=([245]\.\d+\.\d+), status=(sent|deferred|bounced) \((.*)\)\s*$", re.DOTALL)
# What the server said, without Postfix's "host mx.example[192.0.2.1] said: "; to which command stays, it tells a lot.
_SAID = re.compile(r"^host \S+ (?:said|refused to talk to me): (.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that concerns a mail in the queue."""

    queue_id: str
    what: Literal["from", "sent", "deferred", "bounced", "removed", "expired"]
    sender: str = ""  # with `from`
    reply: str = ""  # with an outcome: what the server said, or why there was no conversation
    said: bool = False  # whether `reply` is a server's reply


def parse(line: bytes) -> Line | None:
    """Read one line; None for all that does not change what is known of a mail. Never raises."""
    found = _LINE.search(line)
    if found is None:
        return None
    queue_id, rest = found[1].decode("ascii"), found[2]
    if rest.startswith(b"from=<"):
        end = rest.find(b">", 6)
        if rest[end:].startswith((b">, status=expired", b">, status=force-expired")):  # the latter by `postsuper -e`
            return Line(queue_id, "expired", reply="4.4.7 expired: not delivered within the time allowed")
        return Line(queue_id, "from", sender=rest[6:end].decode("utf-8", "replace")) if end > 0 else None
    if rest.startswith(b"to=<"):
        return _outcome(queue_id, rest)
    return Line(queue_id, "removed") if rest.rstrip() == b"removed" else None


def _outcome(queue_id: str, rest: bytes) -> Line | None:
    found = _STATUS.match(rest)
    if found is None:
        return None
    status = found[2].decode()
    reply, said = reply_of(found[1].decode(), status, found[3].decode("utf-8", "replace"))
    return Line(queue_id, _what(status), reply=reply, said=said)


def reply_of(dsn: str, status: str, text: str) -> tuple[str, bool]:
    """What stands in the parentheses of a status line: the server's reply, or why there was no conversation."""
    said = _SAID.match(text)
    if said:
        return said[1], True
    return (text, True) if status == "sent" else (f"{dsn} {text}", False)


def _what(status: str) -> Literal["sent", "deferred", "bounced"]:
    match status:
        case "sent":
            return "sent"
        case "deferred":
            return "deferred"
        case _:
            return "bounced"


@lru_cache(maxsize=16)
def _local_time(stamp: bytes, year: int) -> datetime | None:
    try:
        local = datetime.strptime(f"{year} {stamp.decode('ascii')}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007 - local time
    except (ValueError, UnicodeDecodeError):
        return None
    return local.astimezone(UTC)


def when(raw: bytes, now: datetime) -> datetime:
    """When a line was written: as near to `now` as the whole second it names allows (local time, no year)."""
    second = _local_time(raw[:15], now.year)
    if second is None:
        return now
    if second > now + timedelta(days=1):  # December's lines, read in January
        second = second.replace(year=second.year - 1)
    return min(max(now, second), second + timedelta(milliseconds=999))
