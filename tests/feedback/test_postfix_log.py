"""Lines of a Postfix log, as it writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.feedback.postfix_log import Line, parse

HEAD = b"Nov 23 20:30:01 mail out/"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"qmgr[12]: 4Nl1Wk2bQHz1: from=<b.e1.google.abc@bounce.x.example>, size=7012, nrcpt=1 (queue active)",
            Line("4Nl1Wk2bQHz1", "from", sender="b.e1.google.abc@bounce.x.example"),
        ),
        (
            (
                b"smtp[13]: 9A3F21C: to=<a@b.example>, relay=mx.b.example[192.0.2.1]:25, conn_use=2, delay=0.2, "
                b"delays=0.1/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)"
            ),
            Line("9A3F21C", "sent", reply="250 2.0.0 Ok: queued as X", said=True),
        ),
        (
            (
                b"smtp[13]: 9A3F21C: to=<a@b.example>, relay=mx.b.example[192.0.2.1]:25, delay=0.2, delays=0/0/0/0.1, "
                b"dsn=5.1.1, status=bounced (host mx.b.example[192.0.2.1] said: 550 5.1.1 <a@b.example>: no such user "
                b"(in reply to RCPT TO command))"
            ),
            Line(
                "9A3F21C",
                "bounced",
                reply="550 5.1.1 <a@b.example>: no such user (in reply to RCPT TO command)",
                said=True,
            ),
        ),
        (
            (
                b"smtp[13]: 9A3F21C: to=<a@b.example>, relay=none, delay=30, delays=0/0/9/0, dsn=4.4.1, status=deferred"
                b" (connect to mx.b.example[192.0.2.1]:25: Connection timed out)"
            ),
            Line("9A3F21C", "deferred", reply="4.4.1 connect to mx.b.example[192.0.2.1]:25: Connection timed out"),
        ),
        (b"qmgr[12]: 9A3F21C: removed", Line("9A3F21C", "removed")),
        (
            b"qmgr[12]: 9A3F21C: from=<b.e1.other.x@b.example>, status=expired, returned to sender",
            Line("9A3F21C", "expired", reply="4.4.7 expired: not delivered within the time allowed"),
        ),
        (b"cleanup[9]: 9A3F21C: message-id=<x@y>", None),
        (b"smtpd[9]: connect from localhost[127.0.0.1]", None),
        (b"qmgr[12]: 9A3F21C: from=<unfinished", None),
    ],
)
def test_a_line_is_read(line: bytes, expected: Line | None) -> None:
    assert parse(HEAD + line) == expected


def test_a_server_that_writes_our_log_format_into_its_reply_fools_nobody() -> None:
    line = parse(
        HEAD + b"smtp[13]: 9A3F21C: to=<a@b.example>, relay=mx[192.0.2.1]:25, delay=1, dsn=5.7.1, status=bounced "
        b"(host mx[192.0.2.1] said: 550 5.7.1 blocked, dsn=2.0.0, status=sent (250 ok) (in reply to RCPT TO command))"
    )
    assert line is not None
    assert line.what == "bounced"


def test_a_mail_that_the_operator_lets_expire_has_expired() -> None:
    line = parse(HEAD + b"qmgr[9]: 9A3F21C: from=<b.e1.google.abc@b.x>, status=force-expired, returned to sender")
    assert line is not None
    assert line.what == "expired"


@given(st.binary(max_size=300))
def test_no_line_raises(line: bytes) -> None:
    parse(HEAD + line)
    parse(line)
