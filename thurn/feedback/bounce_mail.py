"""What a mail that came back is: a bounce, a notice of delay, a complaint, an automatic reply, or something else. Pure.

RFC 3464 (and 6522, 6533) for bounces, RFC 5965 for complaints, RFC 3834 for automatic replies; what servers wrote
before or beside those is read by flufl.bounce and by the words people see. Any bytes give an answer, in bounded time.
"""

import re
from dataclasses import dataclass, replace
from email import message_from_bytes
from typing import Literal

from flufl.bounce import all_failures

from thurn.feedback import report_text
from thurn.feedback.classify import classify, codes
from thurn.feedback.mime import NOTHING, Fields, Part, fields_of, parts, split, words

Kind = Literal["bounce", "delayed", "delivered", "complaint", "auto-reply", "other"]

RECIPIENTS = 500  # of one mail that are looked at
_BOUNDARIES = 20
_FLUFL = 96 * 1024  # bytes that flufl.bounce gets


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address a report speaks of."""

    address: str  # empty where the report does not name it
    action: Literal["failed", "delayed", "delivered"]
    status: str  # RFC 3463, as given or as found in the diagnostic; may be empty
    reply_code: str
    diagnostic: str  # in the words of the server that refused; may be empty
    command: str = ""  # the SMTP command it was said to, if the report tells

    @property
    def reply(self) -> str:
        """What `classify` is to read."""
        reply = self.diagnostic
        if self.status and self.status not in reply:
            reply = f"{self.status} {reply}".strip()
        if self.command and "in reply to" not in reply:
            reply = f"{reply} (in reply to {self.command} command)"
        return reply


@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail that came to a bounce or complaint address."""

    kind: Kind
    recipients: tuple[Recipient, ...] = ()
    feedback_type: str = ""  # RFC 5965: abuse, fraud, opt-out, not-spam, auth-failure …
    original: Fields = NOTHING  # header of the mail that is reported on, as far as it came back
    subject: str = ""
    senders: tuple[str, ...] = ()  # what the report and the original call the envelope sender

    @property
    def message_id(self) -> str:
        """Of the original mail, without brackets."""
        return self.original.get("message-id").strip("<> ")


def read(raw: bytes) -> Incoming:
    """Read a mail. Never raises; what cannot be understood is `other`."""
    found = parts(_without_mbox_line(raw))
    fields = found[0].fields if found else Fields()
    subject = words(fields.get("subject"))[:300]
    original = _original(found)
    incoming = (
        _complaint(found)
        or _status_report(found)
        or _automatic_reply(fields, subject, found)
        or _words_only(raw, fields, subject, found)
        or Incoming("other")
    )
    senders = [_address(original.get("return-path")), *incoming.senders]
    return replace(incoming, original=original, subject=subject, senders=tuple(a for a in senders if a))


def _without_mbox_line(raw: bytes) -> bytes:
    return raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw


# ------------------------------------------------------------------ the original mail


def _original(found: list[Part]) -> Fields:
    for part in found:
        if part.kind == "message/rfc822":
            return part.fields
        if part.kind in (
            "text/rfc822-headers",
            "text/rfc822-header",
            "message/rfc822-headers",
            "message/global-headers",
        ):
            return fields_of(part.body)
    for part in found:
        if part.kind == "text/plain":
            _, quoted = report_text.cut(part.text())
            if quoted:
                return split(quoted.lstrip().encode("utf-8", "replace"))[0]
    return Fields()


# ------------------------------------------------------------------ complaints


def _complaint(found: list[Part]) -> Incoming | None:
    for part in found:
        if part.kind == "message/feedback-report":
            report = fields_of(part.body.lstrip())
            named = report.all("original-rcpt-to") or report.all("removal-recipient")
            recipients = [Recipient(_address(value), "failed", "", "", "") for value in named[:RECIPIENTS]]
            feedback = report.get("feedback-type").lower() or "abuse"
            sender = _address(report.get("original-mail-from"))
            return Incoming("complaint", tuple(recipients), feedback_type=feedback, senders=(sender,))
    fields = found[0].fields if found else Fields()
    if "feedback-report" in fields.get("content-type").lower() or "x-hmxmroriginalrecipient" in fields:
        return Incoming("complaint", feedback_type="abuse")
    if re.match(r"(?i)(complaint about message from|abuse report|\[?spam report)", words(fields.get("subject"))):
        return Incoming("complaint", feedback_type="abuse")
    return None


