"""Mail that goes on, with the real daemons: forwards, copies for the record, aliases, and who may send how much."""

import re
import smtplib
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from stackworld import (
    DOMAIN,
    RESI,
    STRANGER,
    XAVER,
    Outside,
    add_mailbox,
    all_moved,
    fetch,
    from_now_on,
    imap,
    message,
    send,
    signed_in,
    smtp,
    wait_for,
)

from thurn.db.connect import conninfo
from thurn.settings import Settings

HOST = "mail.thurn.example"
FAR = "Franz@far.example"

pytestmark = pytest.mark.stack


def change(settings: Settings, sql: str, *values: Any) -> None:
    with psycopg.connect(conninfo(settings, "system"), autocommit=True) as db:
        db.execute(sql, values)  # type: ignore[call-overload]


@pytest.fixture(autouse=True)
def as_before(stack: Settings) -> Iterator[None]:
    forget(stack)  # other files' tests send as the same people
    yield
    wait_for(lambda: all_moved(stack))  # by the rules of the test that sent it
    forget(stack)


def forget(stack: Settings) -> None:
    """Nobody sends anything on, and nobody has sent anything."""
    change(stack, "UPDATE mailbox SET forward_to = '{}', forward_keep = true, quota_bytes = 5368709120, enabled = true")
    change(stack, "UPDATE mailbox SET may_send = true, send_limit = 500")
    change(stack, "DELETE FROM bcc_rule")
    change(stack, "DELETE FROM send_as")
    change(stack, "DELETE FROM mailbox_sent")
    change(stack, "DELETE FROM alert WHERE starts_with(key, 'send-limit ')")
    change(stack, "DELETE FROM alias WHERE address <> %s", f"wirt@{DOMAIN}")
    change(stack, "DELETE FROM domain WHERE name <> %s", DOMAIN)


def forward(settings: Settings, address: str, *targets: str, keep: bool = True) -> None:
    change(
        settings,
        "UPDATE mailbox SET forward_to = %s, forward_keep = %s WHERE address = %s",
        list(targets),
        keep,
        address,
    )


def alias(settings: Settings, address: str, *targets: str) -> None:
    for target in targets:
        change(
            settings,
            """INSERT INTO alias (workspace_id, domain_id, address, target)
               SELECT 1, id, %s, %s FROM domain WHERE name = %s""",
            address,
            target,
            DOMAIN,
        )


def arrivals(outside: Outside, mark: str) -> dict[str, str]:
    """Recipient -> envelope sender of what went out with a mark."""
    return {to: sender for sender, recipients, mail in outside.received for to in recipients if mark.encode() in mail}


def has(settings: Settings, address: str, mark: str) -> bool:
    with imap(settings, address) as client:
        client.select("INBOX")
        return bool(client.search(None, "SUBJECT", f'"{mark}"')[1][0])


def test_a_forward_leaves_under_a_return_address_and_keeps_a_copy(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR, "second@far.example")
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: len(arrivals(outside, mark)) == 2)
    senders = arrivals(outside, mark)
    assert set(senders) == {FAR, "second@far.example"}
    assert senders[FAR].startswith("SRS0=")
    assert senders[FAR].endswith(f"=elsewhere.example=franz@{HOST}")
    assert fetch(stack, RESI, mark)


def test_without_a_copy_nothing_stays(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR, keep=False)
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: arrivals(outside, mark))
    wait_for(lambda: all_moved(stack))
    assert not has(stack, RESI, mark)


def test_a_bounce_goes_back_to_who_wrote(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR)
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: arrivals(outside, mark))
    back = arrivals(outside, mark)[FAR]
    returned = send(stack, "<>", back)
    wait_for(lambda: arrivals(outside, returned))
    assert arrivals(outside, returned) == {STRANGER: "<>"}


def test_what_the_far_server_refuses_is_returned_to_who_wrote(stack: Settings, outside: Outside) -> None:
    outside.refuse.add(FAR)
    forward(stack, RESI, FAR)
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: arrivals(outside, mark))
    assert arrivals(outside, mark) == {STRANGER: "<>"}
    assert fetch(stack, RESI, mark)


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [
        ("<>", f"SRS0=aaaaaaaa=aa=far.example=victim@{HOST}"),
        ("<>", f"srs1=aaaaaaaa=far.example==x=y=z=victim@{HOST}"),
        ("<>", f"SRS0=x@{HOST}"),
        ("<>", f"SRS0=far.example=victim@{HOST}"),
        ("<>", f"abuse@{HOST}"),
        ("<>", f"b.e1.other.x@{HOST}"),
        ("<>", "victim=far.example@forward.invalid"),
        (RESI, "victim=far.example@forward.invalid"),
    ],
)
def test_nobody_writes_to_the_world_through_a_return_address(stack: Settings, sender: str, recipient: str) -> None:
    with smtp(stack) as client:
        client.docmd(f"MAIL FROM:{sender if sender == '<>' else f'<{sender}>'}")
        code, words = client.docmd(f"RCPT TO:<{recipient}>")
    assert 500 <= code < 600, words


