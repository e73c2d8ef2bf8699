"""What Thurn makes of a mail or of a server's reply, as data: for `thurn feedback explain`. No database, no daemon."""

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from thurn.feedback.bounce_mail import Recipient, read
from thurn.feedback.classify import classify, codes
from thurn.feedback.mime import LONGEST

_HELD = 64 * 1024  # bytes of a packed report that are looked at
_MAIL = re.compile(rb"\A(From [^\n]+\n)?[!-9;-~]{1,76}[ \t]*:[^\n]*\n([!-9;-~]{1,76}[ \t]*:|[ \t]|\r?\n)")


def explain(raw: bytes, name: str) -> dict[str, Any]:
    """A mail, or a line that a mail server said, read. `name` comes back as `file`."""
    if not _MAIL.match(raw):
        kind = _report(raw)
        if kind:
            return {"file": name, "kind": kind, "recipients": []}
        return explain_reply(raw.decode("utf-8", "replace"), name)
    incoming = read(raw)
    explained: dict[str, Any] = {"file": name, "kind": incoming.kind}
    explained["recipients"] = [_recipient(recipient) for recipient in incoming.recipients]
    if incoming.feedback_type:
        explained["feedback_type"] = incoming.feedback_type
    return explained


def _report(raw: bytes) -> str:
    """The kind of a file that is no mail and no text: a report about a domain, packed or not, or something else."""
    start = raw[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<") and re.match(rb"(?s)(<\?xml[^>]{0,200}>|<!--.{0,1000}?-->|\s)*<(\w+:)?feedback\b", start):
        return "dmarc"
    if start.startswith(b"{") and b'"organization-name"' in raw and b'"policies"' in raw:
        return "tlsrpt"
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        held = unpacked_start(raw)
        return _report(held) if held and not held.startswith((b"PK\x03\x04", b"\x1f\x8b")) else "other"
    return "other" if b"\0" in start else ""


def unpacked_start(raw: bytes) -> bytes:
    """The first 64 KiB of what a gzip or zip file holds, or nothing; never more, whatever it claims."""
    try:
        if raw.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(raw, _HELD)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive, archive.open(archive.infolist()[0]) as file:
            return file.read(_HELD)
    except (
        zlib.error,
        zipfile.BadZipFile,
        OSError,
        ValueError,
        IndexError,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ):
        return b""


def explain_reply(reply: str, name: str) -> dict[str, Any]:
    """A line of text as an SMTP reply."""
    code, status = codes(reply)
    return {
        "file": name,
        "status": status,
        "reply_code": code,
        **_verdict(reply),
        "rule": classify(reply).rule,
        "diagnostic": reply.strip()[:2000],
    }


def explain_file(path: Path) -> dict[str, Any]:
    """A file; only as much of it is read as is looked at. Raises OSError."""
    with path.open("rb") as file:
        return explain(file.read(LONGEST), path.name)


def _recipient(recipient: Recipient) -> dict[str, Any]:
    explained: dict[str, Any] = {
        "address": recipient.address,
        "status": recipient.status,
        "reply_code": recipient.reply_code,
    }
    if recipient.action == "delivered":
        explained |= {"category": "delivered", "hard": False, "fault": "", "action": ""}
    elif recipient.action == "delayed":  # still being tried: whatever the reason, it is not final
        explained |= _verdict(recipient.reply) | {"hard": False, "action": "retry"}
    else:
        explained |= _verdict(recipient.reply)
    return {**explained, "diagnostic": recipient.diagnostic}


def _verdict(reply: str) -> dict[str, Any]:
    verdict = classify(reply)
    return {
        "category": verdict.category,
        "hard": verdict.hard,
        "fault": verdict.fault,
        "action": verdict.action,
    }
