"""Addresses outside ASCII, of others: mail from them comes in, mail to them goes out (RFC 6531)."""

import smtplib
import uuid

import psycopg
import pytest
from stackworld import DOMAIN, RESI, STRANGER, XAVER, Outside, fetch, message, signed_in, smtp, wait_for

from thurn.db.connect import conninfo
from thurn.settings import Settings

pytestmark = pytest.mark.stack
JOERG = "jörg@bücher.example"


def hand_in(client: smtplib.SMTP, sender: str, recipients: list[str], text: bytes) -> None:
    """With the extension asked for."""
    client.ehlo()
    assert client.has_extn("smtputf8")
    client.command_encoding = "utf-8"
    assert client.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
    for recipient in recipients:
        assert client.rcpt(recipient)[0] == 250
    assert client.data(text)[0] == 250


def test_a_mail_from_such_an_address_is_in_the_inbox(stack: Settings) -> None:
    """Dovecot's LMTP does not offer the extension: Postfix would take the mail and then return it."""
    mark = uuid.uuid4().hex
    with smtp(stack) as client:
        hand_in(client, JOERG, [RESI], message(mark).replace(STRANGER.encode(), JOERG.encode()))
    mail = fetch(stack, RESI, mark)
    assert b"Return-Path: <>" in mail  # so much does Dovecot make of it: nothing here answers such an address
    assert f"From: Franz <{JOERG}>".encode() in mail


def test_a_mail_to_such_an_address_and_to_somebody_here_reaches_both(stack: Settings, outside: Outside) -> None:
    mark = uuid.uuid4().hex
    text = message(mark).replace(STRANGER.encode(), RESI.encode())
    text = text.replace(b"you@brotzeit.example", f"{JOERG}, {XAVER}".encode())
    with signed_in(stack, "submission") as client:
        hand_in(client, RESI, [JOERG, XAVER], text)
    assert f"To: {JOERG}, {XAVER}".encode() in fetch(stack, XAVER, mark)
    wait_for(lambda: any(mark.encode() in mail for *_, mail in outside.received))
    [(sender, recipients, mail)] = [each for each in outside.received if mark.encode() in each[2]]
    assert (sender, recipients) == (RESI, [JOERG])
    assert b"X-Spam:" not in mail


def test_a_mail_from_such_an_address_goes_on_to_who_is_elsewhere(stack: Settings, outside: Outside) -> None:
    mark = uuid.uuid4().hex
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db:
        db.execute("UPDATE mailbox SET forward_to = '{fern@far.example}' WHERE address = %s", [RESI])
        db.execute(
            """INSERT INTO alias (workspace_id, domain_id, address, target)
               SELECT 1, id, %s, 'weit@far.example' FROM domain WHERE name = %s""",
            [f"post@{DOMAIN}", DOMAIN],
        )
        try:
            with smtp(stack) as client:
                text = message(mark).replace(STRANGER.encode(), JOERG.encode())
                hand_in(client, JOERG, [RESI, f"post@{DOMAIN}"], text)
            wait_for(lambda: sum(mark.encode() in mail for *_, mail in outside.received) == 2)
        finally:
            db.execute("UPDATE mailbox SET forward_to = '{}' WHERE address = %s", [RESI])
            db.execute("DELETE FROM alias WHERE address = %s", [f"post@{DOMAIN}"])
    senders = {recipients[0]: sender for sender, recipients, mail in outside.received if mark.encode() in mail}
    assert senders["weit@far.example"].endswith("=bücher.example=jörg@mail.thurn.example")
    assert senders["fern@far.example"] in ("", "<>")  # Dovecot knows no other


def test_octets_that_are_no_text_are_refused_at_once(stack: Settings) -> None:
    with smtp(stack) as stranger, signed_in(stack, "submission") as own:
        for client, command in (
            (stranger, "MAIL FROM:<\xff@elsewhere.example>"),
            (own, f"MAIL FROM:<{RESI}>"),
            (own, "RCPT TO:<\xff@far.example>"),
            (own, "RCPT TO:<gast@far.example>"),
        ):
            client.command_encoding = "latin-1"
            assert client.docmd(command)[0] == (500 if "\xff" in command else 250), command