# ------------------------------------------------------------------ RFC 3464


_STATUS_PARTS = ("message/delivery-status", "message/global-delivery-status")
_ACTIONS: dict[str, Literal["failed", "delayed", "delivered"]] = {
    "failed": "failed",
    "failure": "failed",
    "expired": "failed",
    "delayed": "delayed",
    "delivered": "delivered",
    "deliverable": "delivered",
    "relayed": "delivered",
    "expanded": "delivered",
}


def _status_report(found: list[Part]) -> Incoming | None:
    recipients: list[Recipient] = []
    text = "\n".join(part.text() for part in found if part.kind == "text/plain")
    text = re.split(r"(?im)^(?:reporting-mta|final-recipient):", text, maxsplit=1)[0]
    broken = not any(part.kind in _STATUS_PARTS for part in found)  # its delimiters do not fit: found by its fields
    for part in found:
        if part.kind in _STATUS_PARTS or (broken and b"final-recipient:" in part.body.lower()):
            for group in re.split(rb"(?:\r?\n[ \t]*){2,}", part.body.strip())[: RECIPIENTS + 1]:
                recipient = _reported(fields_of(group), text)
                if recipient is not None:
                    recipients.append(recipient)
    if not recipients:
        return None
    actions = {recipient.action for recipient in recipients}
    kind: Kind = "bounce" if "failed" in actions else "delayed" if "delayed" in actions else "delivered"
    return Incoming(kind, tuple(recipients[:RECIPIENTS]))


def _reported(group: Fields, text: str) -> Recipient | None:
    named = group.get("final-recipient") or group.get("original-recipient") or group.get("x-actual-recipient")
    status = re.search(r"[245]\.\d{1,3}\.\d{1,3}", group.get("status"))
    action = group.get("action").lower().split(" ", 1)[0].strip("();")
    if not named and not status and not action:
        return None
    diagnostic = " ".join(_plain(value) for value in group.all("diagnostic-code"))
    address = _address(named.partition(";")[2] or named)
    if not diagnostic or classify(diagnostic).category == "other":
        better = report_text.diagnostic(text, address)
        if better and (not diagnostic or classify(better).category != "other"):
            diagnostic = better
    code, inner = codes(diagnostic)
    given = status[0] if status else ""
    if inner and given[1:] in ("", ".0.0"):
        given = inner
    command = report_text.command(text)
    return Recipient(address, _action(action, given, code), given, code, diagnostic[:2000], command)


def _action(action: str, status: str, code: str) -> Literal["failed", "delayed", "delivered"]:
    known = _ACTIONS.get(action)
    if known:
        return known
    first = (status or code)[:1]
    return "delayed" if first == "4" else "delivered" if first == "2" else "failed"


