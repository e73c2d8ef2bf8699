"""The simulated providers' SMTP server: what it takes, what it refuses and what it keeps."""

import smtplib
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from thurn.mail.tokens import VerpTokens
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.behaviour import behaviour
from thurn.simulate.store import campaign_of

Start = Callable[[Settings], "subprocess.Popen[bytes]"]
MAIL = b"From: us@brotzeit.example\r\nTo: <{}>\r\nMessage-ID: <1@brotzeit.example>\r\nSubject: Hi\r\n\r\nHello\r\n"


@pytest.fixture
def smtp(internet: Settings) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", internet.port["sim_smtp"], local_hostname="out.example") as connection:
        connection.ehlo()
        yield connection


def refused(smtp: smtplib.SMTP, recipient: str) -> str:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as error:
        smtp.sendmail("b@bounce.example", recipient, MAIL)
    ((code, reply),) = error.value.recipients.values()
    return f"{code} {reply.decode()}"


def test_it_offers_what_a_sender_wants(smtp: smtplib.SMTP) -> None:
    assert {"pipelining", "8bitmime", "size", "enhancedstatuscodes"} <= set(smtp.esmtp_features)


def test_a_plain_recipient_holds_exactly_what_was_sent(smtp: smtplib.SMTP, internet: Settings) -> None:
    mail = MAIL.replace(b"Hello\r\n", b"..two dots\r\n.\r\n\xc3\xa4\r\n.end\r\n")
    smtp.sendmail("b@bounce.example", "Plain.Ada@Gmail.Example", mail)
    (held,) = client.messages(internet, "plain.ada@gmail.example")
    assert held.data == mail
    assert (held.sender, held.message_id) == ("b@bounce.example", "<1@brotzeit.example>")


@pytest.mark.parametrize(
    "domain", ["gmail.example", "yahoo.example", "icloud.example", "gmx.example", "unheard-of.test"]
)
def test_an_unknown_user_is_refused(smtp: smtplib.SMTP, internet: Settings, domain: str) -> None:
    reply = refused(smtp, f"unknown.ada@{domain}")
    assert reply.startswith("55")
    assert client.status(internet)["refusals"] == {"unknown": 1}
    assert client.messages(internet, f"unknown.ada@{domain}") == []


def test_each_provider_has_its_own_words(smtp: smtplib.SMTP) -> None:
    domains = ("gmail.example", "outlook.example", "yahoo.example", "icloud.example", "gmx.example", "freemail.example")
    replies = {refused(smtp, f"unknown.ada@{domain}")[:40] for domain in domains}
    assert len(replies) == len(domains)


def test_a_full_mailbox_says_so(smtp: smtplib.SMTP) -> None:
    assert refused(smtp, "full.ada@gmx.example").startswith("552 ")


def test_a_policy_refusal_names_the_recipient_or_follows_the_content(smtp: smtplib.SMTP, internet: Settings) -> None:
    assert refused(smtp, "policy.ada@freemail.example").startswith("550 5.7.1")
    with pytest.raises(smtplib.SMTPDataError) as error:
        smtp.sendmail("b@bounce.example", "policy.ada@gmail.example", MAIL)
    assert error.value.smtp_code == 550
    assert client.status(internet) == {"pending": 0, "accepted": 0, "refusals": {"policy": 2}, "actions": {}}


def test_a_greylisted_mail_is_taken_when_it_comes_back_late_enough(smtp: smtplib.SMTP, internet: Settings) -> None:
    addresses = (f"grey.{n}@freemail.example" for n in range(1000))
    ada = next(address for address in addresses if 2.9 < behaviour(address, 1).greylisted_for < 3)  # seconds
    assert refused(smtp, ada).startswith("451 4.7.1")
    assert refused(smtp, ada).startswith("451 4.7.1")
    assert client.messages(internet, ada) == []
    end = time.monotonic() + 60
    while not client.messages(internet, ada) and time.monotonic() < end:
        time.sleep(0.5)
        smtp.sendmail("b@bounce.example", [ada, "plain.x@gmx.example"], MAIL)
    assert len(client.messages(internet, ada)) == 1
    truth = client.truth(internet, dkim=False)
    assert (truth.deferred, truth.deferred_then_delivered, truth.refused) == (1, 1, {})


def test_a_judged_recipient_shares_its_mail_with_nobody(smtp: smtplib.SMTP) -> None:
    smtp.mail("b@bounce.example")
    assert smtp.rcpt("policy.ada@gmail.example")[0] == 250
    assert smtp.rcpt("plain.bob@gmail.example")[0] == 452
    smtp.rset()
    smtp.mail("b@bounce.example")
    assert smtp.rcpt("plain.bob@gmail.example")[0] == 250
    assert smtp.rcpt("policy.ada@gmail.example")[0] == 550


def talk(settings: Settings, text: bytes) -> bytes:
    """Everything the server says to bytes sent at once."""
    with socket.create_connection(("127.0.0.1", settings.port["sim_smtp"]), timeout=60) as connection:
        connection.sendall(text)
        said = b""
        while chunk := connection.recv(65536):
            said += chunk
        return said


def test_commands_may_come_all_at_once(internet: Settings) -> None:
    mail = b"MAIL FROM:<a@b.example> SIZE=10\r\nRCPT TO:<plain.x@gmx.example>\r\nDATA\r\n"
    said = talk(internet, b"EHLO x\r\n" + (mail + b"Subject: x\r\n\r\nx\r\n.\r\n") * 3 + b"QUIT\r\n")
    assert said.count(b"queued as") == 3
    assert said.endswith(b"221 2.0.0 Bye\r\n")
    assert len(client.messages(internet, "plain.x@gmx.example")) == 3


