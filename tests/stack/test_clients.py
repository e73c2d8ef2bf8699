"""Clients that are not ours: swaks and curl, as two people."""

import imaplib
import subprocess
import uuid
from pathlib import Path

import psycopg
import pytest
from stackworld import PASSWORD, RESI, XAVER, imap, message, wait_for

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.open_sessions import Doorman

pytestmark = pytest.mark.stack


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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


def test_the_open_sessions_of_a_disabled_mailbox_end_and_nobody_elses(stack: Settings) -> None:
    address = "leaves@brotzeit.example"
    with psycopg.connect(conninfo(stack, "system")) as db:
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               SELECT workspace_id, domain_id, %s, password_hash FROM mailbox WHERE address = %s""",
            [address, RESI],
        )
    with imap(stack, address) as phone, imap(stack, RESI) as other:
        phone.select("INBOX")
        doorman = Doorman(stack)
        assert doorman.look() == []
        with psycopg.connect(conninfo(stack, "system")) as db:
            db.execute("UPDATE mailbox SET enabled = false WHERE address = %s", [address])
        assert Doorman(stack).look() == [address]
        assert doorman.look() == [], "it looks now and then, not always"
        with pytest.raises(imaplib.IMAP4.abort):
            phone.noop()
        phone.state = "LOGOUT"  # there is nobody to say goodbye to
        assert other.noop()[0] == "OK"
        with pytest.raises(imaplib.IMAP4.error):
            imap(stack, address).__enter__()
