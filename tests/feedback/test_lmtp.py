"""Bounces and complaints over LMTP, as Postfix hands them over, into a real database."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.feedback.reportworld import aggregate, mail, packed, tls
from tests.feedback.test_bounce_mail import DELAYED, FAILED, dsn
from thurn.db.connect import Connection, make_pool
from thurn.delivery.fold import fold
from thurn.feedback import replies
from thurn.feedback.bounce_mail import read
from thurn.feedback.incoming import Tokens, record
from thurn.feedback.lmtp import serve_lmtp
from thurn.settings import Settings


@pytest.fixture
async def delivery(system: Connection) -> int:
    """A delivery of campaign 1 to ann@example.org that was delivered."""
    await system.execute(
        "INSERT INTO campaign (workspace_id, name, from_address, state) VALUES (1, 'May', 'a@b.example', 'sent')"
    )
    await system.execute("INSERT INTO contact (workspace_id, email) VALUES (1, 'ann@example.org')")
    row = await (
        await system.execute(
            """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, handed_over_at,
                                     settled_at)
               VALUES (1, 1, 1, 'ann@example.org', 'other', 'delivered', now(), now()) RETURNING id"""
        )
    ).fetchone()
    assert row is not None
    number: int = row["id"]
    return number


@pytest.fixture
async def server(clean: Settings) -> AsyncIterator[asyncio.Server]:
    async with make_pool(clean, "system", size=2) as pool:
        server = await serve_lmtp(clean, pool)
        yield server
        server.close()


async def deliver(
    settings: Settings, to: str | list[str], mail: bytes, sender: str = ""
) -> dict[str, tuple[int, bytes]] | None:
    """Hand a mail over; None if all recipients were taken, else the refusals."""

    def hand_over() -> dict[str, tuple[int, bytes]] | None:
        recipients = [to] if isinstance(to, str) else to
        with smtplib.LMTP("127.0.0.1", settings.port["feedback"]) as client:
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            for recipient in recipients:
                assert client.rcpt(recipient)[0] == 250
            client.putcmd("data")
            assert client.getreply()[0] == 354
            client.send(mail + b"\r\n.\r\n")
            replies = [client.getreply() for _ in recipients]
            return {r: reply for r, reply in zip(recipients, replies, strict=True) if reply[0] != 250} or None

    return await asyncio.to_thread(hand_over)


def verp(settings: Settings, delivery: int) -> str:
    return Tokens.of(settings).verp.local_part("e1", "other", 1, delivery) + "@bounce.b.example"


async def reports(db: Connection) -> list[dict[str, Any]]:
    return await (await db.execute("SELECT kind, matched, delivery_id FROM incoming_report ORDER BY id")).fetchall()


async def outcomes(db: Connection) -> list[dict[str, Any]]:
    return await (
        await db.execute("SELECT delivery_id, kind, category, hard, source FROM outcome ORDER BY id")
    ).fetchall()


async def test_a_bounce_to_a_signed_address_bounces_and_suppresses(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    assert await deliver(clean, verp(clean, delivery), dsn(FAILED)) is None
    assert await outcomes(system) == [
        {"delivery_id": delivery, "kind": "bounced", "category": "unknown-address", "hard": True, "source": "mail"}
    ]
    assert await reports(system) == [{"kind": "bounce", "matched": True, "delivery_id": delivery}]
    await fold(system)
    row = await (await system.execute("SELECT address, reason FROM suppression")).fetchone()
    assert row == {"address": "ann@example.org", "reason": "bounce"}


@pytest.mark.parametrize("address", ["b.e1.other.aaaaaaaaaaaaaaaa@bounce.b.example", "b.x@y.example", "b.@y.example"])
async def test_a_forged_bounce_is_recorded_and_suppresses_nobody(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, address: str
) -> None:
    assert await deliver(clean, address, dsn(FAILED)) is None
    assert await outcomes(system) == []
    assert await reports(system) == [{"kind": "bounce", "matched": False, "delivery_id": None}]


async def test_a_token_of_a_delivery_that_is_gone_matches_nothing(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    assert await deliver(clean, verp(clean, delivery + 1), dsn(FAILED)) is None
    assert (await outcomes(system), [r["matched"] for r in await reports(system)]) == ([], [False])


AWAY = b"From: ann@example.org\r\nAuto-Submitted: auto-replied\r\nSubject: away\r\n\r\nuser unknown\r\n"


@pytest.mark.parametrize(("mail", "kind"), [(dsn(DELAYED), "delayed"), (AWAY, "auto-reply"), (b"x", "other")])
async def test_what_is_no_bounce_changes_nothing(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, mail: bytes, kind: str
) -> None:
    assert await deliver(clean, verp(clean, delivery), mail) is None
    assert await outcomes(system) == []
    assert await reports(system) == [{"kind": kind, "matched": True, "delivery_id": delivery}]


def arf(report: str, original: str) -> bytes:
    return (
        "From: fbl@example.org\r\nSubject: report\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n\r\nspam\r\n"
        f"--x\r\nContent-Type: message/feedback-report\r\n\r\n{report}\r\n\r\n"
        f"--x\r\nContent-Type: text/rfc822-headers\r\n\r\n{original}\r\n\r\n--x--\r\n"
    ).encode()


@pytest.mark.parametrize("where", ["sender", "return-path", "message-id", "list-unsubscribe"])
async def test_a_complaint_is_matched_by_whatever_token_came_back(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, where: str
) -> None:
    sender = verp(clean, delivery)
    report, original = "Feedback-Type: abuse\r\nVersion: 1", "Subject: May"
    match where:
        case "sender":
            report += f"\r\nOriginal-Mail-From: <{sender}>"
        case "return-path":
            original += f"\r\nReturn-Path: <{sender}>"
        case "message-id":
            original += f"\r\nMessage-ID: <{sender.partition('@')[0].rpartition('.')[2]}@b.example>"
        case _:
            token = Tokens.of(clean).tracking.make("u", 1, 1, delivery)
            original += f"\r\nList-Unsubscribe: <https://mail.b.example/u/{token}>"
    assert await deliver(clean, "fbl@bounce.b.example", arf(report, original)) is None
    assert [(o["delivery_id"], o["kind"]) for o in await outcomes(system)] == [(delivery, "complained")]


@pytest.mark.parametrize("where", ["cfbl-feedback-id", "list-unsubscribe-by-mail", "folded"])
async def test_a_redacted_complaint_is_matched_by_what_providers_leave_in(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, where: str
) -> None:
    tokens = Tokens.of(clean)
    token = verp(clean, delivery).partition("@")[0].rpartition(".")[2]
    original = {
        "cfbl-feedback-id": f"CFBL-Feedback-ID: {token}",
        "list-unsubscribe-by-mail": f"List-Unsubscribe: <mailto:{tokens.verp.leave(1, delivery)}@bounce.b.example?x=y>",
        "folded": "List-Unsubscribe:\r\n <https://mail.b.example/u/"
        f"{tokens.tracking.make('u', 1, 1, delivery)}>,\r\n <mailto:redacted>",
    }[where]
    report = "Feedback-Type: abuse\r\nOriginal-Rcpt-To: redacted@comcast.example\r\nOriginal-Mail-From: <redacted>"
    assert await deliver(clean, "fbl@bounce.b.example", arf(report, f"To: <redacted>\r\n{original}")) is None
    await fold(system)
    row = await (await system.execute("SELECT address, reason, source, report_id FROM suppression")).fetchone()
    assert row == {"address": "ann@example.org", "reason": "complaint", "source": "mail", "report_id": 1}


def jmrp(token: str) -> bytes:
    """Microsoft's junk mail reporting: the mail itself attached, no report about it."""
    return (
        "From: staff@hotmail.example\r\nTo: fbl@bounce.b.example\r\nSubject: complaint about message from 192.0.2.1\r\n"
        "X-HmXmrOriginalRecipient: ann@example.org\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
        f"From: a@b.example\r\nMessage-ID: <{token}@b.example>\r\nSubject: May\r\n\r\nHello\r\n--x--\r\n"
    ).encode()


