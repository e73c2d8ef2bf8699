"""Mail that came back: what it is, of whom it speaks and why, from reports of every kind and from garbage."""

import time
import tracemalloc
from email.message import EmailMessage
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thurn.feedback.bounce_mail import Kind, read
from thurn.feedback.classify import classify
from thurn.feedback.mime import DEPTH, PARTS, parts
from thurn.feedback.report_text import command

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


def test_a_letter_of_a_person_is_a_reply_whatever_it_says() -> None:
    letter = b"From: ann@example.org\r\nSubject: %s\r\n%s\r\nI like it. 550 5.1.1 user unknown\r\n"
    assert read(letter % (b"Re: May", b"")).kind == "reply"
    assert read(letter % (b"Your mail", b"In-Reply-To: <one@example.com>\r\n")).kind == "reply"
    assert read(letter % (b"Hello", b"")).kind == "other"
    assert read(letter % (b"Re: May", b"List-Id: <news.example.org>\r\n")).kind == "other"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Please confirm your message", "Your message is awaiting confirmation. Click to prove you are human."),
        ("[Boxtrapper] verification", "To prove your message was sent by a human and not a computer, visit"),
        ("Re: May", "To deliver it, please verify that you are human and not spam software. SpamArrest"),
        ("Re: May", "You are not in my address book. Your email requires verification."),
    ],
)
def test_a_challenge_is_no_bounce(subject: str, text: str) -> None:
    raw = f"From: ann@example.org\r\nSubject: {subject}\r\n\r\n{text}\r\n".encode()
    assert read(raw).kind == "auto-reply"


def attached(raw: bytes, subject: str = "Fwd: returned") -> bytes:
    """A mail of a person that holds another as an attachment."""
    return (
        (
            f"From: ann@example.org\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
            "Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\n\r\nlook\r\n--f\r\n"
            "Content-Type: message/rfc822\r\n\r\n"
        ).encode()
        + raw
        + b"\r\n--f--\r\n"
    )


def test_a_forwarded_bounce_is_read_with_the_mail_it_is_about() -> None:
    incoming = read(attached(dsn(FAILED)))
    assert (incoming.kind, incoming.recipients[0].status) == ("bounce", "5.1.1")
    assert incoming.message_id == "one@example.com"
    assert read(attached(attached(dsn(FAILED)))).kind in ("other", "reply", "bounce")


def test_a_bounce_without_the_original_still_names_the_recipient() -> None:
    raw = dsn(FAILED).partition(b"Content-Type: message/rfc822")[0] + b"\r\n--b1/x=--\r\n"
    incoming = read(raw)
    assert (incoming.kind, incoming.message_id, len(incoming.recipients)) == ("bounce", "", 1)


COMMANDS = [
    ("host mx said: 550 no (in reply to RCPT TO command)", "rcpt to"),
    ("host mx said: 550 no (in reply to end of DATA command)", "end of data"),
    ("SMTP error from remote mail server after RCPT TO:<a@b.example>: host mx [192.0.2.1]: 550 no", "rcpt to"),
    ("SMTP error from remote mail server after end of data: 550 no", "end of data"),
    ("SMTP error from remote mail server after initial connection: host mx: 554 no", "ehlo"),
    ("192.0.2.1 does not like recipient.\nRemote host said: 550 no", "rcpt to"),
    ("192.0.2.1 failed after I sent the message.\nRemote host said: 550 no", "end of data"),
    ("Connected to 192.0.2.1 but sender was rejected.\nRemote host said: 550 no", "mail from"),
    ("Connected to 192.0.2.1 but my name was rejected.\nRemote host said: 501 no", "helo"),
    ("rejected recipient (Error following RCPT command). It responded as follows: [550 no]", "rcpt to"),
    ("SMTP:RCPT host 192.0.2.8: 553 no", "rcpt to"),
    ("Remote host said: 550 no [RCPT_TO]", "rcpt to"),
    (">>> RCPT To:<a@b.example>\n<<< 550 no", "rcpt to"),
    (">>> DATA\n<<< 550 no", ""),  # sendmail pipelines
    ("550 no", ""),
    ("after the mail was sent, user unknown", ""),
]


@pytest.mark.parametrize(("report", "said"), COMMANDS, ids=[said + str(n) for n, (_, said) in enumerate(COMMANDS)])
def test_the_refused_command_is_found_in_the_words_of_each_server(report: str, said: str) -> None:
    assert command(report) == said


