"""Mail that came back: what it is, of whom it speaks and why, from reports of every kind and from garbage."""

import time
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thurn.feedback.bounce_mail import read
from thurn.feedback.classify import classify
from thurn.feedback.mime import DEPTH, PARTS, parts

ORIGINAL = b"""Return-Path: <b.e1.google.abc@bounce.example.com>\r
Message-ID: <one@example.com>\r
List-Unsubscribe: <https://mail.example.com/u/token>\r
Subject: May\r
\r
Hello\r
"""


def dsn(*groups: str, text: str = "It did not work.", original: bytes = ORIGINAL) -> bytes:
    """A report as RFC 3464 has it."""
    status = "\r\n\r\n".join(["Reporting-MTA: dns; mx.example.org", *groups])
    return (
        b"From: MAILER-DAEMON@mx.example.org\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b1/x="\r\n\r\nnothing\r\n'
        b"--b1/x=\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode() + b"\r\n--b1/x=\r\n"
        b"Content-Type: message/delivery-status\r\n\r\n" + status.encode() + b"\r\n\r\n"
        b"--b1/x=\r\nContent-Type: message/rfc822\r\n\r\n" + original + b"\r\n--b1/x=--\r\n"
    )


FAILED = (
    "Final-Recipient: rfc822; Ann@Example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    "Diagnostic-Code: smtp; 550-5.1.1 The account\r\n 550 5.1.1 does not exist"
)
DELAYED = (
    "Final-Recipient: rfc822; bob@example.org\r\nAction: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: smtp; 421 busy"
)
RELAYED = "Final-Recipient: rfc822; cat@example.org\r\nAction: relayed\r\nStatus: 2.0.0"


def test_a_standard_bounce_names_recipient_status_and_reply() -> None:
    incoming = read(dsn(FAILED))
    assert incoming.kind == "bounce"
    [recipient] = incoming.recipients
    assert (recipient.address, recipient.status, recipient.reply_code) == ("Ann@Example.org", "5.1.1", "550")
    assert classify(recipient.reply).hard
    assert incoming.message_id == "one@example.com"
    assert incoming.original.get("return-path") == "<b.e1.google.abc@bounce.example.com>"


def test_a_notice_of_delay_or_of_success_is_no_bounce() -> None:
    assert read(dsn(DELAYED)).kind == "delayed"
    assert read(dsn(RELAYED)).kind == "delivered"
    mixed = read(dsn(DELAYED, FAILED, RELAYED))
    assert (mixed.kind, [r.action for r in mixed.recipients]) == ("bounce", ["delayed", "failed", "delivered"])


def test_a_report_without_a_diagnostic_is_read_from_its_text() -> None:
    bare = "Final-Recipient: rfc822; ann@example.org\r\nAction: failed\r\nStatus: 5.0.0"
    text = "<ann@example.org>: host mx[192.0.2.1] said: 552 5.2.2 Mailbox full\r\n    (in reply to RCPT TO command)"
    [recipient] = read(dsn(bare, text=text)).recipients
    assert (recipient.status, classify(recipient.reply).category) == ("5.2.2", "mailbox-full")


def test_what_a_server_said_to_data_or_to_mail_from_does_not_kill_the_address() -> None:
    plain = (
        "Final-Recipient: rfc822; ann@example.org\r\nAction: failed\r\nStatus: 5.0.0\r\nDiagnostic-Code: smtp; 550 {}"
    )
    [data] = read(
        dsn(plain.format("Unknown user"), text="550 Unknown user (in reply to end of DATA command)")
    ).recipients
    assert (classify(data.reply).category, classify(data.reply).hard) == ("unknown-address", False)
    [mail] = read(
        dsn(plain.format("unknown address"), text="550 unknown address (in reply to MAIL FROM command)")
    ).recipients
    assert (classify(mail.reply).category, classify(mail.reply).hard) == ("policy-block", False)


def test_a_report_whose_boundary_does_not_fit_is_still_read() -> None:
    incoming = read(dsn(FAILED).replace(b'boundary="b1/x="', b'boundary="other"'))
    assert (incoming.kind, incoming.recipients[0].status) == ("bounce", "5.1.1")


QMAIL = b"""From: MAILER-DAEMON@example.org
Subject: failure notice

Hi. This is the qmail-send program at example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<ann@example.org>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 sorry, no mailbox here by that name
Giving up on 192.0.2.1.

--- Below this line is a copy of the message.

Return-Path: <b.e1.google.abc@bounce.example.com>
Message-ID: <one@example.com>
Subject: Your mailbox is full

<zoe@example.org>: 552 Mailbox full
"""
EXIM = b"""X-Failed-Recipients: ann@example.org
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@example.com>
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

  ann@example.org
    mailbox is full: retry timeout exceeded
"""


@pytest.mark.parametrize(("raw", "category"), [(QMAIL, "unknown-address"), (EXIM, "mailbox-full")])
def test_bounces_older_than_the_standard_are_read(raw: bytes, category: str) -> None:
    incoming = read(raw)
    assert incoming.kind == "bounce"
    assert [(r.address, classify(r.reply).category) for r in incoming.recipients] == [("ann@example.org", category)]


