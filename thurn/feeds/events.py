"""What sending services report by webhook, each in its own JSON, as one kind of event. Pure.

Only what changes something is read: bounces that are final, complaints, and people who left. A service that has given
up says why in the words of the server that refused, and those words are classified like any other reply.

Shapes: SendGrid https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event, Mailgun
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads, Postmark
https://postmarkapp.com/developer/webhooks/bounce-webhook, SparkPost https://developers.sparkpost.com/api/webhooks,
Brevo https://developers.brevo.com/docs/transactional-webhooks, Amazon SES: thurn/feedback/ses.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from thurn.feedback import ses
from thurn.feedback.bounce_mail import Incoming, Recipient
from thurn.feedback.classify import classify, codes

EVENTS = 5000  # of one call that are read
METADATA = "thurn"  # the member of what a service keeps for us that carries our token

_MESSAGE_ID = re.compile(r"(?im)^message-id:\s*<([^<>\s]{3,300})>")


class Unreadable(ValueError):
    """The body is not what this service sends."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one mail."""

    kind: Literal["bounce", "complaint"]
    address: str
    diagnostic: str = ""
    status: str = ""
    feedback_type: str = ""
    names: tuple[str, ...] = ()  # Message-IDs, envelope senders and metadata: one of them may carry a token of ours

    def incoming(self) -> Incoming:
        """As if it had come by mail."""
        code, inner = codes(self.diagnostic)
        # It was said to the service by the server of the recipient, at RCPT TO unless the words tell otherwise.
        recipient = Recipient(self.address, "failed", self.status or inner, code, self.diagnostic[:2000], "rcpt to")
        senders = tuple(name for name in self.names if name.startswith("b."))
        return Incoming(self.kind, (recipient,), self.feedback_type, senders=senders)


