"""Spam that was refused and is held, with the real daemons: of any size, let through, listed daily."""

import base64
import random
import re
import smtplib
from datetime import datetime, timedelta

import pytest
from spamworld import PROPER, forget, hand_in, learnt, own_filter, query, wish
from stackworld import (
    GTUBE,
    RESI,
    STRANGER,
    UNDERSCORE,
    XAVER,
    Outside,
    all_moved,
    fetch,
    message,
    signed_in,
    wait_for,
)

from thurn.db.connect import connect
from thurn.problems import Conflict, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.spam import delivery
from thurn.spam.digest import send_due


@pytest.fixture(autouse=True)
def nothing_kept(stack: Settings) -> None:
    forget(stack)


def test_the_test_mail_of_every_filter_is_refused_and_held_as_any_spam(stack: Settings) -> None:
    """Rspamd itself refuses it before it asks any rule."""
    with pytest.raises(smtplib.SMTPDataError, match="Refused as spam, and held for the recipient, who can let it"):
        hand_in(stack, [RESI, XAVER], body=GTUBE)
    held = query(stack, "SELECT h.*, m.address FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id ORDER BY h.id")
    seen = [(each["address"], each["header_from"]) for each in held]
    assert sorted(seen) == [(RESI, STRANGER), (XAVER, STRANGER)]
    assert GTUBE.encode() in held[0]["message"]
    [verdict] = query(stack, "SELECT * FROM spam_verdict")
    assert (verdict["action"], verdict["mail_from"], verdict["rcpts"]) == ("reject", STRANGER, [RESI, XAVER])
    assert verdict["subject"] == held[0]["subject"]
    assert verdict["subject"].startswith("for ")
    assert verdict["message_id"]
    with pytest.raises(smtplib.SMTPDataError) as refused, signed_in(stack, "submission") as client:
        client.sendmail(RESI, [XAVER], message("mine", GTUBE))
    assert b"held" not in refused.value.smtp_error, "what people here send is nobody's quarantine"


def test_the_test_mail_in_base64_is_held_too(stack: Settings) -> None:
    text = base64.encodebytes(f"Look at this:\r\n{GTUBE}\r\nThat is it.".encode()).decode().replace("\n", "\r\n")
    part = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text
    with pytest.raises(smtplib.SMTPDataError, match="Refused as spam, and held for the recipient, who can let it"):
        hand_in(stack, [RESI], headers="Content-Type: multipart/mixed; boundary=b\r\n", body=f"--b\r\n{part}--b--\r\n")
    [held] = query(stack, "SELECT message FROM held_mail")
    assert text.encode() in held["message"]
    assert GTUBE.encode() not in held["message"]


@pytest.mark.parametrize("size", [6, 36])
def test_a_mail_of_any_size_that_is_refused_as_spam_is_held(stack: Settings, size: int) -> None:
    """36 MB grow to the 50 that mx takes: attachments are sent as Base64."""
    text = base64.encodebytes(random.Random(5).randbytes(size * 1024 * 1024 - 10_000)).decode()
    headers = "Content-Transfer-Encoding: base64\r\nContent-Type: application/octet-stream\r\n"
    with pytest.raises(smtplib.SMTPDataError, match="Refused as spam, and held for the recipient, who can let it"):
        hand_in(stack, [RESI], 30, body=text, headers=headers)
    [held] = query(stack, "SELECT size, length(message) AS length FROM held_mail")
    assert held["size"] == held["length"] > size * 1_300_000


def test_what_is_refused_as_spam_is_held_for_its_recipient(stack: Settings) -> None:
    with pytest.raises(smtplib.SMTPDataError, match="Refused as spam, and held for the recipient, who can let it"):
        hand_in(stack, [RESI], 30, body="Buy this!")
    [held] = query(stack, "SELECT h.*, m.address FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id")
    assert (held["address"], held["mail_from"], held["header_from"]) == (RESI, STRANGER, STRANGER)
    assert b"Buy this!" in held["message"]
    assert "SIMULATED_SPAM" in [symbol["name"] for symbol in held["symbols"]]
    [verdict] = query(stack, "SELECT * FROM spam_verdict")
    assert (verdict["action"], verdict["rcpts"], verdict["ip"]) == ("reject", [RESI], "127.0.0.1")
    assert verdict["queue_id"] == held["queue_id"]


