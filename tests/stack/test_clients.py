"""Clients that are not ours: swaks and curl, as two people."""

import base64
import contextlib
import imaplib
import poplib
import smtplib
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from argon2 import PasswordHasher
from stackworld import PASSWORD, RESI, XAVER, imap, message, read_until_ok, trusting, wait_for

from thurn.db.connect import conninfo
from thurn.mailhost.app_passwords import digest
from thurn.settings import Settings
from thurn.stack import open_sessions
from thurn.stack.open_sessions import Doorman

pytestmark = pytest.mark.stack


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def swaks(settings: Settings, service: str, mark: str, password: str = PASSWORD, *more: str) -> int:
    tls = {"submission": "--tls", "submissions": "--tls-on-connect"}[service]
    done = run(
        *("swaks", "--server", "localhost", "--port", str(settings.port[service]), tls, "--tls-verify"),
        *("--tls-ca-path", str(_certificate(settings)), "--auth", "PLAIN", "--auth-user", RESI),
        *("--auth-password", password, "--from", RESI, "--to", XAVER, "--header", f"Subject: {mark}"),
        *("--body", "Servus", *more),
    )
    return done.returncode


def curl(settings: Settings, url: str, *more: str, password: str = PASSWORD, login: str = XAVER) -> tuple[int, str]:
    done = run(
        *("curl", "--silent", "--show-error", "--cacert", str(_certificate(settings)), "--ssl-reqd"),
        *("--user", f"{login}:{password}", *more, url),
    )
    return done.returncode, done.stdout


def _certificate(settings: Settings) -> Path:
    return settings.state / "tls" / "cert.pem"


@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_swaks_sends_and_curl_reads_over_imap_and_pop3(stack: Settings, service: str) -> None:
    mark = uuid.uuid4().hex
    assert swaks(stack, service, mark) == 0
    inbox = f"imaps://localhost:{stack.port['imaps']}/INBOX"

    def found() -> str:
        return curl(stack, inbox, "--request", f"SEARCH SUBJECT {mark}")[1].strip().removeprefix("* SEARCH").strip()

    wait_for(found)
    assert "Servus" in curl(stack, f"{inbox};MAILINDEX={found()}")[1]
    code, listed = curl(stack, f"pop3s://localhost:{stack.port['pop3s']}/")
    assert code == 0
    newest = listed.split("\n")[-2].split()[0]
    assert mark in curl(stack, f"pop3s://localhost:{stack.port['pop3s']}/{newest}")[1]


