"""Answers to campaigns: forwarded where they came to a bounce address, counted wherever they pass, never read.

A reply is told by In-Reply-To and References alone: our Message-ID is a signed token that names the delivery. The text
of a mail between people is looked at by nobody for this.
"""

import asyncio
import smtplib
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from thurn.db.connect import Connection
from thurn.delivery.outcomes import Outcome, append
from thurn.feedback.matching import Tokens
from thurn.feedback.mime import Fields
from thurn.mail.tokens import InvalidToken
from thurn.settings import LOOPBACK, Settings

log = structlog.get_logger()

MARK = "X-Thurn-Reply"  # on what was forwarded: a second time round is a loop
_PATIENCE = 30.0  # seconds


def automatic(fields: Fields) -> bool:
    """Whether a program wrote it, or it has been here before (RFC 3834; RFC 2369 for lists)."""
    return (
        fields.get("auto-submitted").lower().split(";")[0].strip() not in ("", "no")
        or MARK.lower() in fields
        or "list-id" in fields
        or fields.get("precedence").lower() in ("bulk", "junk", "list", "auto_reply")
        or any(name in fields for name in ("x-autoreply", "x-autorespond", "x-auto-reply", "x-failed-recipients"))
    )


async def forward(settings: Settings, sender: str, raw: bytes, target: str) -> str:
    """Send a reply on to `target` under a return address of ours; empty, or why it was refused for good.

    `OSError` when `mx` is away or asks to come again. It is handed over before anything is committed: who is killed in
    between sends it twice rather than never.
    """
    if not sender.isascii() or any(c in sender for c in " <>\r\n"):
        sender = ""
    mark = f"{MARK}: forwarded by {settings.hostname}\r\n".encode()
    try:
        await asyncio.to_thread(_send, settings, sender, target, mark + raw)
    except smtplib.SMTPRecipientsRefused as refused:
        code, said = next(iter(refused.recipients.values()))
        return _refused(code, said)
    except smtplib.SMTPResponseException as refused:
        return _refused(refused.smtp_code, refused.smtp_error)
    except smtplib.SMTPException as away:
        raise OSError(str(away)) from away
    return ""


def _refused(code: int, said: bytes | str) -> str:
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    if code < 500:
        raise OSError(f"{code} {words}")
    return f"{code} {words}"[:300]


def _send(settings: Settings, sender: str, target: str, mail: bytes) -> None:
    with smtplib.SMTP(LOOPBACK, settings.port["forward"], settings.hostname, timeout=_PATIENCE) as door:
        door.sendmail(sender, [target], mail)


async def count(db: Connection, tokens: Tokens, references: Sequence[str]) -> int:
    """Count a mail to a mailbox here as a reply to the deliveries its references name; returns how many it names."""
    keys = set()
    for token in references:
        try:
            keys.add(tokens.verp.read_token(token))
        except InvalidToken:
            continue
    now = datetime.now(UTC)
    if keys:
        await append(db, [Outcome(*key, "replied", now, source="mail") for key in sorted(keys)])
    return len(keys)
