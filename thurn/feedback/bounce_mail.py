"""What a mail that came back is: a bounce, a notice of delay, a complaint, an automatic reply, or something else. Pure.

RFC 3464 (and 6522, 6533) for bounces, RFC 5965 for complaints, RFC 3834 for automatic replies; what servers wrote
before or beside those is read by flufl.bounce and by the words people see. Any bytes give an answer, in bounded time.
"""

import logging
import re
from dataclasses import dataclass, replace
from email import message_from_bytes
from typing import Literal

from flufl.bounce import all_failures

from thurn.feedback import report_text
from thurn.feedback.auto_reply import DAEMON, REFUSED, answers, automatic
from thurn.feedback.classify import UNNAMED, classify, codes
from thurn.feedback.mime import NOTHING, Fields, Part, fields_of, parts, split, words
from thurn.feedback.ses import notified

Kind = Literal[
    "bounce", "delayed", "delivered", "complaint", "auto-reply", "reply", "dmarc", "tlsrpt", "other"
]  # fmt: skip

RECIPIENTS = 500  # of one mail that are looked at
_BOUNDARIES = 20
_FLUFL = 96 * 1024  # bytes that flufl.bounce gets
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)  # it logs the traceback of each detector that stumbles


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
        if "in reply to" in reply.lower():
            return reply
        if self.command:
            return f"{reply} (in reply to {self.command} command)"
        return f"{reply} {UNNAMED}" if self.reply_code else reply


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
        or _about_a_domain(fields, subject, found)
        or _nested(found)
        or _status_report(found)
        or _notification(found)
        or (Incoming("auto-reply") if _automatic(fields, subject, found) else None)
        or _words_only(raw, fields, subject, found)
        or Incoming("reply" if answers(fields, subject) else "other")
    )
    original = original if incoming.original is NOTHING else incoming.original
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


# ------------------------------------------------------------------ RFC 7489 (DMARC), RFC 8460 (TLS)


_TLSRPT = ("application/tlsrpt+gzip", "application/tlsrpt+json")
_PACKED = ("application/gzip", "application/x-gzip", "application/zip", "application/x-zip", "application/octet-stream",
           "application/x-zip-compressed", "application/xml", "text/xml")  # fmt: skip
_REPORT_FILE = re.compile(r"(?i)^[^!\s]{1,253}![^!\s]{1,253}!\d{6,12}!\d{6,12}(!.{1,80})?\.(xml|json)?(\.?(gz|zip))?$")
_REPORT_SUBJECT = re.compile(r"(?i)report[- ]domain:.{1,300}(submitter|report-id)|\bdmarc\b.{0,40}report")


def _about_a_domain(fields: Fields, subject: str, found: list[Part]) -> Incoming | None:
    """An aggregate report, by its form only: nothing is unpacked here."""
    top = fields.get("content-type").lower()
    if "report-type=tlsrpt" in top.replace('"', "") or any(part.kind in _TLSRPT for part in found):
        return Incoming("tlsrpt")
    if _REPORT_SUBJECT.search(subject) and "tls-report-domain" in fields:
        return Incoming("tlsrpt")
    for part in found:
        if part.kind in _PACKED:
            named = _REPORT_FILE.match(part.name) is not None
            if named or _REPORT_SUBJECT.search(subject):
                return Incoming("tlsrpt" if ".json" in part.name.lower() else "dmarc")
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
    text = _report_of(found)
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


def _report_of(found: list[Part]) -> str:
    """What the report says to people, without the mail it is about; of HTML its words, if there is nothing else."""
    texts = [report_text.cut(part.text())[0] for part in found if part.kind == "text/plain"]
    if not any(text.strip() for text in texts):
        texts = [report_text.without_markup(part.text()) for part in found if part.kind == "text/html"]
    return "\n".join(texts)


def _nested(found: list[Part]) -> Incoming | None:
    """A report that somebody passed on as an attachment: what it says itself, and about which mail."""
    if any(part.kind in _STATUS_PARTS for part in found):  # a report of its own, be it about a report
        return None
    for part in found:
        if part.kind == "message/rfc822" and part.body:
            inner = parts(part.body)
            report = _status_report(inner) or _notification(inner)
            if report is not None:
                return replace(report, original=_original(inner))
    return None


