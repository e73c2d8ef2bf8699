"""Guessing passwords and collecting addresses, against real Dovecot and Postfix. 127.0.x.y plays the stranger."""

import asyncio
import base64
import hashlib
import imaplib
import os
import poplib
import signal
import smtplib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import stackworld
from stackworld import (
    APOSTROPHE,
    PASSWORD,
    RESI,
    STRANGER,
    XAVER,
    Outside,
    message,
    read_until_ok,
    signed_in,
    smtp,
    trusting,
    wait_for,
)

from thurn.db.connect import connect, conninfo
from thurn.guard import bans, limits
from thurn.settings import Settings
from thurn.stack.control import status
from thurn.stack.supervision import Supervisor

pytestmark = pytest.mark.stack


@pytest.fixture
def guarded(stack: Settings) -> Iterator[Settings]:
    """The stack, with nothing counted before and nobody banned afterwards."""
    tables = ("guard_failure", "guard_known", "guard_ban", "guard_allow")
    for _ in range(2):
        with psycopg.connect(conninfo(stack, "system")) as db:
            for table in tables:
                db.execute(f"DELETE FROM {table}")  # noqa: S608
        if _ == 0:
            yield stack


def imap_from(settings: Settings, source: str, login: str, password: str, said: str = "") -> bool:
    class From(imaplib.IMAP4_SSL):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            link = socket.create_connection((self.host, self.port), 120, source_address=(source, 0))
            return self.ssl_context.wrap_socket(link, server_hostname="localhost")

    client = From("127.0.0.1", settings.port["imaps"], ssl_context=trusting(settings))
    try:
        if said:
            client.send(f"a1 ID ({said})\r\n".encode())
            while not client.readline().startswith(b"a1 "):
                pass
        client.login(login, password)
    except imaplib.IMAP4.error:
        return False
    finally:
        client.shutdown()
    return True


def pop3_from(settings: Settings, source: str, login: str, password: str) -> bool:
    class From(poplib.POP3_SSL):
        def _create_socket(self, timeout: float) -> socket.socket:
            link = socket.create_connection((self.host, self.port), 120, source_address=(source, 0))
            return self.context.wrap_socket(link, server_hostname="localhost")

    client = From("127.0.0.1", settings.port["pop3s"], context=trusting(settings))
    try:
        client.user(login)
        client.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        client.close()
    return True


def smtp_from(settings: Settings, source: str, login: str, password: str) -> bool:
    try:
        with smtplib.SMTP(
            "127.0.0.1", settings.port["submission"], "pc.example", timeout=120, source_address=(source, 0)
        ) as client:
            client.starttls(context=trusting(settings))
            client.login(login, password)
    except smtplib.SMTPException:
        return False
    return True


def sieve_from(settings: Settings, source: str, login: str, password: str) -> bool:
    port = settings.port["managesieve"]
    with socket.create_connection(("127.0.0.1", port), 120, source_address=(source, 0)) as link:
        read_until_ok(link)
        link.sendall(b"STARTTLS\r\n")
        read_until_ok(link)
        with trusting(settings).wrap_socket(link, server_hostname="localhost") as sealed:
            read_until_ok(sealed)
            token = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
            sealed.sendall(f'AUTHENTICATE "PLAIN" "{token}"\r\n'.encode())
            return sealed.recv(4096).startswith(b"OK")


DOORS: dict[str, Callable[..., bool]] = {"imap": imap_from, "pop3": pop3_from, "smtp": smtp_from, "sieve": sieve_from}


def fetch(settings: Settings, query: str, values: Any = None) -> list[Any]:
    with psycopg.connect(conninfo(settings, "system")) as db:
        return db.execute(query, values).fetchall()  # type: ignore[call-overload]


def noted(settings: Settings, ip: str) -> list[Any]:
    """The sign-ins from an address, oldest first."""
    return fetch(
        settings,
        """SELECT login, protocol, succeeded, app_password_id, client FROM mailbox_sign_in
           WHERE ip = %s ORDER BY id""",
        [ip],
    )


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def failures(settings: Settings, count: int, *, client: str = "", login: str = "") -> None:
    """As many different failures just now."""
    with psycopg.connect(conninfo(settings, "system")) as db:
        db.execute(
            """INSERT INTO guard_failure (client, login, mark, door)
               SELECT coalesce(nullif(%s, ''), '203.0.113.' || n)::cidr, coalesce(nullif(%s, ''), n || '@x.example'),
                      n::text, 'imap'
               FROM generate_series(1, %s) n""",
            [client, login, count],
        )


async def lift(settings: Settings, client: str) -> None:
    async with await connect(settings, "system", autocommit=True) as db:
        await bans.lift(db, client)