def read(kind: str, body: bytes) -> list[Event]:
    """The events of a call; `Unreadable` when it is none of this service's."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("The body is not JSON.") from error
    found: list[Event] = []
    for event in _READERS[kind](message):
        found.append(event)
        if len(found) == EVENTS:
            break
    return found


def _sendgrid(message: Any) -> Iterator[Event]:
    for event in _objects(message):
        names = (_text(event, "smtp-id"), _text(event, METADATA))
        address, reason = _text(event, "email"), _text(event, "reason")
        match event.get("event"):
            case "bounce":
                nobody = _text(event, "bounce_classification") == "Invalid Address"
                yield _bounce(address, reason, _text(event, "status"), names, nobody=nobody)
            case "dropped" if reason.lower() == "invalid":
                yield _bounce(address, reason, "5.1.3", names)
            case "spamreport":
                yield _complaint(address, "abuse", names)
            case "unsubscribe" | "group_unsubscribe":
                yield _complaint(address, "opt-out", names)


def _mailgun(message: Any) -> Iterator[Event]:
    event = _object(_object(message).get("event-data"))
    headers, status = _object(_object(event.get("message")).get("headers")), _object(event.get("delivery-status"))
    envelope, metadata = _object(event.get("envelope")), _object(event.get("user-variables"))
    names = (_text(headers, "message-id"), _text(envelope, "sender"), _text(metadata, METADATA))
    address = _text(event, "recipient")
    match event.get("event"):
        case "failed" if event.get("severity") == "permanent":
            said = _text(status, "message") or _text(status, "description")
            code = status.get("code")
            if isinstance(code, int) and 400 <= code < 600 and not codes(said)[0]:
                said = f"{code} {said}"
            yield _bounce(address, said, _text(status, "enhanced-code"), names)
        case "complained":
            yield _complaint(address, "abuse", names)
        case "unsubscribed":
            yield _complaint(address, "opt-out", names)


_POSTMARK_SILENT = frozenset(
    {"Transient", "AutoResponder", "ChallengeVerification", "Subscribe", "OpenRelayTest", "Unknown"}
)


def _postmark(message: Any) -> Iterator[Event]:
    event = _object(message)
    what, address = event.get("Type"), _text(event, "Email") or _text(event, "Recipient")
    names = (_text(_object(event.get("Metadata")), METADATA), *_MESSAGE_ID.findall(_text(event, "Content", 64 * 1024)))
    record = event.get("RecordType")
    if record == "SpamComplaint" or what in ("SpamComplaint", "SpamNotification"):
        yield _complaint(address, "abuse", names)
    elif what == "Unsubscribe" or (
        record == "SubscriptionChange" and event.get("SuppressionReason") == "ManualSuppression"
    ):
        if event.get("SuppressSending", True) is True:
            yield _complaint(address, "opt-out", names)
    elif record == "Bounce" and what not in _POSTMARK_SILENT:
        said = _text(event, "Details") or _text(event, "Description")
        yield _bounce(address, said, "5.1.3" if what == "BadEmailAddress" else "", names, nobody=what == "HardBounce")


_SPARKPOST_SILENT = frozenset({"60", "80", "90", "100"})  # auto-reply, subscribe, unsubscribe, challenge


def _sparkpost(message: Any) -> Iterator[Event]:
    for each in _objects(message):
        for event in _object(each.get("msys")).values():
            event = _object(event)
            names = (_text(event, "msg_from"), _text(_object(event.get("rcpt_meta")), METADATA))
            address = _text(event, "raw_rcpt_to") or _text(event, "rcpt_to")
            group = str(event.get("bounce_class", ""))
            match event.get("type"):
                case "bounce" | "out_of_band" if group not in _SPARKPOST_SILENT:
                    yield _bounce(address, _text(event, "raw_reason") or _text(event, "reason"), "", names,
                                  nobody=group == "10")  # fmt: skip
                case "spam_complaint":
                    yield _complaint(address, _text(event, "fbtype") or "abuse", names)
                case "list_unsubscribe" | "link_unsubscribe":
                    yield _complaint(address, "opt-out", names)


def _brevo(message: Any) -> Iterator[Event]:
    for event in _objects(message):
        names = (_text(event, "message-id"), _text(event, "X-Mailin-custom"))
        address, reason = _text(event, "email"), _text(event, "reason")
        match event.get("event"):
            case "hard_bounce" | "hardBounce":
                yield _bounce(address, reason, "", names, nobody=True)
            case "invalid_email" | "invalid":
                yield _bounce(address, reason or "invalid email address", "5.1.3", names)
            case "spam" | "complaint":
                yield _complaint(address, "abuse", names)
            case "unsubscribed" | "unsubscribe":
                yield _complaint(address, "opt-out", names)


def _ses(message: Any) -> Iterator[Event]:
    """`message` is what stands in the SNS message."""
    for report in ses.reported(_object(message)):
        names = (report.original.get("message-id"), *report.original.all("return-path"))
        if report.kind == "bounce":
            yield _bounce(report.address, report.diagnostic, report.status, names)
        elif report.kind == "complaint":
            yield _complaint(report.address, report.feedback_type, names)


_READERS: dict[str, Callable[[Any], Iterator[Event]]] = {
    "ses": _ses, "sendgrid": _sendgrid, "mailgun": _mailgun, "postmark": _postmark, "sparkpost": _sparkpost,
    "brevo": _brevo,
}  # fmt: skip
SERVICES = tuple(_READERS)


def _bounce(address: str, said: str, status: str, names: tuple[str, ...], *, nobody: bool = False) -> Event:
    """A bounce. `nobody`: the service calls the address dead; believed where the words tell nothing else."""
    said = re.sub(r"(?i)^\s*smtp;\s*", "", said)
    status = status if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", status) else ""
    verdict = classify(f"{status} {said}")
    if nobody and not status.startswith("4") and (verdict.category == "other" or verdict.rule.startswith("reply ")):
        status = "5.1.1"
    return Event("bounce", address, said, status, names=_clean(names))


def _complaint(address: str, feedback: str, names: tuple[str, ...]) -> Event:
    return Event("complaint", address, feedback_type=feedback.lower(), names=_clean(names))


def _clean(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip("<> ") for name in names if name.strip("<> "))[:10]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    many = value if isinstance(value, list) else [value]
    return [each for each in many if isinstance(each, dict)]


def _text(event: dict[str, Any], name: str, longest: int = 4000) -> str:
    value = event.get(name)
    return value[:longest].replace("\0", "") if isinstance(value, str) else ""