def test_the_original_in_the_text_of_a_bounce_is_found() -> None:
    assert read(QMAIL).message_id == "one@example.com"


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: auto-replied", "Subject: Automatic reply: May", "X-Autoreply: yes", "Precedence: auto_reply",
     "Subject: Abwesenheitsnotiz", "Subject: =?utf-8?q?Out_of_office?="],
)  # fmt: skip
def test_an_automatic_reply_is_no_bounce_whatever_it_says(header: str) -> None:
    raw = f"From: ann@example.org\r\n{header}\r\n\r\nMy mailbox is full, user unknown, 550 5.1.1.\r\n".encode()
    assert read(raw).kind == "auto-reply"


def test_a_letter_of_a_person_is_neither() -> None:
    assert (
        read(b"From: ann@example.org\r\nSubject: Re: May\r\n\r\nI like it. 550 5.1.1 user unknown\r\n").kind == "other"
    )


def test_a_complaint_names_its_type_and_the_original() -> None:
    raw = (
        b"From: fbl@example.org\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n\r\nspam\r\n"
        b"--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n"
        b"Original-Rcpt-To: <ann@example.org>\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
        + ORIGINAL
        + b"\r\n--x--\r\n"
    )
    incoming = read(raw)
    assert (incoming.kind, incoming.feedback_type) == ("complaint", "abuse")
    assert incoming.recipients[0].address == "ann@example.org"
    assert incoming.original.get("list-unsubscribe") == "<https://mail.example.com/u/token>"


def test_python_s_own_mail_is_read_the_same() -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "postmaster@example.org", "Unzustellbar: Grüße"
    message.set_content("Das Postfach von ann@example.org ist voll.", cte="base64")
    incoming = read(message.as_bytes())
    assert (incoming.kind, incoming.subject) == ("bounce", "Unzustellbar: Grüße")
    assert classify(incoming.recipients[0].reply).category == "mailbox-full"


_LINES = st.lists(
    st.sampled_from([
        b"Content-Type: multipart/report; boundary=a", b"--a", b"--a--", b"", b"Content-Type: message/delivery-status",
        b"Final-Recipient: rfc822; a@b.c", b"Status: 5.1.1", b"Action: failed", b"Diagnostic-Code: smtp; 550 x",
        b"Content-Transfer-Encoding: base64", b"From: mailer-daemon", b"Subject: =?x?q?=ff?=", b"\xff\x00", b" folded",
        b"Content-Type: message/rfc822", b"550 5.1.1 <a@b.c> user unknown", b"From x",
        b"Content-Type: text/html; charset=hex",
        b"Content-Type: message/feedback-report", b"X-Failed-Recipients: a@b.c, @, <>,,",
        b"Content-Type: text/plain; charset=utf-16",
    ]), max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=3000), _LINES.map(b"\r\n".join), _LINES.map(b"\n".join)))
def test_any_bytes_give_an_answer(raw: bytes) -> None:
    incoming = read(raw)
    assert incoming.kind in ("bounce", "delayed", "delivered", "complaint", "auto-reply", "other")
    for recipient in incoming.recipients:
        classify(recipient.reply)


def _nested(depth: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return b"From: mailer-daemon@x.example\nSubject: failure notice\n" + head + b"\n550 5.1.1 user unknown\n"


HOSTILE = {
    "many parts": b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\nx\n" * 50_000,
    "deep": _nested(2000),
    "long line": b"Subject: failure " + b"x" * 1_000_000 + b"\n\n550 5.1.1 no\n",
    "long folded": b"Subject: failure\n" + b" x\n" * 300_000,
    "many headers": b"".join(b"X-%d: y\n" % n for n in range(50_000)) + b"\nbody",
    "addresses": b"From: mailer-daemon@x.example\nSubject: failure notice\n\n" + b"a@b.example 550 5.1.1\n" * 50_000,
    "one address": b"From: mailer-daemon@x.example\nSubject: failure notice\n\n" + b"a" * 400_000 + b"@",
    "tags": b"From: mailer-daemon@x.example\nSubject: failure\nContent-Type: text/html\n\n" + b"<style" * 50_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?=41?= " * 20_000 + b"\n\nx",
    "groups": dsn(*["Final-Recipient: rfc822; a@b.example\r\nAction: failed"] * 10_000),
    "rfc822 in itself": b"Content-Type: message/rfc822\n\n" * 5000,
    "parameters": b"Content-Type: multipart/mixed" + b"; a=b" * 10_000 + b'; boundary="x\n\n--x\n',
    "dashes": b"From: mailer-daemon@x.example\nSubject: failure notice\n\n" + b"-" * 300_000,
    "spaces": b"From: mailer-daemon@x.example\nSubject: failure notice\n\n" + b" " * 300_000 + b"\n\t>" * 50_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_is_read_in_bounded_time(name: str) -> None:
    started = time.perf_counter()
    incoming = read(HOSTILE[name])
    assert time.perf_counter() - started < 2.0
    assert len(incoming.recipients) <= 500


def test_parts_and_depth_are_bounded() -> None:
    assert len(parts(HOSTILE["many parts"])) <= PARTS + 1
    assert len(parts(_nested(50))) <= DEPTH + 2