async def test_what_microsoft_sends_instead_of_a_report_is_a_complaint(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    token = verp(clean, delivery).partition("@")[0].rpartition(".")[2]
    assert await deliver(clean, "fbl@bounce.b.example", jmrp(token)) is None
    assert [(o["delivery_id"], o["kind"]) for o in await outcomes(system)] == [(delivery, "complained")]


async def test_a_report_that_only_names_an_address_suppresses_nobody(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    report = "Feedback-Type: abuse\r\nOriginal-Rcpt-To: ann@example.org"
    assert await deliver(clean, "fbl@bounce.b.example", arf(report, "To: ann@example.org")) is None
    assert await deliver(clean, "abuse@bounce.b.example", dsn(FAILED)) is None
    assert await outcomes(system) == []
    rows = await (await system.execute("SELECT matched, recipient, effect FROM incoming_report ORDER BY id")).fetchall()
    assert [r["matched"] for r in rows] == [False, False]
    assert rows[0]["recipient"] == "ann@example.org"
    assert all("could be anybody's" in r["effect"] for r in rows)


@pytest.mark.parametrize("to", ["b.e1.other.aaaaaaaaaaaaaaaa@bounce.b.example", "abuse@bounce.b.example"])
@pytest.mark.parametrize("ours", [True, False])
async def test_a_bounce_elsewhere_counts_by_a_message_id_of_ours_alone(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, to: str, ours: bool
) -> None:
    token = verp(clean, delivery).partition("@")[0].rpartition(".")[2]
    token = token if ours else "a" * len(token)
    mail = (
        "From: MAILER-DAEMON@example.org\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\nno\r\n"
        "--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        "Final-Recipient: rfc822; ann@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n"
        f"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{token}@b.example>\r\n\r\n--x--\r\n"
    ).encode()
    assert await deliver(clean, to, mail) is None
    assert [(o["kind"], o["hard"]) for o in await outcomes(system)] == ([("bounced", True)] if ours else [])


# ------------------------------------------------------------------ unsubscribing by mail, replies


def leave(settings: Settings, delivery: int) -> str:
    return Tokens.of(settings).verp.leave(1, delivery) + "@bounce.b.example"


LEAVE = b"From: ann@example.org\r\nSubject: unsubscribe\r\n\r\n"


async def left(db: Connection) -> tuple[bool, int, int]:
    """Whether ann has left, how many events say so, and how many people are counted."""
    row = await (
        await db.execute(
            """SELECT (SELECT unsubscribed_at IS NOT NULL FROM contact) AS gone,
                      (SELECT count(*) FROM event WHERE kind = 'unsubscribed') AS events,
                      (SELECT coalesce(sum(n), 0) FROM campaign_tally WHERE measure = 'unsubscribed') AS people"""
        )
    ).fetchone()
    assert row is not None
    return row["gone"], row["events"], int(row["people"])


async def test_who_unsubscribes_by_mail_has_left_and_is_counted_once(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    for sent in (LEAVE, LEAVE, b"", b"From: x\r\nSubject: Re: May\r\nIn-Reply-To: <a@b>\r\n\r\nplease"):
        assert await deliver(clean, leave(clean, delivery).upper(), sent, sender="ann@example.org") is None
        assert await left(system) == (True, 1, 1)
    row = await (await system.execute("SELECT kind, matched_by, raw FROM incoming_report LIMIT 1")).fetchone()
    assert row == {"kind": "unsubscribe", "matched_by": "unsubscribe", "raw": None}


@pytest.mark.parametrize("case", ["bounce", "away", "forged", "verp token", "gone"])
async def test_machines_and_forgers_unsubscribe_nobody(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, case: str
) -> None:
    address = leave(clean, delivery)
    if case == "forged":
        address = "u." + "a" * 20 + "@bounce.b.example"
    elif case == "verp token":
        address = "u." + verp(clean, delivery).partition("@")[0].rpartition(".")[2] + "@bounce.b.example"
    elif case == "gone":
        address = leave(clean, delivery + 1)
    mail = {"bounce": dsn(FAILED), "away": AWAY}.get(case, LEAVE)
    assert await deliver(clean, address, mail) is None
    assert await left(system) == (False, 0, 0)


REPLY = b"From: Ann <ann@example.org>\r\nSubject: Re: May\r\nIn-Reply-To: <x@b.example>\r\n\r\nYes please\r\n"


async def test_a_reply_that_cannot_be_forwarded_now_is_kept_by_postfix_and_not_counted_yet(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    refused = await deliver(clean, verp(clean, delivery), REPLY, sender="ann@example.org")
    assert refused is not None
    assert {code for code, _ in refused.values()} == {451}
    assert (await outcomes(system), await reports(system)) == ([], [])


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <l.example>", "X-Thurn-Reply: forwarded by x", ""],
)
async def test_what_a_program_answers_is_no_reply_and_goes_nowhere(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, header: str
) -> None:
    mail = f"{header}\r\n".encode() + REPLY if header else REPLY
    assert await deliver(clean, verp(clean, delivery), mail, sender="ann@example.org" if header else "") is None
    assert await outcomes(system) == []
    assert [r["matched"] for r in await reports(system)] == [True]


async def test_a_reply_in_a_mailbox_here_is_counted_once_by_what_it_refers_to(
    clean: Settings, system: Connection, delivery: int
) -> None:
    token = verp(clean, delivery).partition("@")[0].rpartition(".")[2]
    tokens = Tokens.of(clean)
    for _ in range(2):
        assert await replies.count(system, tokens, ["20261124", token, token.upper(), "a" * 26, "\u00e9" * 26]) == 1
    await fold(system)
    rows = await (await system.execute("SELECT kind FROM event")).fetchall()
    assert [row["kind"] for row in rows] == ["replied"]
    assert await (await system.execute("SELECT measure, n FROM campaign_tally")).fetchall() == [
        {"measure": "replied", "n": 1}
    ]


async def test_a_report_of_type_opt_out_unsubscribes_and_complains_of_nothing(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    report = f"Feedback-Type: opt-out\r\nOriginal-Mail-From: <{verp(clean, delivery)}>"
    for _ in range(2):
        assert await deliver(clean, "fbl@bounce.b.example", arf(report, "Subject: May")) is None
    assert (await outcomes(system), await left(system)) == ([], (True, 1, 1))


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
async def test_a_report_that_nobody_complained_in_complains_of_nobody(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int, kind: str
) -> None:
    report = f"Feedback-Type: {kind}\r\nOriginal-Mail-From: <{verp(clean, delivery)}>"
    assert await deliver(clean, "fbl@bounce.b.example", arf(report, "Subject: May")) is None
    assert await outcomes(system) == []
    assert [r["matched"] for r in await reports(system)] == [True]


async def test_a_complaint_without_a_token_is_recorded(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    assert await deliver(clean, "abuse@bounce.b.example", arf("Feedback-Type: abuse", "To: ann@example.org")) is None
    assert (await outcomes(system), [r["matched"] for r in await reports(system)]) == ([], [False])


async def test_each_recipient_of_a_mail_gets_its_own_answer_and_others_are_swallowed(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    assert (
        await deliver(clean, [verp(clean, delivery), "nobody@bounce.b.example", "b.x@y.example"], dsn(FAILED)) is None
    )
    assert [r["matched"] for r in await reports(system)] == [True, False]


async def test_garbage_and_long_lines_are_taken(
    clean: Settings, system: Connection, server: asyncio.Server, delivery: int
) -> None:
    mail = b"Subject: \0\xff" + b"x" * 90_000 + b"\r\n\r\n\0"
    assert await deliver(clean, verp(clean, delivery), mail) is None
    row = await (await system.execute("SELECT length(raw) AS n FROM incoming_report")).fetchone()
    assert row == {"n": 64 * 1024}


async def test_without_the_database_postfix_is_told_to_keep_the_mail(clean: Settings) -> None:
    server = await serve_lmtp(clean, _Broken())  # type: ignore[arg-type]  # all that is used of a pool
    refused = await deliver(clean, "b.x@y.example", dsn(FAILED))
    server.close()
    assert refused is not None
    assert refused["b.x@y.example"][0] == 451


class _Broken:
    """A pool whose database is away."""

    def connection(self, timeout: float | None = None) -> Any:
        raise psycopg.OperationalError("the database is away")


@pytest.mark.parametrize(("local", "report"), [("dmarc", aggregate()), ("tlsrpt", tls())])
async def test_a_report_to_the_address_of_our_records_is_stored(
    clean: Settings, system: Connection, server: asyncio.Server, local: str, report: bytes
) -> None:
    await system.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host)
           VALUES (1, 'brotzeit.example', 'bounce.brotzeit.example')"""
    )
    assert await deliver(clean, f"{local}@bounce.brotzeit.example", mail(packed(report))) is None
    assert await deliver(clean, f"{local}@bounce.brotzeit.example", b"Subject: hello\r\n\r\nhello") is None
    row = await (await system.execute("SELECT kind, counted FROM auth_report")).fetchone()
    assert row == {"kind": "dmarc" if local == "dmarc" else "tls", "counted": True}
    kept = await (await system.execute("SELECT kind, summary FROM incoming_report ORDER BY id")).fetchall()
    assert [each["kind"] for each in kept] == [local, local]
    assert "no report in it" in kept[1]["summary"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    to=st.sampled_from(
        ["b.e1.other.aaaaaaaaaaaaaaaa", "fbl", "abuse", "postmaster", "u.aaaaaaaaaaaaaaaaaaaa", "u.", "b."]
    ),
)
async def test_whatever_comes_is_recorded_and_changes_nothing_that_it_cannot_prove(
    clean: Settings, system: Connection, delivery: int, data: st.DataObject, to: str
) -> None:
    start = data.draw(
        st.sampled_from([dsn(FAILED), REPLY, LEAVE, AWAY, jmrp("a" * 26), arf("Feedback-Type: abuse", "To: x")])
    )
    cut = data.draw(st.integers(0, len(start)))
    mail = start[:cut] + data.draw(st.binary(max_size=60)) + start[cut:]
    async with system.transaction(force_rollback=True):
        address = f"{to}@bounce.b.example"
        matched = await record(system, clean, Tokens.of(clean), address, read(mail), mail, "\udcff@x\0.example")
        assert not matched
        assert (await outcomes(system), (await left(system))[0]) == ([], False)
        assert len(await reports(system)) == 1