def test_curl_sends_over_starttls(stack: Settings, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    (tmp_path / "mail").write_bytes(message(mark).replace(b"franz@elsewhere.example", RESI.encode()))
    url = f"smtp://localhost:{stack.port['submission']}/pc.example"
    how = ("--mail-from", RESI, "--mail-rcpt", XAVER, "--upload-file", str(tmp_path / "mail"))
    assert curl(stack, url, *how, login=RESI)[0] == 0
    assert curl(stack, url, *how, login=RESI, password="wrong")[0] == 67, "curl's code for a refused sign-in"
    as_another = ("--mail-from", "a_b@brotzeit.example", *how[2:])
    assert curl(stack, url, *as_another, login=RESI)[0] == 55, "curl's code for a refused mail"


def test_swaks_is_refused_with_a_wrong_password_and_as_somebody_else(stack: Settings) -> None:
    assert swaks(stack, "submission", "x", "wrong") == 28, "its code for a refused sign-in"
    assert swaks(stack, "submission", "x", PASSWORD, "--from", "a_b@brotzeit.example") == 24, "for refused recipients"


ANTON, BERTA = "zehn-zeichen-app-anton", "zehn-zeichen-app-berta"


@pytest.fixture
def leaver(stack: Settings) -> Iterator[str]:
    """A mailbox of its own, with two app passwords beside its password."""
    address = f"leaves-{uuid.uuid4().hex[:8]}@brotzeit.example"
    with psycopg.connect(conninfo(stack, "system")) as db:
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               SELECT workspace_id, domain_id, %s, password_hash FROM mailbox WHERE address = %s""",
            [address, RESI],
        )
        for secret in (ANTON, BERTA):
            db.execute(
                """INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash)
                   SELECT workspace_id, id, %s, %s FROM mailbox WHERE address = %s""",
                [secret, digest(secret + address), address],
            )
    yield address
    change(stack, "DELETE FROM mailbox WHERE address = %s", address)


def change(settings: Settings, query: LiteralString, *values: object) -> None:
    with psycopg.connect(conninfo(settings, "system")) as db:
        assert db.execute(query, values).rowcount == 1


def phone(settings: Settings, address: str, password: str) -> imaplib.IMAP4:
    """Signed in by IMAP, a folder open."""
    client = imaplib.IMAP4_SSL("localhost", settings.port["imaps"], ssl_context=trusting(settings))
    client.login(address, password)
    client.select("INBOX")
    return client


def pop(settings: Settings, address: str, password: str) -> poplib.POP3_SSL:
    client = poplib.POP3_SSL("localhost", settings.port["pop3s"], context=trusting(settings))
    client.user(address)
    client.pass_(password)
    return client


def sieve(settings: Settings, address: str, password: str) -> socket.socket:
    """Signed in by ManageSieve at webmail's door, which wants no TLS."""
    link = socket.create_connection(("127.0.0.1", settings.port["webmail_sieve"]), timeout=120)
    read_until_ok(link)
    told = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
    link.sendall(f'AUTHENTICATE "PLAIN" "{told}"\r\n'.encode())
    read_until_ok(link)
    return link


@contextlib.contextmanager
def writer(settings: Settings, address: str, password: str, service: str = "submission") -> Iterator[smtplib.SMTP]:
    """Signed in to hand in mail."""
    with smtplib.SMTP("127.0.0.1", settings.port[service], "pc.example", timeout=60) as client:
        if service == "submission":
            client.starttls(context=trusting(settings))
        client.login(address, password)
        yield client


def writes(client: smtplib.SMTP, sender: str, recipient: str) -> bool:
    """Whether a mail is taken; if not, the session is over."""
    assert client.mail(sender)[0] == 250
    code, words = client.rcpt(recipient)
    if code != 250:
        over(client, code, words)
        return False
    return client.data(message("x"))[0] == 250


def arrived(settings: Settings, address: str, mails: int) -> None:
    """Wait until a mailbox that nobody has looked into holds so many."""
    local, _, domain = address.partition("@")
    wait_for(lambda: len(list((settings.state / "mail" / domain).glob(f"{local}.*/Maildir/new/*"))) == mails, 60)


def over(client: smtplib.SMTP, code: int, words: bytes) -> None:
    """The server says why, and hangs up."""
    assert (code, words.startswith(b"4.7.0"), b"please sign in again" in words) == (421, True, True), words
    assert client.sock is not None
    ends(client.sock)
    client.close()


def shown_out(settings: Settings, address: str) -> int:
    """How many sessions of a mailbox end by a look now; returns when they are over, lest they count again."""
    ended = Doorman(settings).look().count(address)
    with psycopg.connect(conninfo(settings, "system"), autocommit=True) as db:
        unwelcome = db.execute(
            """SELECT pid FROM mta.open_session s WHERE address = %s AND served_by = 'dovecot' AND NOT EXISTS
                 (SELECT FROM mta.good_password g WHERE g.address = s.address AND g.opened_by = s.opened_by)""",
            [address],
        ).fetchall()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for (pid,) in unwelcome))
    return ended


def ends(link: socket.socket) -> None:
    """Wait until the other side has hung up; it may say a word of goodbye first."""
    link.settimeout(60)
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while link.recv(4096):
            pass
    link.close()