def _reported(group: Fields, text: str) -> Recipient | None:
    named = group.get("final-recipient") or group.get("original-recipient") or group.get("x-actual-recipient")
    status = re.search(r"[245]\.\d{1,3}\.\d{1,3}", group.get("status"))
    action = group.get("action").lower().split(" ", 1)[0].strip("();")
    if not named and not status and not action:
        return None
    diagnostic = " ".join(_plain(value) for value in group.all("diagnostic-code"))
    address = _address(named.partition(";")[2] or named)
    own = report_text.own_words(text)
    if own:  # the server that reports holds the mailbox, and says in its text what its fields only code
        diagnostic = own
    elif not diagnostic or classify(diagnostic).category == "other":
        better = report_text.diagnostic(text, address)
        if better and (not diagnostic or classify(better).category != "other"):
            diagnostic = better
    code, inner = codes(diagnostic)
    given = status[0] if status else ""
    if own or (inner and given[1:] in ("", ".0.0")):
        given = inner
    command = report_text.refused_command(text, address, diagnostic)
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


def _notification(found: list[Part]) -> Incoming | None:
    """What Amazon SES reports by SNS to a mailbox: JSON in the text."""
    for part in found:
        if part.kind == "text/plain" and b"otificationType" in part.body[:2000]:
            reports = notified(part.text())
            if reports:
                first = reports[0]
                recipients = tuple(
                    Recipient(r.address, r.action, r.status, r.reply_code, r.diagnostic[:2000], r.command)
                    for r in reports
                )
                return Incoming(first.kind, recipients[:RECIPIENTS], first.feedback_type, first.original)
    return None


# ------------------------------------------------------------------ neither


def _automatic(fields: Fields, subject: str, found: list[Part]) -> bool:
    returned = any(part.kind == "message/rfc822" for part in found)
    return automatic(fields, subject, _report_of(found), returned=returned)


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
    suspect = bool(named or DAEMON.search(sender) or REFUSED.search(subject) or fields.get("return-path") == "<>")
    if not suspect:
        return None
    late, dead = (set[str](), set[str]()) if named else _flufl(raw)
    if not named:
        named = sorted(dead or late, key=report.find) or report_text.addresses(
            report, _address(sender), _address(fields.get("to"))
        )
    delayed = bool(late - dead) or (not dead and bool(_LATE.search(f"{subject}\n{report[:2000]}")))
    recipients = [_told(address, report, delayed) for address in named[:RECIPIENTS]] or [_told("", report, delayed)]
    if not any(recipient.diagnostic for recipient in recipients):
        recipients = (
            [_told(r.address, inner, delayed) for r in recipients] if (inner := _transcript(found)) else recipients
        )
    if not any(r.diagnostic for r in recipients) and not named:
        return None
    return Incoming("delayed" if delayed else "bounce", tuple(recipients))


def _transcript(found: list[Part]) -> str:
    """The text of a report inside the report, where it shows what was said to a server."""
    for part in found:
        if part.kind == "message/rfc822":
            text = "\n".join(inner.text()[:20_000] for inner in parts(part.body)[:20] if inner.kind == "text/plain")
            if re.search(r"(?m)^[ \t]*<<< ?[45]\d\d", text):
                return text
    return ""


def _told(address: str, report: str, delayed: bool) -> Recipient:
    diagnostic = report_text.diagnostic(report, address)
    code, status = codes(diagnostic)
    action: Literal["failed", "delayed"] = "delayed" if delayed else "failed"
    return Recipient(
        address, action, status, code, diagnostic[:2000], report_text.refused_command(report, address, diagnostic)
    )


def _flufl(raw: bytes) -> tuple[set[str], set[str]]:
    """(temporary, permanent) failures that flufl.bounce sees."""
    if raw.count(b"boundary=") > _BOUNDARIES:  # the library's parser takes long over deep nesting
        return set(), set()
    try:
        late, dead = all_failures(message_from_bytes(_ascii_header(raw[:_FLUFL])))
    except Exception:  # noqa: BLE001 - neither the parser nor the detectors promise anything about garbage
        return set(), set()
    return {_address(a.decode("utf-8", "replace")) for a in late}, {
        _address(a.decode("utf-8", "replace")) for a in dead
    }


def _ascii_header(raw: bytes) -> bytes:
    """The parser makes objects of header fields with other bytes, which the detectors do not expect."""
    found = re.search(rb"\r?\n\r?\n", raw)
    end = found.start() if found else len(raw)
    return re.sub(rb"[\x80-\xff]", b"?", raw[:end]) + raw[end:]


def _address(value: str) -> str:
    """The address in a header value or a line, or an empty string."""
    found = re.search(r"""[^\s<>()"',;:]{1,200}@[^\s<>()"',;:]{1,253}""", value)
    return found[0].strip(".") if found else ""