def test_a_bare_line_feed_ends_no_mail(internet: Settings) -> None:
    start = b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<plain.x@gmx.example>\r\nDATA\r\n"
    smuggled = b"x\n.\nMAIL FROM:<evil@b.example>\r\n\r.\r\n.\n"
    talk(internet, start + smuggled + b"\r\n.\r\nQUIT\r\n")
    (held,) = client.messages(internet, "plain.x@gmx.example")
    assert held.data == smuggled + b"\r\n"


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        (b"RCPT TO:<a@b.example>\r\n", b"503"),
        (b"DATA\r\n", b"503"),
        (b"MAIL FROM:<>\r\nDATA\r\n", b"554"),
        (b"MAIL FROM:<>\r\nMAIL FROM:<>\r\n", b"503"),
        (b"MAIL FROM: nonsense\r\n", b"501"),
        (b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n", b"501"),
        (b"MAIL FROM:<> SIZE=99999999999\r\n", b"552"),
        (b"EXPN all\r\n", b"502"),
        (b"\xff\x00\r\n", b"502"),
        (b"\r\n", b"502"),
        (b"NOOP " + b"x" * 5000 + b"\r\n", b"500"),
        (b"x" * 100_000, b"500"),
    ],
)
def test_nonsense_is_answered_with_the_right_code(internet: Settings, commands: bytes, answer: bytes) -> None:
    end = b"" if answer == b"500" else b"QUIT\r\n"
    lines = [line for line in talk(internet, commands + end).split(b"\r\n") if not line.startswith((b"220", b"221"))]
    assert lines[-2][:3] == answer


def test_a_client_that_goes_on_talking_reads_why_it_is_not_heard(internet: Settings) -> None:
    with socket.create_connection(("127.0.0.1", internet.port["sim_smtp"]), timeout=60) as connection:
        connection.sendall(b"x" * 5000)
        said = b""
        while b"500 " not in said:
            said += connection.recv(65536)
        connection.sendall(b"x" * 10_000_000)
        assert connection.recv(65536) == b""


def test_a_mail_too_large_is_refused_without_being_held(internet: Settings) -> None:
    start = b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<plain.x@gmx.example>\r\nDATA\r\n"
    said = talk(internet, start + (b"x" * 998 + b"\r\n") * 32_000 + b".\r\nQUIT\r\n")
    assert b"552 5.3.4" in said
    assert client.messages(internet, "plain.x@gmx.example") == []


def test_a_mail_cut_off_is_not_accepted(internet: Settings) -> None:
    with socket.create_connection(("127.0.0.1", internet.port["sim_smtp"]), timeout=60) as connection:
        connection.sendall(
            b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<plain.x@gmx.example>\r\nDATA\r\nSubject: x\r\n"
        )
        time.sleep(0.2)
    assert client.messages(internet, "plain.x@gmx.example") == []


def test_the_campaign_stands_in_the_envelope_sender() -> None:
    local = VerpTokens(b"k" * 32).local_part("e1", "google", 4711, 123456)
    assert campaign_of(f"{local}@bounce.brotzeit.example") == "4711"
    for other in (
        "",
        "ada@brotzeit.example",
        "b.e1.google.!!!@x",
        "b.e1.google.@x",
        "b.e1.google.77@x",
        f"{local[:-1]}@x"[:9],
    ):
        assert campaign_of(other) == ""


def test_killed_at_any_moment_it_has_kept_whatever_it_accepted(mortal: Settings, start_internet: Start) -> None:
    process = start_internet(mortal)
    accepted: list[str] = []

    def send(worker: int) -> None:
        with smtplib.SMTP("127.0.0.1", mortal.port["sim_smtp"], local_hostname="out.example") as connection:
            for n in range(100_000):
                recipient = f"plain.{worker}-{n}@gmx.example"
                connection.sendmail("b@bounce.example", recipient, MAIL)
                accepted.append(recipient)

    def until_cut_off(worker: int) -> None:
        try:
            send(worker)
        except (smtplib.SMTPException, OSError):
            pass

    workers = [Thread(target=until_cut_off, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    try:
        while len(accepted) <= 100 or time.monotonic() - began < 1:
            assert time.monotonic() - began < 60, f"{len(accepted)} mails in a minute"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    for worker in workers:
        worker.join()
    store = sqlite3.connect(Path(mortal.state) / "sim" / "mail.sqlite3")
    held = {row[0] for row in store.execute("SELECT recipient FROM message")}
    store.close()
    assert set(accepted) <= held
    assert len(held) <= len(accepted) + len(workers)


def test_after_a_kill_it_goes_on_with_what_it_had_planned(
    mortal: Settings, start_internet: Start, surroundings: Any
) -> None:
    addresses = (f"mpp.{n}@icloud.example" for n in range(1000))
    ada = next(address for address in addresses if behaviour(address, 1).steps[0].after > 3.8)  # seconds
    mail = b"Content-Type: text/html\r\n\r\n<img src='%b/o/1'>\r\n" % surroundings.site.url.encode()
    process = start_internet(mortal)
    with smtplib.SMTP("127.0.0.1", mortal.port["sim_smtp"], local_hostname="out.example") as connection:
        connection.sendmail("b@bounce.example", ada, mail)
    process.kill()
    process.wait()
    assert surroundings.site.hits == []
    process = start_internet(mortal)
    try:
        assert client.wait_until_quiet(mortal, 60)
        assert [hit.path for hit in surroundings.site.hits] == ["/o/1"]
    finally:
        process.terminate()
        process.wait()