def test_what_an_app_password_has_opened_ends_with_it_and_nothing_else_does(stack: Settings, leaver: str) -> None:
    lost = phone(stack, leaver, ANTON + leaver)
    lost_pop, lost_sieve = pop(stack, leaver, ANTON + leaver), sieve(stack, leaver, ANTON + leaver)
    kept, own = phone(stack, leaver, BERTA + leaver), phone(stack, leaver, PASSWORD)
    with imap(stack, RESI) as neighbour:
        assert shown_out(stack, leaver) == 0
        change(stack, "DELETE FROM app_password WHERE secret_hash = %s", digest(ANTON + leaver))
        assert shown_out(stack, leaver) == 3
        ends(lost.sock)
        ends(lost_pop.sock)
        ends(lost_sieve)
        assert [client.noop()[0] for client in (kept, own, neighbour)] == ["OK"] * 3
    change(
        stack,
        "UPDATE app_password SET expires_at = now() - interval '1 second' WHERE secret_hash = %s",
        digest(BERTA + leaver),
    )
    assert shown_out(stack, leaver) == 1
    ends(kept.sock)
    assert own.noop()[0] == "OK"
    own.logout()


def test_a_changed_password_ends_what_the_old_one_opened(
    stack: Settings, leaver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_sessions, "EVERY", 600.0)  # the second look comes too early however slow the first one is
    old, app = phone(stack, leaver, PASSWORD), phone(stack, leaver, ANTON + leaver)
    hashed = PasswordHasher().hash(f"new {PASSWORD}")
    change(stack, "UPDATE mailbox SET password_hash = %s WHERE address = %s", hashed, leaver)
    new = phone(stack, leaver, f"new {PASSWORD}")
    doorman = Doorman(stack)
    assert doorman.look().count(leaver) == 1
    assert doorman.look() == [], "it looks now and then, not always"
    ends(old.sock)
    assert [client.noop()[0] for client in (new, app)] == ["OK", "OK"]
    change(stack, "UPDATE mailbox SET totp_secret = 'x', totp_confirmed_at = now() WHERE address = %s", leaver)
    assert shown_out(stack, leaver) == 1, "with a second step, the password alone opens no program any more"
    ends(new.sock)
    assert app.noop()[0] == "OK"
    app.logout()


def test_the_open_sessions_of_a_disabled_mailbox_end_and_nobody_elses(stack: Settings, leaver: str) -> None:
    client = phone(stack, leaver, PASSWORD)
    with imap(stack, RESI) as other:
        assert shown_out(stack, leaver) == 0
        change(stack, "UPDATE mailbox SET enabled = false WHERE address = %s", leaver)
        assert shown_out(stack, leaver) == 1
        ends(client.sock)
        assert other.noop()[0] == "OK"
        with pytest.raises(imaplib.IMAP4.error):
            phone(stack, leaver, PASSWORD)


def test_who_hands_in_mail_is_out_with_the_password_and_nobody_else_is(stack: Settings, leaver: str) -> None:
    with contextlib.ExitStack() as every:
        lost, begun, halfway, kept = (
            every.enter_context(writer(stack, leaver, secret + leaver)) for secret in (ANTON, ANTON, ANTON, BERTA)
        )
        own = every.enter_context(writer(stack, leaver, PASSWORD))
        neighbour = every.enter_context(writer(stack, RESI, PASSWORD))
        assert writes(lost, leaver, leaver)
        for client in (begun, halfway):
            assert client.mail(leaver)[0] == 250
        assert halfway.rcpt(leaver)[0] == 250
        change(stack, "DELETE FROM app_password WHERE secret_hash = %s", digest(ANTON + leaver))
        assert shown_out(stack, leaver) == 0, "a process of Postfix's is not ended: it may serve another by then"
        assert not writes(lost, leaver, leaver)
        over(begun, *begun.rcpt(leaver))
        over(halfway, *halfway.data(message("never taken")))
        assert [writes(client, leaver, leaver) for client in (kept, own)] == [True, True]
        assert writes(neighbour, RESI, leaver)
        change(
            stack,
            "UPDATE app_password SET expires_at = now() - interval '1 second' WHERE secret_hash = %s",
            digest(BERTA + leaver),
        )
        assert not writes(kept, leaver, leaver)
        assert writes(own, leaver, leaver)
        hashed = PasswordHasher().hash(f"new {PASSWORD}")
        change(stack, "UPDATE mailbox SET password_hash = %s WHERE address = %s", hashed, leaver)
        assert not writes(own, leaver, leaver)
        new, held = (every.enter_context(writer(stack, leaver, f"new {PASSWORD}")) for _ in range(2))
        assert writes(new, leaver, leaver), "also in a process whose last session was refused"
        arrived(stack, leaver, 6)
        change(stack, "UPDATE mailbox SET enabled = false WHERE address = %s", leaver)
        assert not writes(new, leaver, leaver)
        change(stack, "UPDATE mailbox SET enabled = true WHERE address = %s", leaver)
        assert writes(held, leaver, leaver), "what was not refused while it was disabled goes on"
        assert writes(neighbour, RESI, leaver)
        arrived(stack, leaver, 8)


