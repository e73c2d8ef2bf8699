"""What comes back besides plain bounces and reports: answers of people and programs, other forms of complaints, notices
of delay, forgeries. Pure: bytes from values."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.utils import formatdate, parseaddr

from thurn.simulate.replies import STATUS, refusal
from thurn.simulate.reports import complaint_address
from thurn.simulate.world import mx_hosts, provider_of_domain

_MAILTO = re.compile(r"<mailto:([^?>]+)(?:\?subject=([^>]*))?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sent:
    """A mail that goes to our `mx`: its envelope, and the words for the count."""

    sender: str  # empty: the null sender
    to: str
    kind: str  # reply, away, leave, delayed, complaint, forged
    why: str
    mail: bytes


@dataclass(frozen=True, slots=True)
class Got:
    """The mail that is answered: its envelope, as it came, and a number for ids."""

    sender: str
    recipient: str
    data: bytes
    number: int

    def header(self, name: str) -> str:
        """A header field of it."""
        return str(message_from_bytes(self.data, policy=policy.default).get(name, ""))

    @property
    def domain(self) -> str:
        """The recipient's."""
        return self.recipient.rpartition("@")[2]


def _mail(got: Got, to: str, subject: str, text: str, *more: str, sender: str = "") -> bytes:
    head = (
        f"From: {sender or got.recipient}", f"To: <{to}>", f"Subject: {subject}", f"Date: {formatdate()}",
        f"Message-ID: <{got.number:016x}.{len(subject)}@{got.domain}>", *more,
    )  # fmt: skip
    return "".join(f"{line}\r\n" for line in head).encode() + f"\r\n{text}\r\n".encode()


def _answer(got: Got, to: str, why: str) -> Sent:
    said = got.header("Message-ID")
    mail = _mail(
        got, to, "Re: your mail", "Yes please, two of them.\r\n-- \r\nSent by a person", f"In-Reply-To: {said}",
        f"References: {said}",
    )  # fmt: skip
    return Sent(got.recipient, to, "reply", why, mail)


def answer(got: Got, _: str) -> Sent:
    """A person answers the address that the mail asks to answer."""
    return _answer(got, parseaddr(got.header("Reply-To") or got.header("From"))[1], "reply-to")


def answer_sender(got: Got, _: str) -> Sent:
    """A person's program answers the envelope sender."""
    return _answer(got, got.sender, "envelope sender")


def away(got: Got, _: str) -> Sent:
    """An absence notice (RFC 3834): to the envelope sender, without one of its own."""
    mail = _mail(
        got, got.sender, "Out of office", "I am away until Monday. Mailboxes here are never full.",
        "Auto-Submitted: auto-replied", f"In-Reply-To: {got.header('Message-ID')}",
    )  # fmt: skip
    return Sent("", got.sender, "away", "vacation", mail)


def leave(got: Got, _: str) -> Sent | None:
    """An old program's unsubscribe button: a mail to the address of List-Unsubscribe (RFC 2369)."""
    found = _MAILTO.search(got.header("List-Unsubscribe"))
    if found is None:
        return None
    return Sent(got.recipient, found[1], "leave", "mailto", _mail(got, found[1], found[2] or "unsubscribe", ""))


def delayed(got: Got, reason: str) -> Sent:
    """A DSN that says: not delivered yet."""
    boundary, host = f"=_late_{got.number:016x}", mx_hosts(got.domain)[0]
    status = (
        f"Reporting-MTA: dns; {host}\r\n\r\nFinal-Recipient: rfc822; {got.recipient}\r\nAction: delayed\r\n"
        f"Status: 4{STATUS[reason][1:]}\r\nDiagnostic-Code: smtp; 452 4.2.2 mailbox full, still trying\r\n"
    )
    text = (
        f"--{boundary}\r\nContent-Type: text/plain\r\n\r\nYour mail is delayed. No action is required.\r\n"
        f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n--{boundary}--"
    )
    mail = _mail(
        got, got.sender, "Delayed Mail (still being retried)", text, "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        sender=f"mailer-daemon@{got.domain}",
    )  # fmt: skip
    return Sent("", got.sender, "delayed", reason, mail)


def redacted(got: Got, _: str) -> Sent:
    """An ARF report from which the provider took whom it is about, down to the head of the mail."""
    boundary = f"=_red_{got.number:016x}"
    kept = ("From", "Subject", "Date", "CFBL-Feedback-ID", "Feedback-ID")
    head = "".join(f"{name}: {value}\r\n" for name in kept if (value := got.header(name)).isascii() and value)
    text = (
        f"--{boundary}\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n"
        f"--{boundary}\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n"
        f"User-Agent: Redacting/1.0\r\nOriginal-Rcpt-To: redacted@{got.domain}\r\n\r\n"
        f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n{head}\r\n"
        f"--{boundary}--"
    )
    to = complaint_address(got.sender)
    mail = _mail(
        got, to, "Email Feedback Report", text, "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=feedback-report; boundary="{boundary}"',
        sender=f"feedback@{got.domain}",
    )  # fmt: skip
    return Sent(f"feedback@{got.domain}", to, "complaint", "redacted", mail)


def attached(got: Got, _: str) -> Sent:
    """A complaint as Microsoft's junk mail reporting sends it: the mail attached, and no report."""
    boundary, to = f"=_att_{got.number:016x}", complaint_address(got.sender)
    text = (
        f"--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n{got.data.decode('utf-8', 'replace')}\r\n--{boundary}--"
    )
    mail = _mail(
        got, to, "complaint about message from 127.0.0.1", text, "MIME-Version: 1.0",
        f"X-HmXmrOriginalRecipient: {got.recipient}", f'Content-Type: multipart/mixed; boundary="{boundary}"',
        sender=f"staff@{got.domain}",
    )  # fmt: skip
    return Sent(f"staff@{got.domain}", to, "complaint", "attached", mail)


def forged(got: Got, reason: str) -> Sent:
    """Somebody who never saw the mail says that the address is dead, to a return address that is made up."""
    local, _, home = got.sender.rpartition("@")
    to = f"{local.rpartition('.')[0]}.{'a' * 20}@{home}"
    lines = " ".join(refusal(reason, provider_of_domain(got.domain).name, got.recipient, got.number & 0xFFFFFFFF))
    boundary = f"=_forged_{got.number:016x}"
    text = (
        f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; {mx_hosts(got.domain)[0]}\r\n\r\nFinal-Recipient: rfc822; {got.recipient}\r\n"
        f"Action: failed\r\nStatus: {STATUS[reason]}\r\nDiagnostic-Code: smtp; {lines}\r\n\r\n--{boundary}--"
    )
    mail = _mail(
        got, to, "Undelivered Mail Returned to Sender", text, "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        sender=f"mailer-daemon@{got.domain}",
    )  # fmt: skip
    return Sent("", to, "forged", reason, mail)


RETURNS: dict[str, Callable[[Got, str], Sent | None]] = {
    "answer": answer,
    "answer-sender": answer_sender,
    "away": away,
    "unsubscribe-by-mail": leave,
    "delayed": delayed,
    "complain-redacted": redacted,
    "complain-attached": attached,
    "forge": forged,
}
