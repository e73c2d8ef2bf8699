"""Real Caddy with the file we render, before an authority whose certificates live for seconds: renewed while in use."""

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from acme import free_ports, pebble
from cryptography import x509
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from stackworld import wait_for

from thurn.settings import SERVICES
from thurn.stack import caddy

LIFETIME = 16  # seconds; Caddy renews when a third is left
HOST, STRANGER = "links.brotzeit.example", "links.stranger.example"


class Here(BaseResolver):
    """A DNS in which every name leads here."""

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply: DNSRecord = request.reply()
        if request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("127.0.0.1"), ttl=1))
        return reply


class Guard(http.server.BaseHTTPRequestHandler):
    """Knows one host, and answers as the web, too."""

    def do_GET(self) -> None:  # the name http.server asks for
        known = "known-host" not in self.path or f"domain={HOST}" in self.path
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
        pass


def nothing(line: str) -> None:
    """dnslib would print every question."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Edge:
    """Where Caddy speaks TLS, and whom to trust."""

    port: int
    context: ssl.SSLContext

    def shown(self, host: str) -> x509.Certificate:
        """The certificate for a host, which must hold now."""
        link = socket.create_connection(("127.0.0.1", self.port), 60)
        with link, self.context.wrap_socket(link, server_hostname=host) as secure:
            der = secure.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Caddy, a guard, and pebble."""
    state = Path(tempfile.mkdtemp(prefix="trn-", dir="/tmp"))
    (state / "edge" / "run").mkdir(parents=True)
    plain, https, dns = free_ports(3)
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    threading.Thread(target=behind.serve_forever, args=(0.02,), daemon=True).start()
    names = DNSServer(Here(), port=dns, address="127.0.0.1", logger=DNSLogger(logf=nothing))
    names.start_thread()
    mine = behind.server_address[1]
    ports = dict.fromkeys(SERVICES, 1) | {"http": plain, "https": https, "guard": mine, "web": mine}
    try:
        with pebble(state, http=plain, https=https, dns=dns, lifetime=LIFETIME) as authority:
            (state / caddy.ACME_ROOT).write_text(authority.api_root.read_text())
            (state / "root.pem").write_text(authority.root())
            tls = caddy.Tls("thurn.example", "laptop", authority.directory, own_root=True)
            text = caddy.render(
                state, ports, listen="127.0.0.1", secret="S", guard_secret="G", tls=tls, webmail_host="w.example"
            )[0].text
            (state / "Caddyfile").write_text(text)
            with (state / "log").open("wb") as log:
                process = subprocess.Popen(
                    ["caddy", "run", "--config", str(state / "Caddyfile"), "--adapter", "caddyfile"],
                    stdout=log, stderr=log,
                    env=os.environ | {"HOME": str(state), "XDG_DATA_HOME": str(state), "XDG_CONFIG_HOME": str(state)},
                )  # fmt: skip
            context = ssl.create_default_context(cafile=str(state / "root.pem"))
            try:
                wait_for(lambda: listens(https))
                yield Edge(https, context)
            finally:
                process.terminate()
                process.wait(60)
    finally:
        names.stop()
        names.server.server_close()
        behind.shutdown()
        behind.server_close()
        shutil.rmtree(state)


def test_a_certificate_that_lives_for_seconds_is_renewed_while_people_come_and_go(edge: Edge) -> None:
    def holds() -> x509.Certificate | None:
        try:
            return edge.shown(HOST)
        except (ssl.SSLError, OSError):
            return None

    wait_for(holds)
    first = edge.shown(HOST)
    assert (first.not_valid_after_utc - first.not_valid_before_utc).total_seconds() <= LIFETIME + 1
    seen = {first.serial_number}

    def renewed() -> bool:
        seen.add(edge.shown(HOST).serial_number)  # and each time it must hold
        return len(seen) >= 3

    wait_for(renewed, 8 * LIFETIME)
    with pytest.raises((ssl.SSLError, OSError)):
        edge.shown(STRANGER)
