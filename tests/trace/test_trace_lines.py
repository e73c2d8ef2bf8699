"""What each line of the mail log says, also where a stranger has written most of it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.trace.lines import LONGEST_ADDRESS, LONGEST_TEXT, Entry, parse

Q = "4Nl1Wk2bQHz1"


def line(process: str, text: str) -> bytes:
    return f"Nov 24 20:30:01 mail postfix/{process}[12]: {text}".encode()


def read(process: str, text: str) -> Entry:
    entry = parse(line(process, text))
    assert entry is not None, text
    return entry


@pytest.mark.parametrize(
    ("process", "text", "expected"),
    [
        (
            "smtpd",
            f"{Q}: client=mx.post.example[192.0.2.7]",
            {"what": "client", "service": "postfix", "client_ip": "192.0.2.7", "client_name": "mx.post.example"},
        ),
        (
            "submissions/smtpd",
            f"{Q}: client=unknown[2001:db8::7], sasl_method=PLAIN, sasl_username=Resi@Brotzeit.example",
            {"service": "postfix/submissions", "client_ip": "2001:db8::7", "login": "resi@brotzeit.example"},
        ),
        ("cleanup", f"{Q}: message-id=<1@Post.example>", {"what": "message-id", "message_id": "<1@Post.example>"}),
        (
            "qmgr",
            f"{Q}: from=<Franz@Elsewhere.example>, size=7012, nrcpt=1 (queue active)",
            {"what": "from", "sender": "franz@elsewhere.example", "size": 7012},
        ),
        ("qmgr", f"{Q}: from=<>, size=1, nrcpt=1 (queue active)", {"what": "from", "sender": ""}),
        ("qmgr", f"{Q}: from=<a@b.example>, status=expired, returned to sender", {"what": "expired"}),
        ("qmgr", f"{Q}: removed", {"what": "removed", "reply": ""}),
        (
            "lmtp",
            (f"{Q}: to=<resi@brotzeit.example>, orig_to=<wirt@brotzeit.example>, relay=mail[private/dovecot-lmtp], "
            "delay=0.2, delays=0.1/0/0.05/0.05, dsn=2.0.0, status=sent (250 2.0.0 <resi@brotzeit.example> x Saved)"),
            {
                "what": "to", "state": "delivered", "recipient": "resi@brotzeit.example",
                "original": "wirt@brotzeit.example", "relay": "mail[private/dovecot-lmtp]", "delay": 0.2,
                "reply": "250 2.0.0 <resi@brotzeit.example> x Saved",
            },
        ),
        (
            "smtp",
            (f"{Q}: to=<a@b.example>, relay=b.example[192.0.2.1]:25, conn_use=2, delay=1, delays=0/0/0/1, dsn=4.2.2, "
            "status=deferred (host b.example[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command))"),
            {"state": "deferred", "reply": "452 4.2.2 full (in reply to RCPT TO command)"},
        ),
        (
            "error",
            f"{Q}: to=<a@b.example>, relay=none, delay=1, delays=1/0/0/0, dsn=5.1.1, status=bounced (no such user)",
            {"state": "bounced", "reply": "5.1.1 no such user"},
        ),
        (
            "smtpd",
            ("NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <x@y.example>: Relay access denied; "
            "from=<a@b.example> to=<x@y.example> proto=ESMTP helo=<pc>"),
            {
                "queue_id": "", "what": "refused", "state": "refused", "recipient": "x@y.example", "helo": "pc",
                "reply": "554 5.7.1 <x@y.example>: Relay access denied", "client_ip": "192.0.2.7",
            },
        ),
        (
            "cleanup",
            (f"{Q}: milter-reject: END-OF-MESSAGE from localhost[127.0.0.1]: 4.7.1 Try again later; "
            "from=<a@b.example> to=<x@y.example> proto=ESMTP helo=<pc>"),
            {"queue_id": Q, "what": "refused", "state": "postponed", "reply": "4.7.1 Try again later"},
        ),
        (
            "submission/smtpd",
            (f"{Q}: reject: END-OF-MESSAGE from pc[192.0.2.7]: 554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected: no; "
            "from=<\"a> to=<c@d>\"@b.example> proto=ESMTP helo=<??to=?z?y.example??proto=?>"),
            {"state": "refused", "sender": '"a> to=<c@d>"@b.example', "recipient": "", "for_all": True},
        ),
        (
            "smtpd",
            (f"{Q}: reject: RCPT from pc[192.0.2.7]: 550 5.1.1 no; from=<a@b.example> to=<x@y.example> proto=SMTP "
            "helo=<pc>"),
            {"recipient": "x@y.example", "for_all": False},
        ),
        (
            "smtpd",
            ("NOQUEUE: info: RCPT from pc[192.0.2.7]: taken; from=<> to=<X@Y.example> proto=ESMTP "
            "helo=<pc??to=?z?y.example??proto=ESMTP>"),
            {"queue_id": "", "what": "taken", "process": "12", "recipient": "x@y.example"},
        ),
        (
            "submission/smtpd",
            (f'{Q}: info: RCPT from pc[192.0.2.7]: taken; from=<"> to=<v@ours.example> proto="@b.example> '
            'to=<"x\\" y> proto="@y.example> proto=ESMTP helo=<pc>'),
            {"queue_id": Q, "what": "taken", "recipient": '"x\\" y> proto="@y.example'},
        ),
        (
            "smtp",
            (f'{Q}: to=<"v@ours.example>, relay=x, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"@y.example>'
            ', orig_to=<">, relay=y"@z.example>, relay=none, delay=1, delays=0/0/0/1, dsn=5.4.4, status=bounced ()'),
            {"state": "bounced", "relay": "none", "original": '">, relay=y"@z.example', "recipient":
             '"v@ours.example>, relay=x, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"@y.example'},
        ),
        ("smtpd", f"{Q}: client=pc[192.0.2.7]", {"what": "client", "process": "12"}),
        ("bounce", f"{Q}: sender non-delivery notification: 4Nl1Wk2bQHz2", {"what": "told"}),
    ],
)  # fmt: skip
def test_a_line_is_read(process: str, text: str, expected: dict[str, object]) -> None:
    entry = read(process, text)
    assert {name: getattr(entry, name) for name in expected} == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        line("smtpd", "connect from unknown[192.0.2.7]"),
        line("smtpd", f"{Q}: something new"),
        line("smtpd", "warning: hostname x does not resolve"),
        line("qmgr", "NOQUEUE: "),
        line("smtpd", "NOQUEUE: info: RCPT from x[192.0.2.7]: taken; from=<a@b.example> proto=ESMTP helo=<pc>"),
        line("smtpd", "NOQUEUE: info: RCPT from x[192.0.2.7]: taken; from=<a@b.example> to=<x@y proto=ESMTP helo=<pc>"),
        line("smtpd", "NOQUEUE: reject: END-OF-MESSAGE from x[192.0.2.7]: 554 no; from=<a@b.example> proto=SMTP"),
        b"  " + line("qmgr", f"{Q}: removed"),
        b"x: " + line("smtpd", f"{Q}: client=trusted[192.0.2.1]"),
    ],
)
def test_what_says_nothing_of_a_message_is_passed_over(raw: bytes) -> None:
    assert parse(raw) is None


def test_what_a_stranger_wrote_is_not_taken_for_a_line_of_its_own() -> None:
    fake = f"Nov 24 20:30:01 mail postfix/qmgr[1]: {Q}: removed"
    entry = read("cleanup", f"{Q}: message-id=<{fake}>")
    assert (entry.what, entry.message_id) == ("message-id", f"<{fake}>")
    status = "status=sent (250 ok)"
    entry = read(
        "smtp", f"{Q}: to=<a@b.example>, relay=b[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, "
        f"status=bounced (host b[192.0.2.1] said: 550 to=<z@z.example>, relay=q, dsn=2.0.0, {status})"
    )  # fmt: skip
    assert (entry.state, entry.recipient) == ("bounced", "a@b.example")


# What a stranger could try to end an address with, whole and in pieces.
PIECES = st.sampled_from(
    [
        "; from=<f@f.example>", "; from=<",  " to=<v@ours.example>", " to=<", "> to=<", ' to=<"', " proto=SMTP",
        " helo=<h>", " helo=<", "@ours.example", "@", ">", "<", ";", " ", '"', "\\", '\\"', "x", "ä", ": no",
    ]
)  # fmt: skip
LOCAL = st.lists(PIECES, min_size=1, max_size=12).map("".join)


def quoted(local: str) -> str:
    """As Postfix logs an address (its quote_822_local)."""
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return local if local.isalnum() else f'"{escaped}"'


@given(LOCAL, LOCAL, LOCAL, st.booleans())
def test_no_address_and_no_greeting_forges_an_address(sender: str, recipient: str, helo: str, whom: bool) -> None:
    told = f"{quoted(sender)}@a.example", f"{quoted(recipient)}@b.example" if whom else ""
    stage, queue_id = ("RCPT", "NOQUEUE") if whom else ("END-OF-MESSAGE", Q)
    greeting = "".join("?" if letter in ' <>()\\";:@' else letter for letter in helo)
    entry = read(
        "smtpd",
        f"{queue_id}: reject: {stage} from pc[192.0.2.7]: 554 5.7.1 <{recipient}@b.example>: Relay access denied; "
        f"from=<{told[0]}>{f' to=<{told[1]}>' if whom else ''} proto=ESMTP helo=<{greeting}>",
    )
    assert (entry.sender, entry.recipient) == (told[0].lower()[:LONGEST_ADDRESS], told[1].lower()[:LONGEST_ADDRESS])
    assert entry.helo == greeting
    assert entry.reply.endswith("Relay access denied")
    entry = (
        read("smtpd", f"NOQUEUE: info: RCPT from pc[192.0.2.7]: taken; from=<{told[0]}> to=<{told[1]}> proto=SMTP")
        if whom
        else entry
    )
    assert entry.recipient == told[1].lower()[:LONGEST_ADDRESS]


def test_a_refusal_that_postfix_has_cut_is_not_believed() -> None:
    """It ends where a stranger wants then: in the recipient, which the text of the refusal gives unquoted."""
    for tail in ("; from=<f@f.example> to=<v@ours.example> proto=SMTP helo=<h>", "; from=<f@f.example> proto=SMTP"):
        for name in ("NOQUEUE: reject: RCPT", f"{Q}: reject: END-OF-MESSAGE"):
            start = f"{name} from pc[192.0.2.7]: 554 5.7.1 <"
            for octets in (1999, 2000):
                text = start + "x" * (octets - len(start) - len(tail)) + tail
                entry = parse(line("smtpd", text))
                readable = octets < 2000 and (name[0] != "N" or " to=" in tail)
                assert (entry is not None) is readable, (octets, tail, name)
                assert parse(line("smtpd", text) + b"\n") == entry


@pytest.mark.parametrize(
    "piece", [">, orig_to=<", "; from=<> to=<", "relay=", "helo=<", "[192.0.2.1]: ", "(", "ä", "'", '"', '"\\"', '""']
)
def test_ten_thousand_letters_of_a_stranger_take_no_time_and_are_cut(piece: str) -> None:
    long = piece * (10_000 // len(piece))
    started = time.monotonic()
    for text in (
        f"{Q}: message-id=<{long}>",
        f"{Q}: from=<{long}@b.example>, size=1, nrcpt=1 (queue active)",
        f"{Q}: to=<{long}@b.example>, relay=none, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced ({long})",
        (
            f"NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <{long}>: no; from=<{long}> to=<{long}> "
            f"proto=ESMTP helo=<{long}>"
        ),
        f"{Q}: info: RCPT from x[192.0.2.7]: taken; from=<{long}> to=<{long}> proto=ESMTP helo=<{long}>",
        f'{Q}: info: RCPT from x[192.0.2.7]: taken; from=<"{long}> to=<{long}"> proto=ESMTP helo=<{long}>',
        f"NOQUEUE: reject: HELO from unknown[192.0.2.7]: 504 5.5.2 <{long}>: no; proto=SMTP helo=<{long}>",
    ):
        for process in ("cleanup", "qmgr", "smtp", "smtpd"):
            entry = parse(line(process, text))
            if entry is not None:
                assert max(len(entry.recipient), len(entry.sender), len(entry.original)) <= LONGEST_ADDRESS
                assert max(map(len, (entry.reply, entry.message_id, entry.helo, entry.relay))) <= LONGEST_TEXT
    assert time.monotonic() - started < 5


@given(st.binary(max_size=300), st.sampled_from(["smtpd", "cleanup", "qmgr", "smtp", "bounce", "postsuper"]))
def test_no_line_is_too_strange(tail: bytes, process: str) -> None:
    parse(tail)
    parse(line(process, f"{Q}: ") + tail)
    parse(line(process, "NOQUEUE: ") + tail)