def test_a_real_return_address_takes_returned_mail_alone(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR)
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: arrivals(outside, mark))
    with smtp(stack) as client:
        client.mail("spammer@x.example")
        code, words = client.rcpt(arrivals(outside, mark)[FAR])
    assert (code, b"returned mail only" in words) == (550, True)


def test_what_is_handed_in_and_what_stays_is_never_rewritten(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR)
    with signed_in(stack, "submissions") as client:
        client.sendmail(RESI, [RESI, "gast@far.example"], message(mark := uuid.uuid4().hex))
    wait_for(lambda: len(arrivals(outside, mark)) == 2)
    assert arrivals(outside, mark) == {"gast@far.example": RESI, FAR: RESI}
    assert f"Return-Path: <{RESI}>".encode() in fetch(stack, RESI, mark)


@pytest.mark.parametrize("keep", [True, False])
def test_a_circle_of_forwards_ends_and_loses_nothing(stack: Settings, keep: bool) -> None:
    forward(stack, RESI, XAVER, keep=keep)
    forward(stack, XAVER, RESI, keep=keep)
    log = from_now_on(stack.state / "log" / "imap.log")
    mark = send(stack, STRANGER, RESI)
    wait_for(lambda: len(re.findall(r"redirect action: forwarded|marked message to be discarded", log())) >= 2)
    wait_for(lambda: all_moved(stack))
    assert fetch(stack, RESI, mark), "once"
    assert has(stack, XAVER, mark) is keep


def test_spam_is_not_sent_on(stack: Settings, outside: Outside) -> None:
    forward(stack, RESI, FAR)
    alias(stack, f"hallo@{DOMAIN}", FAR)
    mail = b"X-Simulated-Spam: 8\r\n" + message(mark := uuid.uuid4().hex)

    def accepted() -> bool:  # put off once, as what is suspicious is
        with smtp(stack) as client:
            try:
                client.sendmail(STRANGER, [RESI, f"hallo@{DOMAIN}"], mail)
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code != 451
            return True

    log = from_now_on(stack.state / "log" / "mx.mail.log")
    wait_for(accepted)
    assert b"X-Spam: Yes" in fetch(stack, RESI, mark, folder="Junk")
    wait_for(lambda: "spam is not sent on" in log())
    wait_for(lambda: all_moved(stack))
    assert outside.received == []


def test_an_alias_reaches_people_here_and_outside(stack: Settings, outside: Outside) -> None:
    alias(stack, f"team@{DOMAIN}", RESI, XAVER, FAR)
    mark = send(stack, STRANGER, f"team+fair@{DOMAIN}")
    assert b"Return-Path: <franz@elsewhere.example>" in fetch(stack, RESI, mark)
    assert fetch(stack, XAVER, mark)
    wait_for(lambda: arrivals(outside, mark))
    (sender,) = arrivals(outside, mark).values()
    assert set(arrivals(outside, mark)) == {FAR}
    assert sender.startswith("SRS0=")


def test_a_catch_all_takes_what_nobody_has_and_swallows_nobody(stack: Settings) -> None:
    alias(stack, f"@{DOMAIN}", XAVER)
    change(stack, "UPDATE mailbox SET enabled = false WHERE address = %s", f"o'hara@{DOMAIN}")
    assert fetch(stack, XAVER, send(stack, STRANGER, f"anything@{DOMAIN}"))
    for address in (RESI, f"resi+x@{DOMAIN}", f"wirt@{DOMAIN}"):
        assert fetch(stack, RESI, mark := send(stack, STRANGER, address))
        wait_for(lambda: all_moved(stack))
        assert not has(stack, XAVER, mark)
    with smtp(stack) as client:
        client.mail(STRANGER)
        assert client.rcpt(f"o'hara@{DOMAIN}")[0] == 550, "who is disabled is not replaced"