async def test_letting_through_puts_the_original_into_the_inbox_once_and_sends_it_on_to_nobody(
    stack: Settings, outside: Outside
) -> None:
    script = 'require "fileinto"; redirect "far@away.example"; fileinto "Archive";'
    claimed = "X-Spam: Yes\r\nX-Thurn-Released: 1\r\n"
    fetch(stack, XAVER, hand_in(stack, [XAVER]))  # makes the home
    with own_filter(stack, XAVER, script):
        with pytest.raises(smtplib.SMTPDataError):
            hand_in(stack, [XAVER, RESI], 30, body=PROPER, headers=claimed)
        before = learnt(stack)["learns_ham"]
        [row] = query(
            stack,
            """SELECT h.id, h.message, h.mailbox_id FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id
               WHERE m.address = %s""",
            XAVER,
        )
        async with await connect(stack, "system") as db:
            with pytest.raises(NotFound):
                await delivery.release(db, stack, row["id"], row["mailbox_id"] + 1)
            await delivery.release(db, stack, row["id"], row["mailbox_id"])
            await db.commit()
            with pytest.raises(NotFound):
                await delivery.release(db, stack, row["id"], row["mailbox_id"])
        mark = re.search(rb"Subject: for (\w+)", row["message"])
        assert mark is not None
        arrived = fetch(stack, XAVER, mark[1].decode())
        wait_for(lambda: all_moved(stack))
    assert row["message"].rstrip().endswith(arrived.rstrip()[-100:])
    assert Secrets(stack.state).derive("released").hex().encode() not in arrived
    assert outside.received == []
    assert learnt(stack)["learns_ham"] == before + 1
    assert [each["address"] for each in query(
        stack, "SELECT m.address FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id")] == [RESI]  # fmt: skip


async def test_a_full_mailbox_keeps_the_mail_held_and_says_so(stack: Settings) -> None:
    with pytest.raises(smtplib.SMTPDataError):
        hand_in(stack, [UNDERSCORE], 30, body="x" * 5000)
    query(stack, "UPDATE mailbox SET quota_bytes = 1000 WHERE address = %s", UNDERSCORE)
    try:
        [row] = query(stack, "SELECT id FROM held_mail")
        async with await connect(stack, "system") as db:
            with pytest.raises(Conflict, match="is full"):
                await delivery.release(db, stack, row["id"])
            await db.rollback()
        assert query(stack, "SELECT 1 FROM held_mail")
    finally:
        query(stack, "UPDATE mailbox SET quota_bytes = 5368709120 WHERE address = %s", UNDERSCORE)


async def test_the_daily_list_tells_of_what_is_new_once_and_can_be_turned_off(stack: Settings) -> None:
    query(stack, "UPDATE mailbox SET digested_at = NULL")
    wish(stack, RESI, digest=False)
    with pytest.raises(smtplib.SMTPDataError):
        hand_in(stack, [XAVER, RESI], 30)
    [row] = query(stack, "SELECT subject FROM held_mail LIMIT 1")
    noon = datetime.now().astimezone().replace(hour=12)
    early = noon.replace(hour=5)
    async with await connect(stack, "system", autocommit=True) as db:
        assert await send_due(db, stack, early) == 0, "the hour has not come"
        assert await send_due(db, stack, noon) == 1, "Xaver's; Resi has turned it off"
        assert await send_due(db, stack, noon) == 0
        query(stack, "UPDATE held_mail SET at = %s", noon - timedelta(hours=2))
        assert await send_due(db, stack, noon + timedelta(days=1)) == 0, "nothing is new"
    listed = fetch(stack, XAVER, "1 mail is held for you").decode()
    assert row["subject"].split()[-1] in listed
    assert f"{stack.url}/mailbox/held" in listed.replace("=\r\n", "")
    assert "X-Spam-Score" not in listed