def test_a_guesser_is_banned_at_every_door_at_once_and_unbanned_at_once(guarded: Settings) -> None:
    bad = "127.0.7.7"
    guesses = (f"guess {number}" for number in range(80))
    banned: list[Any] = []
    with ThreadPoolExecutor(12) as pool:
        while not banned:  # a few more than the limit: two guesses may look the same by the bits we are given
            tries = [pool.submit(door, guarded, bad, RESI, next(guesses)) for door in [*DOORS.values()] * 3]
            assert not any(each.result() for each in tries)
            banned = fetch(guarded, "SELECT client::text, detail FROM guard_ban")
    [(client, detail)] = banned
    assert client == f"{bad}/32"
    assert RESI in detail
    with ThreadPoolExecutor(len(DOORS)) as pool:
        again = [pool.submit(door, guarded, bad, XAVER, PASSWORD) for door in DOORS.values()]
    assert not any(each.result() for each in again), "the right password of somebody else"
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        smtplib.SMTP("127.0.0.1", guarded.port["submission"], timeout=120, source_address=(bad, 0))
    assert refused.value.smtp_code == 554
    assert imap_from(guarded, "127.0.7.8", XAVER, PASSWORD), "somebody beside the guesser"
    assert imap_from(guarded, "127.0.0.1", RESI, PASSWORD)
    asyncio.run(lift(guarded, bad))
    assert all(door(guarded, bad, XAVER, PASSWORD) for door in DOORS.values())


def test_failures_are_told_apart_by_the_password_and_the_door_is_noted(guarded: Settings) -> None:
    login = stackworld.add_mailbox(guarded, "guessed")  # of its own: a report of an earlier test may come late

    def found() -> list[Any]:
        query = "SELECT client::text, times, door FROM guard_failure WHERE login = %s ORDER BY times"
        return fetch(guarded, query, [login])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda password: imap_from(guarded, "127.0.7.9", login, password), ("one", "one", "two")))
    wait_for(lambda: sum(times for _, times, _ in found()) == 3)  # Dovecot reports beside its answer
    assert found() == [("127.0.7.9/32", 1, "imap"), ("127.0.7.9/32", 2, "imap")]


def test_before_a_ban_a_client_is_kept_waiting(guarded: Settings) -> None:
    def seconds(source: str) -> float:
        start = time.monotonic()
        assert imap_from(guarded, source, XAVER, PASSWORD)
        return time.monotonic() - start

    failures(guarded, limits.FREE_BY_CLIENT + 3, client="127.0.7.10")  # eight seconds: a sign-in itself may take some
    with ThreadPoolExecutor(2) as pool:
        guesser, other = pool.map(seconds, ("127.0.7.10", "127.0.7.11"))
    assert guesser >= 6
    assert other < 6


def test_a_mailbox_that_many_guess_stays_open_for_who_signed_in_before(guarded: Settings) -> None:
    assert smtp_from(guarded, "127.0.8.1", RESI, PASSWORD)
    known = "SELECT 1 FROM guard_known WHERE login = %s AND network >>= '127.0.8.1'"
    wait_for(lambda: fetch(guarded, known, [RESI]))  # Dovecot reports after it has answered
    failures(guarded, 40, login=RESI)
    assert not imap_from(guarded, "127.0.9.1", RESI, PASSWORD)
    assert imap_from(guarded, "127.0.8.1", RESI, PASSWORD)
    assert imap_from(guarded, "127.0.9.1", XAVER, PASSWORD)


def test_a_sign_in_is_noted_with_its_program_and_app_password(guarded: Settings) -> None:
    secret = "abcde-fghij-kmnpq-rstuv"
    [(number,)] = fetch(
        guarded,
        """INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash)
           SELECT 1, id, 'Phone', %s FROM mailbox WHERE address = %s RETURNING id""",
        [hashlib.sha256(secret.encode()).digest(), APOSTROPHE],
    )
    assert imap_from(guarded, "127.0.7.12", APOSTROPHE, secret, '"name" "Kontakt" "version" "3.1"')
    wait_for(lambda: noted(guarded, "127.0.7.12"))
    assert smtp_from(guarded, "127.0.7.12", APOSTROPHE, secret)
    wait_for(lambda: len(noted(guarded, "127.0.7.12")) == 2)  # Dovecot reports after it has answered
    assert noted(guarded, "127.0.7.12") == [
        (APOSTROPHE, "imap", True, number, "Kontakt 3.1"),
        (APOSTROPHE, "smtp", True, number, ""),
    ]
    [(used,)] = fetch(guarded, "SELECT last_used_ip FROM app_password WHERE id = %s", [number])
    assert used == "127.0.7.12"