def _plain(value: str) -> str:
    """A diagnostic without its type: `smtp; 550 …`."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w.-]{1,40}", kind.strip()) else value.strip()


# ------------------------------------------------------------------ RFC 3834


_AWAY = re.compile(
    r"(?i)^(re: ?)?(\[?(auto(matic|matische|matisch)?[ -]?(reply|response|responder|antwort)|"
    r"out of (the )?office|away from|"
    r"abwesen|réponse automatique|absence|respuesta automática|risposta automatica|自動返信|自动回复|i am (away|on)|"
    r"on (vacation|holiday|leave)|vacation|urlaub|fuera de (la )?oficina|ferie|automatisch antwoord))"
)
_REFUSED = re.compile(
    r"(?i)undeliver|returned mail|failure notice|delivery (status|fail|report|problem|notif)|"
    r"mail delivery|not? (be )?deliver|"
    r"mail (system )?error|non.?remis|unzustellbar|rückläufer|delivery failure|could ?n.t|"
    r"unable to deliver|failed|nondeliver|"
    r"error sending|returned to sender|mail could not|rejected|bounce|undelivered|配信|送信|не доставлен|"
    r"mail failure|"
    r"message status|service unavailable|host unknown|user unknown"
)
_DAEMON = re.compile(
    r"(?i)mailer[-_. ]?daemon|post[-_]?master|mail (delivery|system)|system administrator|mailadm|^<>$|"
    r"mdaemon|\bmta\b"
)


def _automatic_reply(fields: Fields, subject: str, found: list[Part]) -> Incoming | None:
    if "x-failed-recipients" in fields or _DAEMON.search(words(fields.get("from"))):
        return None
    submitted = fields.get("auto-submitted").lower()
    replied = (
        submitted.startswith(("auto-replied", "auto-generated"))
        or any(name in fields for name in ("x-autoreply", "x-autorespond", "x-autoreply-from", "x-auto-reply"))
        or "auto_reply" in fields.get("precedence").lower()
        or fields.get("x-precedence").lower() == "auto_reply"
        or "oof" in fields.get("x-auto-response-suppress").lower().split(", ")
        or bool(_AWAY.match(subject))
    )
    return Incoming("auto-reply") if replied and not _looks_returned(subject, found) else None


def _looks_returned(subject: str, found: list[Part]) -> bool:
    """Whether it calls itself a report and brings the original mail along."""
    return bool(_REFUSED.search(subject)) and any(part.kind == "message/rfc822" for part in found)


# ------------------------------------------------------------------ neither


_LATE = re.compile(
    r"(?i)delayed|(still|yet).{0,40}(queue|trying|retry|not been delivered)|warning: |will (keep|"
    r"continue) (trying|to (try|be retried))|"
    r"no action is required|you do not need to (resend|do anything)|not yet been delivered|"
    r"has not (yet )?been delivered"
)


def _words_only(raw: bytes, fields: Fields, subject: str, found: list[Part]) -> Incoming | None:
    text = "\n".join(part.text() for part in found if part.kind in ("text/plain", "message/delivery-status"))
    if not text:
        text = report_text.without_markup("\n".join(part.text() for part in found if part.kind == "text/html"))
    report, _ = report_text.cut(text)
    sender = words(fields.get("from"))
    named = [_address(value) for field in fields.all("x-failed-recipients") for value in field.split(",")]
    suspect = bool(named or _DAEMON.search(sender) or _REFUSED.search(subject) or fields.get("return-path") == "<>")
    if not suspect:
        return None
    late, dead = _flufl(raw)
    if not named:
        named = sorted(dead or late, key=report.find) or report_text.addresses(
            report, _address(sender), _address(fields.get("to"))
        )
    delayed = bool(late - dead) or (not dead and bool(_LATE.search(f"{subject}\n{report[:2000]}")))
    recipients = [_told(address, report, delayed) for address in named[:RECIPIENTS]] or [_told("", report, delayed)]
    if not any(r.diagnostic for r in recipients) and not named:
        return None
    return Incoming("delayed" if delayed else "bounce", tuple(recipients))


def _told(address: str, report: str, delayed: bool) -> Recipient:
    diagnostic = report_text.diagnostic(report, address)
    code, status = codes(diagnostic)
    action: Literal["failed", "delayed"] = "delayed" if delayed else "failed"
    return Recipient(address, action, status, code, diagnostic[:2000], report_text.command(report))


def _flufl(raw: bytes) -> tuple[set[str], set[str]]:
    """(temporary, permanent) failures that flufl.bounce sees."""
    if raw.count(b"boundary=") > _BOUNDARIES:  # the library's parser takes long over deep nesting
        return set(), set()
    try:
        late, dead = all_failures(message_from_bytes(raw[:_FLUFL]))
    except Exception:  # noqa: BLE001 - neither the parser nor the detectors promise anything about garbage
        return set(), set()
    return {_address(a.decode("utf-8", "replace")) for a in late}, {
        _address(a.decode("utf-8", "replace")) for a in dead
    }


def _address(value: str) -> str:
    """The address in a header value or a line, or an empty string."""
    found = re.search(r"""[^\s<>()"',;:]{1,200}@[^\s<>()"',;:]{1,253}""", value)
    return found[0].strip(".") if found else ""