def test_an_alias_domain_knows_the_same_people_and_no_others(stack: Settings) -> None:
    change(
        stack,
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at, alias_of)
           SELECT 1, 'brot.example', 'bounce.brot.example', now(), id FROM domain WHERE name = %s""",
        DOMAIN,
    )
    for local in ("resi", "resi+x", "wirt"):
        assert fetch(stack, RESI, send(stack, STRANGER, f"{local}@brot.example"))
    with smtp(stack) as client:
        client.mail(STRANGER)
        assert client.rcpt("nobody@brot.example")[0] == 550
        assert client.rcpt("acb@brot.example")[0] == 550
        assert client.rcpt("a_b@brot.example")[0] == 250


def test_copies_for_the_record(stack: Settings, outside: Outside) -> None:
    for direction, address, to in (("received", f"@{DOMAIN}", XAVER), ("sent", RESI, "archive@far.example")):
        change(
            stack,
            """INSERT INTO bcc_rule (workspace_id, domain_id, direction, address, copy_to)
               SELECT 1, id, %s, %s, %s FROM domain WHERE name = %s""",
            direction, address, to, DOMAIN,
        )  # fmt: skip
    mark = send(stack, STRANGER, RESI)
    assert fetch(stack, RESI, mark)
    assert fetch(stack, XAVER, mark)
    forged = send(stack, RESI, RESI)
    fetch(stack, RESI, forged)
    with signed_in(stack, "submissions") as client:
        client.sendmail(RESI, ["gast@far.example"], message(mark := uuid.uuid4().hex))
    wait_for(lambda: len(arrivals(outside, mark)) == 2)
    assert set(arrivals(outside, mark)) == {"gast@far.example", "archive@far.example"}
    wait_for(lambda: all_moved(stack))
    assert arrivals(outside, forged) == {}, "what a stranger sends in her name is not hers"


def test_who_may_send_as_whom(stack: Settings) -> None:
    alias(stack, f"team@{DOMAIN}", RESI, XAVER)
    change(
        stack,
        """INSERT INTO send_as (workspace_id, domain_id, mailbox_id, address)
           SELECT 1, m.domain_id, m.id, %s FROM mailbox m WHERE m.address = %s""",
        f"news@{DOMAIN}",
        RESI,
    )
    with signed_in(stack, "submissions") as client:
        for sender, code in (
            (RESI, 250), (RESI.upper(), 250), (f"resi+shop@{DOMAIN}", 250), (f"team@{DOMAIN}", 250),
            (f"news@{DOMAIN}", 250), (XAVER, 553), (f"acb@{DOMAIN}", 553), (f"a_b@{DOMAIN}", 553),
            (f"other@{DOMAIN}", 553), ("x@far.example", 553), (f'"resi@{DOMAIN}"@far.example', 553),
        ):  # fmt: skip
            client.rset()
            client.mail(sender)
            assert client.rcpt("gast@far.example")[0] == code, sender


def test_who_receives_only_reads_but_cannot_send(stack: Settings) -> None:
    change(stack, "UPDATE mailbox SET may_send = false WHERE address = %s", RESI)
    assert fetch(stack, RESI, send(stack, STRANGER, RESI))
    with signed_in(stack, "submissions") as client:
        client.mail(RESI)
        code, words = client.rcpt("gast@far.example")
    assert (code, b"receives only" in words) == (550, True)
    with signed_in(stack, "submissions") as client:
        client.mail("")
        assert client.rcpt("gast@far.example")[0] == 550


def test_a_full_mailbox_puts_senders_off_and_says_so_and_nothing_is_lost(stack: Settings) -> None:
    address = add_mailbox(stack, "full")  # all its folders count, also those that other tests fill
    alias(stack, f"team@{DOMAIN}", address)
    change(stack, "UPDATE mailbox SET quota_bytes = 20000 WHERE address = %s", address)
    mark = send(stack, STRANGER, address, body="x" * 15000)
    fetch(stack, address, mark)

    def used() -> tuple[int, int]:
        with psycopg.connect(conninfo(stack, "system")) as db:
            row = db.execute("SELECT bytes_used, messages_used FROM mailbox WHERE address = %s", [address]).fetchone()
        assert row is not None
        return int(row[0] or 0), int(row[1] or 0)

    wait_for(lambda: all(used()))  # Dovecot reports after the delivery, each figure by itself
    assert used()[0] > 15000
    assert used()[1] == 1
    with smtp(stack) as client:
        client.docmd(f"MAIL FROM:<{STRANGER}> SIZE=10000")
        for full in (address, address.replace("@", "+x@")):
            code, words = client.rcpt(full)
            assert (code, words[:5]) == (452, b"4.2.2"), words
        assert client.rcpt(RESI)[0] == 250
    log = from_now_on(stack.state / "log" / "mx.mail.log")
    late = send(stack, STRANGER, f"team@{DOMAIN}", body="y" * 15000)  # the alias is found out at delivery
    wait_for(lambda: re.search(rf"to=<{re.escape(address)}>.* status=deferred", log()))
    change(stack, "UPDATE mailbox SET quota_bytes = 200000 WHERE address = %s", address)
    assert fetch(stack, address, late)


def test_the_limit_of_a_day_holds_for_two_programs_at_once(stack: Settings, outside: Outside) -> None:
    change(stack, "UPDATE mailbox SET send_limit = 5 WHERE address = %s", RESI)
    with signed_in(stack, "submissions") as one, signed_in(stack, "submission") as two:
        two.sendmail(RESI, [f"a{i}@far.example" for i in range(3)], message("three"))
        with pytest.raises(smtplib.SMTPDataError) as over:
            one.sendmail(RESI, [f"b{i}@far.example" for i in range(3)], message("three more"))
        assert over.value.smtp_code == 452
        assert b"can be sent in 24 h" in over.value.smtp_error
        one.sendmail(RESI, ["c1@far.example", "c2@far.example"], message("two"))
        with pytest.raises(smtplib.SMTPDataError, match="fewer"):
            two.sendmail(RESI, [f"d{i}@far.example" for i in range(6)], message("too many at once"))
    wait_for(lambda: len(outside.received) == 2)
    with psycopg.connect(conninfo(stack, "system")) as db:
        alerts = db.execute("SELECT key FROM alert WHERE key LIKE 'send-limit%'").fetchall()
    assert alerts == [(f"send-limit {RESI}",)]