def test_webmail_hands_in_nothing_after_its_sign_out(stack: Settings, leaver: str) -> None:
    change(stack, "UPDATE app_password SET scope = 'webmail' WHERE secret_hash = %s", digest(ANTON + leaver))
    with writer(stack, leaver, ANTON + leaver, "webmail_smtp") as client:
        assert writes(client, leaver, leaver)
        change(stack, "DELETE FROM app_password WHERE secret_hash = %s", digest(ANTON + leaver))
        assert not writes(client, leaver, leaver)
    arrived(stack, leaver, 1)


def test_a_wrong_guess_does_not_change_which_password_opened_a_session(stack: Settings, leaver: str) -> None:
    with smtplib.SMTP("127.0.0.1", stack.port["submission"], "pc.example", timeout=60) as client:
        client.starttls(context=trusting(stack))
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(leaver, "wrong")
        client.login(leaver, ANTON + leaver)
        assert writes(client, leaver, leaver)
        change(stack, "DELETE FROM app_password WHERE secret_hash = %s", digest(ANTON + leaver))
        assert not writes(client, leaver, leaver)
    arrived(stack, leaver, 1)


def test_a_process_that_is_no_session_of_dovecots_is_left_alone(stack: Settings, leaver: str) -> None:
    """Numbers of processes are given again, and a row may stay that is of none."""
    client = phone(stack, leaver, PASSWORD)
    stranger = subprocess.Popen(["sleep", "600"])
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db:

        def pids() -> set[int]:
            return {row[0] for row in db.execute("SELECT pid FROM mta.open_session WHERE address = %s", [leaver])}

        (mine,) = pids()
        with psycopg.connect(f"host={stack.state}/db/run user=postgres dbname=thurn", autocommit=True) as admin:
            for number, by in ((stranger.pid, "dovecot"), (999_999_999, "dovecot"), (999_999_998, "postfix")):
                admin.execute(
                    "INSERT INTO mta.open_session (pid, address, opened_by, served_by) VALUES (%s, %s, 'app 1', %s)",
                    [number, leaver, by],
                )
            # As if the session had ended long ago, and a new one had got its number.
            admin.execute(
                "UPDATE mta.open_session SET at = now() - interval '1 day', opened_by = 'app 1' WHERE pid = %s", [mine]
            )
        assert shown_out(stack, leaver) == 0
        assert pids() == set()
    assert stranger.poll() is None
    stranger.terminate()
    stranger.wait()
    assert client.noop()[0] == "OK"
    client.logout()


def test_rows_of_sessions_that_ended_are_swept(stack: Settings, leaver: str) -> None:
    client = phone(stack, leaver, PASSWORD)
    query = "SELECT count(*) FROM mta.open_session WHERE address = %s"
    with psycopg.connect(conninfo(stack, "system"), autocommit=True) as db:
        Doorman(stack).look()
        assert db.execute(query, [leaver]).fetchone() == (1,)
        client.logout()

        def swept() -> bool:
            Doorman(stack).look()
            return db.execute(query, [leaver]).fetchone() == (0,)

        wait_for(swept)