def test_each_recipient_gets_the_command_it_was_refused_at() -> None:
    text = (
        "<ann@example.org>: host mx said: 550 user unknown (in reply to end of DATA command)\r\n\r\n"
        "<bob@example.org>: host mx said: 550 user unknown (in reply to RCPT TO command)\r\n"
    )
    plain = (
        "Final-Recipient: rfc822; {}@example.org\r\nAction: failed\r\nStatus: 5.0.0\r\n"
        "Diagnostic-Code: smtp; 550 user unknown"
    )
    ann, bob = read(dsn(plain.format("ann"), plain.format("bob"), text=text)).recipients
    assert (classify(ann.reply).hard, classify(bob.reply).hard) == (False, True)


ABOUT_A_DOMAIN = {
    "Subject: Report Domain: example.com Submitter: google.com Report-ID: 1\r\n"
    'Content-Type: application/zip; name="google.com!example.com!1700000000!1700086399.zip"': "dmarc",
    "Subject: x\r\nContent-Type: application/gzip\r\nContent-Disposition: attachment; "
    'filename="a.example!example.com!1700000000!1700086399.xml.gz"': "dmarc",
    "Subject: Report Domain: example.com Submitter: google.com Report-ID: <1>\r\n"
    'TLS-Report-Domain: example.com\r\nContent-Type: multipart/report; report-type="tlsrpt"; boundary=x': "tlsrpt",
    "Subject: x\r\nContent-Type: application/tlsrpt+gzip": "tlsrpt",
    "Subject: holiday pictures\r\nContent-Type: application/zip; name=pictures.zip": "other",
}


@pytest.mark.parametrize(("head", "kind"), ABOUT_A_DOMAIN.items())
def test_reports_about_a_domain_are_known_by_their_form(head: str, kind: str) -> None:
    assert read(f"From: a@example.org\r\n{head}\r\n\r\nUEsDBA==".encode()).kind == kind


def test_what_dovecot_says_in_its_text_counts_before_its_code() -> None:
    text = "Your message to <ann@example.org> was automatically rejected:\r\nNot enough disk space\r\n"
    [recipient] = read(dsn(FAILED, text=text)).recipients
    assert (classify(recipient.reply).category, classify(recipient.reply).hard) == ("mailbox-full", False)


SES = b"""From: SES <no-reply@sns.amazonaws.com>
Subject: AWS Notification Message

{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bounceSubType":"General","bouncedRecipients":[\
{"emailAddress":"ann@example.org","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 unknown"}]},\
"mail":{"source":"b.e1.google.abc@bounce.example.com","headers":[{"name":"Message-ID","value":"<one@exam!
 ple.com>"}]}}

--
If you wish to stop receiving notifications from this topic, please click
""".replace(b"\\\n", b"")


def test_a_notification_of_amazon_in_a_mail_is_read_also_where_it_was_folded() -> None:
    incoming = read(SES)
    assert (incoming.kind, incoming.recipients[0].address, incoming.recipients[0].status) == (
        "bounce", "ann@example.org", "5.1.1",
    )  # fmt: skip
    assert incoming.message_id == "one@example.com"
    assert read(SES.replace(b'"headers":[', b'"headers":[[[{}')).kind in ("bounce", "other")


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
    assert incoming.kind in get_args(Kind)
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
    started = time.thread_time()  # what it costs, whatever else this machine does
    incoming = read(HOSTILE[name])
    assert time.thread_time() - started < 1.0
    assert len(incoming.recipients) <= 500


def test_hostile_mail_costs_little_memory() -> None:
    tracemalloc.start()
    try:
        for name, raw in HOSTILE.items():
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            read(raw)
            assert tracemalloc.get_traced_memory()[1] - before < 32 * 1024 * 1024, name
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [b"", b";", b" ; ", b";message/rfc822", b";\x0b;", b";;; charset=utf-8", b"message"])
def test_a_content_type_without_a_type_is_text(value: bytes) -> None:
    _, part = parts(b"Content-Type: " + value + b"\n\nHello\n")
    assert part.kind == "text/plain"


def test_parts_and_depth_are_bounded() -> None:
    assert len(parts(HOSTILE["many parts"])) <= PARTS + 1
    assert len(parts(_nested(50))) <= DEPTH + 2
