"""What Thurn makes of a mail or of a server's reply, as data: for `thurn feedback explain`. No database, no daemon."""

import re
from pathlib import Path
from typing import Any

from thurn.feedback.bounce_mail import Recipient, read
from thurn.feedback.classify import classify, codes
from thurn.feedback.mime import LONGEST

_MAIL = re.compile(rb"\A(From [^\n]+\n)?[!-9;-~]{1,76}[ \t]*:[^\n]*\n([!-9;-~]{1,76}[ \t]*:|[ \t]|\r?\n)")


def explain(raw: bytes, name: str) -> dict[str, Any]:
    """A mail, or a line that a mail server said, read. `name` comes back as `file`."""
    if not _MAIL.match(raw):
        return explain_reply(raw.decode("utf-8", "replace"), name)
    incoming = read(raw)
    explained: dict[str, Any] = {"file": name, "kind": incoming.kind}
    explained["recipients"] = [_recipient(recipient) for recipient in incoming.recipients]
    if incoming.feedback_type:
        explained["feedback_type"] = incoming.feedback_type
    return explained


def explain_reply(reply: str, name: str) -> dict[str, Any]:
    """A line of text as an SMTP reply."""
    code, status = codes(reply)
    return {"file": name, "status": status, "reply_code": code, **_verdict(reply), "diagnostic": reply.strip()}


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
        "rule": verdict.rule,
    }
