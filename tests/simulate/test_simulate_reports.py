"""Bounces and complaints as the standards have them, read with Python's own parser."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim
import pytest

from thurn.simulate.reports import bounce, complaint, complaint_address, dkim_key, sign

SENDER = "b.e1.google.mfrgg@bounce.brotzeit.example"
ORIGINAL = (
    b"From: us@brotzeit.example\r\nTo: <ada@gmail.example>\r\nMessage-ID: <1@brotzeit.example>\r\n"
    b"Subject: Hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n--=_report\r\n"
)


def parsed(mail: bytes) -> EmailMessage:
    message = message_from_bytes(mail, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def parts(message: EmailMessage) -> list[EmailMessage]:
    return [part for part in message.iter_parts() if isinstance(part, EmailMessage)]


@pytest.mark.parametrize(
    "domain", ["gmail.example", "outlook.example", "icloud.example", "gmx.example", "freemail.example"]
)
@pytest.mark.parametrize(("reason", "status"), [("unknown", "5.1.1"), ("full", "5.2.2")])
def test_a_bounce_is_a_delivery_status_notification(domain: str, reason: str, status: str) -> None:
    mail = bounce(recipient=f"ada@{domain}", sender=SENDER, reason=reason, original=ORIGINAL, number=5)
    message = parsed(mail)
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["To"].addresses[0].addr_spec == SENDER
    text, report, returned = parts(message)
    assert text.get_content_type() == "text/plain"
    assert report.get_content_type() == "message/delivery-status"
    per_message, per_recipient = report.get_payload()
    assert per_message["Reporting-MTA"].startswith("dns;")
    assert per_recipient["Final-Recipient"] == f"rfc822; ada@{domain}"
    assert (per_recipient["Action"], per_recipient["Status"]) == ("failed", status)
    assert str(per_recipient["Diagnostic-Code"]).startswith("smtp; 55")
    assert returned.get_content_type() in ("message/rfc822", "text/rfc822-headers")
    assert b"Message-ID: <1@brotzeit.example>" in mail


def test_a_bounce_returns_the_whole_original_or_its_head() -> None:
    whole = bounce(recipient="ada@gmx.example", sender=SENDER, reason="full", original=ORIGINAL, number=5)
    assert ORIGINAL in whole
    head = bounce(recipient="ada@outlook.example", sender=SENDER, reason="full", original=ORIGINAL, number=5)
    assert b"Subject: Hi" in head
    assert b"Hello" not in head


def test_a_complaint_is_an_abuse_report_about_the_original() -> None:
    message = parsed(complaint(recipient="ada@yahoo.example", sender=SENDER, original=ORIGINAL, number=6))
    assert message["Content-Type"].params["report-type"] == "feedback-report"
    assert message["To"].addresses[0].addr_spec == "fbl@bounce.brotzeit.example" == complaint_address(SENDER)
    _, report, returned = parts(message)
    assert report.get_content_type() == "message/feedback-report"
    payload = report.get_payload()
    fields = message_from_bytes(payload[0].as_bytes() if isinstance(payload, list) else str(payload).encode())
    assert fields["Feedback-Type"] == "abuse"
    assert fields["Version"] == "1"
    assert fields["User-Agent"]
    assert fields["Original-Mail-From"] == f"<{SENDER}>"
    assert fields["Original-Rcpt-To"] == "<ada@yahoo.example>"
    assert returned.get_content_type() == "message/rfc822"
    (original,) = returned.get_payload()
    assert original["Message-ID"] == "<1@brotzeit.example>"


@pytest.mark.parametrize("original", [b"", b"no header at all", b"\xff\x00\r\n\r\n\xfe", b"Subject: x\r\n\r\n\xc3\xa4"])
def test_whatever_the_original_is_the_report_stays_whole(original: bytes) -> None:
    for mail in (
        bounce(recipient="ö@gmx.example", sender=SENDER, reason="unknown", original=original, number=5),
        complaint(recipient="\udcff@gmx.example", sender=SENDER, original=original, number=5),
    ):
        assert len(parts(parsed(mail))) == 3


def test_reports_are_signed_by_their_provider() -> None:
    private, public = dkim_key(1)
    mail = sign(
        complaint(recipient="ada@gmx.example", sender=SENDER, original=ORIGINAL, number=6), "gmx.example", private
    )
    record = f"v=DKIM1; k=ed25519; p={public}".encode()

    def lookup(name: bytes, timeout: float = 5) -> bytes | None:
        return record if name == b"sim._domainkey.gmx.example." else None

    assert dkim.verify(mail, dnsfunc=lookup)
    assert dkim_key(2) != dkim_key(1)