def test_nobody_says_where_they_come_from(guarded: Settings) -> None:
    """Neither to have another banned nor to get around a ban."""
    for door in ("smtp", "submission"):
        with smtplib.SMTP("127.0.0.1", guarded.port[door], timeout=120, source_address=("127.0.7.13", 0)) as client:
            client.ehlo("pc.example")
            if door == "submission":
                client.starttls(context=trusting(guarded))
                client.ehlo("pc.example")
            assert not {"xclient", "xforward"} & set(client.esmtp_features)
            assert client.docmd("XCLIENT", "ADDR=127.0.7.99")[0] >= 500
    said = '"x-originating-ip" "127.0.7.99" "x-forwarded-for" "127.0.7.99" "x-proxy-ttl" "1"'
    login = stackworld.add_mailbox(guarded, "said")  # of its own: a report of an earlier test may come late
    assert not imap_from(guarded, "127.0.7.13", login, "wrong", said)
    counted = "SELECT client::text FROM guard_failure WHERE login = %s"
    wait_for(lambda: fetch(guarded, counted, [login]))
    assert fetch(guarded, counted, [login]) == [("127.0.7.13/32",)]


def test_without_the_guard_people_still_sign_in(guarded: Settings) -> None:
    number = status(guarded)["guard"].process.pid
    assert number is not None
    os.kill(number, signal.SIGSTOP)
    try:
        assert smtp_from(guarded, "127.0.7.14", XAVER, PASSWORD)
    finally:
        os.kill(number, signal.SIGCONT)


def test_while_the_guard_is_away_mail_is_put_off_and_taken_afterwards(guarded: Settings, outside: Outside) -> None:
    """As docs/operate/abuse.md says; the sign-in itself works without it."""
    mark, sent = uuid.uuid4().hex, uuid.uuid4().hex

    def hand_in() -> list[int]:
        codes = []
        with smtp(guarded) as stranger, signed_in(guarded, "submission") as own:
            for client, sender, recipient, text in (
                (stranger, STRANGER, RESI, mark),
                (own, RESI, "gast@far.example", sent),
            ):
                client.mail(sender)
                assert client.rcpt(recipient)[0] == 250
                codes.append(client.data(message(text))[0])
        return codes

    supervisor = Supervisor(guarded.state)
    supervisor.stop("guard")
    try:
        wait_for(lambda: status(guarded)["guard"].process.state == "stopped")
        assert hand_in() == [451, 451]
    finally:
        (guarded.state / "run" / "guard.alive").unlink(missing_ok=True)  # of its last life
        supervisor.start("guard")
        wait_for(lambda: status(guarded)["guard"].ok and answers(guarded.port["guard"]))
    assert hand_in() == [250, 250]
    assert stackworld.fetch(guarded, RESI, mark), "once"
    wait_for(lambda: any(sent.encode() in mail for *_, mail in outside.received))
    assert sum(sent.encode() in mail for *_, mail in outside.received) == 1


def rcpt(settings: Settings, source: str, recipients: list[str]) -> list[int]:
    """What port 25 answers for each."""
    codes = []
    for start in range(0, len(recipients), 9):  # Postfix keeps who makes ten errors in one session waiting
        with smtplib.SMTP(
            "127.0.0.1", settings.port["smtp"], "elsewhere.example", timeout=120, source_address=(source, 0)
        ) as client:
            client.ehlo()
            client.mail(STRANGER)
            codes += [client.rcpt(recipient)[0] for recipient in recipients[start : start + 9]]
    return codes


def test_who_collects_addresses_is_put_off_and_mail_to_many_is_not_collecting(guarded: Settings) -> None:
    honest = [f"resi+{n}@brotzeit.example" for n in range(limits.UNKNOWN_RECIPIENTS + 5)]
    assert set(rcpt(guarded, "127.0.7.15", honest)) == {250}
    tried = [f"guess{n}@brotzeit.example" for n in range(limits.UNKNOWN_RECIPIENTS - 1)]
    assert set(rcpt(guarded, "127.0.7.16", tried)) == {550}
    assert rcpt(guarded, "127.0.7.16", ["one.more@brotzeit.example", RESI]) == [450, 450]
    assert rcpt(guarded, "127.0.7.17", [RESI]) == [250]
    [(cause,)] = fetch(guarded, "SELECT cause FROM guard_ban")
    assert cause == "harvesting"


def test_behind_a_banned_address_may_be_a_mail_server(guarded: Settings) -> None:
    with psycopg.connect(conninfo(guarded, "system")) as db:
        db.execute(
            "INSERT INTO guard_ban (client, cause, until) VALUES ('127.0.7.18', 'sign-ins', now() + interval '1 hour')"
        )
    assert rcpt(guarded, "127.0.7.18", [RESI]) == [250]
