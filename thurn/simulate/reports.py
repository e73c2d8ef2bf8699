"""What providers send back: bounces (RFC 3464 in RFC 6522) and complaints (RFC 5965). Pure: bytes from values.

Put together by hand, because the original must go back as it came. Signed with the simulated provider's key.
"""

from base64 import b64encode
from email.utils import formatdate
from hashlib import blake2b

import dkim
from nacl.signing import SigningKey

from thurn.simulate.replies import STATUS, refusal
from thurn.simulate.world import Provider, mx_hosts, provider_of_domain


def dkim_key(seed: int) -> tuple[bytes, str]:
    """(private, public) Ed25519 key, base64, with which every simulated provider signs."""
    key = SigningKey(blake2b(f"dkim {seed}".encode(), digest_size=32).digest())
    return b64encode(bytes(key)), b64encode(bytes(key.verify_key)).decode()


def _report(
    *, sender: str, to: str, subject: str, kind: str, text: str, status: str, original: bytes, whole: bool, number: int
) -> bytes:
    """A multipart/report in three parts; the third is the original, or its head only."""
    boundary = f"=_report_{number:016x}"
    returned = original if whole else original.partition(b"\r\n\r\n")[0] + b"\r\n"
    media = "message/rfc822" if whole else "text/rfc822-headers"
    encoding = "7bit" if returned.isascii() else "8bit"
    status_type = "message/feedback-report" if kind == "feedback-report" else "message/delivery-status"
    head = (
        f"From: {sender}\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{number:016x}.report@{sender.rpartition('@')[2].rstrip('>')}>\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind};\r\n boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n{text}\r\n"
        f"--{boundary}\r\nContent-Type: {status_type}\r\n\r\n{status}\r\n"
        f"--{boundary}\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + returned + f"\r\n--{boundary}--\r\n".encode()


def _xtext(address: str) -> str:
    return address.encode("ascii", "backslashreplace").decode()


def bounce(*, recipient: str, sender: str, reason: str, original: bytes, number: int) -> bytes:
    """A DSN for a mail that was accepted and could not be delivered: to its envelope `sender`, for `reason`."""
    domain = recipient.rpartition("@")[2]
    provider: Provider = provider_of_domain(domain)
    host = mx_hosts(domain)[0]
    address = _xtext(recipient)
    lines = refusal(reason, provider.name, address, number & 0xFFFFFFFF)
    status = (
        f"Reporting-MTA: dns; {host}\r\nArrival-Date: {formatdate()}\r\n\r\n"
        f"Final-Recipient: rfc822; {address}\r\nOriginal-Recipient: rfc822; {address}\r\nAction: failed\r\n"
        f"Status: {STATUS[reason]}\r\nDiagnostic-Code: smtp; " + "\r\n ".join(lines) + "\r\n"
    )
    text = (
        f"This is the mail system at {host}.\r\n\r\nYour message could not be delivered to <{address}>.\r\n"
        "It was accepted at first; the reason for the refusal is:\r\n\r\n    " + "\r\n    ".join(lines) + "\r\n"
    )
    return _report(
        sender=f"{provider.title} <mailer-daemon@{domain}>",
        to=sender,
        subject="Undelivered Mail Returned to Sender"
        if provider.name != "google"
        else "Delivery Status Notification (Failure)",
        kind="delivery-status",
        text=text,
        status=status,
        original=original,
        whole=provider.name not in ("microsoft", "office", "apple"),
        number=number,
    )


def complaint(*, recipient: str, sender: str, original: bytes, number: int) -> bytes:
    """An ARF report: `recipient` has called the mail from the envelope `sender` junk."""
    domain = recipient.rpartition("@")[2]
    provider = provider_of_domain(domain)
    address = _xtext(recipient)
    home = sender.rpartition("@")[2]
    status = (
        f"Feedback-Type: abuse\r\nUser-Agent: SimulatedFeedback/1.0 ({provider.name})\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{_xtext(sender)}>\r\nOriginal-Rcpt-To: <{address}>\r\nArrival-Date: {formatdate()}\r\n"
        f"Source-IP: 127.0.0.1\r\nReported-Domain: {home}\r\nReporting-MTA: dns; {mx_hosts(domain)[0]}\r\n"
    )
    text = (
        f"This is an email abuse report for a message received by {provider.title}\r\nof {domain} from 127.0.0.1.\r\n"
        "The recipient has marked it as junk.\r\n"
    )
    return _report(
        sender=f"Feedback Loop <feedback@{domain}>",
        to=complaint_address(sender),
        subject="Email Feedback Report",
        kind="feedback-report",
        text=text,
        status=status,
        original=original,
        whole=True,
        number=number,
    )


def complaint_address(sender: str) -> str:
    """Where complaints about mail from this envelope sender go."""
    return f"fbl@{sender.rpartition('@')[2]}"


def sign(mail: bytes, domain: str, private: bytes) -> bytes:
    """The mail with a DKIM signature of a simulated provider's domain."""
    headers = [b"from", b"to", b"subject", b"date", b"message-id"]
    signature: bytes = dkim.sign(
        mail, b"sim", domain.encode(), private, signature_algorithm=b"ed25519-sha256",
        canonicalize=(b"relaxed", b"relaxed"), include_headers=headers,
    )  # fmt: skip
    return signature + mail
