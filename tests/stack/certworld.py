"""What the tests of certificates share: their hosts, and looks at what each door of an installation shows."""

import smtplib
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from acme import Authority
from argon2 import PasswordHasher
from cryptography import x509
from stackworld import PASSWORD, wait_for

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.simulate import client
from thurn.stack.control import up
from thurn.stack.supervision import Supervisor

WEB, MAIL, DOMAIN = "thurn.brotzeit.example", "mail.thurn.example", "brotzeit.example"
WEBMAIL = f"webmail.{MAIL}"
MAIL_OF_DOMAIN, STS, AUTOCONFIG = f"mail.{DOMAIN}", f"mta-sts.{DOMAIN}", f"autoconfig.{DOMAIN}"
STRANGER, UNPROVEN = "autoconfig.stranger.example", "autoconfig.hoped-for.example"
ELSEWHERE = f"autodiscover.{DOMAIN}"  # a host of ours by its name, but DNS leads to another server
RESI = f"resi@{DOMAIN}"


@dataclass(frozen=True)
class Installation:
    settings: Settings
    context: ssl.SSLContext  # trusts the authority and nobody else

    def port(self, service: str) -> int:
        return self.settings.port[service]


def furnish(settings: Settings) -> None:
    with psycopg.connect(conninfo(settings, "system")) as db:
        db.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES
                 (1, 'hoped-for.example', 'bounce.hoped-for.example', NULL),
                 (1, 'brotzeit.example', 'bounce.brotzeit.example', now())"""
        )
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               SELECT 1, id, %s, %s FROM domain WHERE name = %s""",
            [RESI, PasswordHasher().hash(PASSWORD), DOMAIN],
        )
    here = [WEB, MAIL, WEBMAIL, MAIL_OF_DOMAIN, STS, AUTOCONFIG, STRANGER, UNPROVEN]
    records = [{"name": name, "type": "A", "value": "127.0.0.1"} for name in here]
    client.publish(settings, [*records, {"name": ELSEWHERE, "type": "A", "value": "192.0.2.9"}])


def trusting(authority: Authority, folder: Path) -> ssl.SSLContext:
    (folder / "root.pem").write_text(authority.root())
    return ssl.create_default_context(cafile=str(folder / "root.pem"))


def serial(at: Installation, port: int, host: str, starttls: str = "") -> int:
    """The serial of the certificate shown for `host`, which must hold; `starttls`: the protocol spoken first."""
    if starttls == "smtp":
        with smtplib.SMTP("127.0.0.1", port, "pc.example", timeout=120) as plain:
            plain._host = host  # what smtplib names in SNI and checks
            plain.starttls(context=at.context)
            return shown(plain.sock)
    with socket.create_connection(("127.0.0.1", port), 120) as link:
        if starttls == "sieve":
            answer = link.recv(4096)
            while b"OK" not in answer:
                answer += link.recv(4096)
            link.sendall(b"STARTTLS\r\n")
            assert link.recv(4096).startswith(b"OK")
        with at.context.wrap_socket(link, server_hostname=host) as secure:
            return shown(secure)


def shown(link: object) -> int:
    return certificate(link).serial_number


def certificate(link: object) -> x509.Certificate:
    assert isinstance(link, ssl.SSLSocket)
    der = link.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def shows(at: Installation, port: int, host: str, starttls: str = "") -> int | None:
    try:
        return serial(at, port, host, starttls)
    except (ssl.SSLError, OSError):
        return None


MAIL_PORTS = [("imaps", ""), ("pop3s", ""), ("submissions", ""), ("submission", "smtp"), ("smtp", "smtp"),
              ("managesieve", "sieve")]  # fmt: skip


def everywhere(at: Installation, host: str) -> set[int | None]:
    return {shows(at, at.port(service), host, starttls) for service, starttls in MAIL_PORTS}


def files_of(at: Installation, host: str) -> list[Path]:
    return list((at.settings.state / "edge/data/certificates").glob(f"*/{host}/*"))


def get(at: Installation, host: str, path: str) -> str:
    link = socket.create_connection(("127.0.0.1", at.port("https")), 120)
    with link, at.context.wrap_socket(link, server_hostname=host) as secure:
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return secure.makefile("rb").read().decode(errors="replace")


def rows(at: Installation, query: str) -> list[Any]:
    with psycopg.connect(conninfo(at.settings, "system")) as db:
        return db.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def thurn(at: Installation, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("thurn")), *arguments, "--state", str(at.settings.state)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unchecked(at: Installation) -> ssl.SSLContext:
    """For a client that connects to `localhost`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def new(at: Installation, host: str, before: set[int | None]) -> bool:
    now = everywhere(at, host)
    return len(now) == 1 and None not in now and not now & before


def restart_edge(at: Installation) -> None:
    supervisor = Supervisor(at.settings.state)
    supervisor.stop("edge")
    wait_for(lambda: supervisor.processes()["edge"].state == "stopped")
    up(at.settings, ["edge"], wait=True)
