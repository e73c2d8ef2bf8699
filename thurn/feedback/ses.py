"""What Amazon SES reports, as an SNS message or as a mail about one: its notifications and its published events. Pure.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html and …/event-publishing-retrieving-sns-contents.html
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from thurn.feedback.classify import codes
from thurn.feedback.mime import NOTHING, Fields

_LONGEST = 256 * 1024  # characters; SNS itself carries at most as much
_RECIPIENTS = 500
_NOBODY = ("General", "NoEmail")


@dataclass(frozen=True, slots=True)
class Reported:
    """What is said of one recipient."""

    kind: Literal["bounce", "delayed", "delivered", "complaint"]
    address: str
    action: Literal["failed", "delayed", "delivered"]
    status: str = ""
    reply_code: str = ""
    diagnostic: str = ""
    command: str = ""
    feedback_type: str = ""
    original: Fields = NOTHING  # header of the mail, as far as SES tells


def notified(text: str) -> list[Reported]:
    """Read a notification; whatever is none gives nothing. JSON that sendmail folded is put together again."""
    text = re.sub(r"!\r?\n ", "", text[:_LONGEST]).lstrip()
    try:
        message, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return []
    return list(reported(message)) if isinstance(message, dict) else []


def reported(message: dict[str, Any]) -> Iterator[Reported]:
    """What a notification or an event says, recipient by recipient."""
    what = message.get("notificationType") or message.get("eventType")
    original = _original(_object(message.get("mail")))
    match what:
        case "Bounce":
            yield from _bounced(_object(message.get("bounce")), original)
        case "Complaint":
            complaint = _object(message.get("complaint"))
            feedback = _text(complaint.get("complaintFeedbackType")) or "abuse"
            for recipient in _list(complaint.get("complainedRecipients")):
                yield Reported(
                    "complaint",
                    _text(recipient.get("emailAddress")),
                    "failed",
                    feedback_type=feedback,
                    original=original,
                )
        case "Delivery":
            delivery = _object(message.get("delivery"))
            for address in _strings(delivery.get("recipients")):
                yield Reported("delivered", address, "delivered", "2.0.0", original=original)
        case "DeliveryDelay":
            for recipient in _list(_object(message.get("deliveryDelay")).get("delayedRecipients")):
                yield _told("delayed", "delayed", recipient, original)


def _bounced(bounce: dict[str, Any], original: Fields) -> Iterator[Reported]:
    # `Transient` covers a full mailbox and a lost connection: SES has given up either way. `Undetermined` says nothing.
    general = bounce.get("bounceType") == "Permanent" and bounce.get("bounceSubType") in _NOBODY
    for recipient in _list(bounce.get("bouncedRecipients")):
        told = _told("bounce", "failed", recipient, original)
        if general and not told.diagnostic and not told.status:
            told = Reported("bounce", told.address, "failed", "5.1.1", original=original)
        yield told


def _told(
    kind: Literal["bounce", "delayed"],
    action: Literal["failed", "delayed"],
    recipient: dict[str, Any],
    original: Fields,
) -> Reported:
    diagnostic = re.sub(r"(?i)^\s*smtp;\s*", "", _text(recipient.get("diagnosticCode")))
    code, inner = codes(diagnostic)
    status = re.search(r"[245]\.\d{1,3}\.\d{1,3}", _text(recipient.get("status")))
    given = status[0] if status else ""
    return Reported(
        kind, _text(recipient.get("emailAddress")), action, inner if inner and given[1:] in ("", ".0.0") else given,
        code, diagnostic, original=original,
    )  # fmt: skip


def _original(mail: dict[str, Any]) -> Fields:
    fields = [
        (_text(header.get("name")).lower(), _text(header.get("value")))
        for header in _list(mail.get("headers"))[:_RECIPIENTS]
    ]
    if not any(name == "return-path" for name, _ in fields) and mail.get("source"):
        fields.append(("return-path", _text(mail.get("source"))))
    return Fields(tuple(fields)) if fields else NOTHING


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value[:_RECIPIENTS] if isinstance(each, dict)] if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [each[:320] for each in value[:_RECIPIENTS] if isinstance(each, str)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:4000] if isinstance(value, str) else ""
