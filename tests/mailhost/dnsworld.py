"""Name servers on loopback that hold what a test puts up."""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import dnslib
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

import thurn.settings
from thurn.dns.authority import text_of
from thurn.dns.records import Record
from thurn.dns.records import data as in_zone


class Zone(BaseResolver):  # type: ignore[misc] # dnslib is untyped
    """Answers from `held`; a name in `failing` gets that response code; NXDOMAIN for what is nowhere."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], list[object]] = {}
        self.failing: dict[str, int] = {}
        self.authoritative = True
        self.asked = 0

    def publish(self, record: Record, *values: str) -> None:
        """Put up `values`, by default what the record should hold."""
        data: list[object] = []
        for value in values or record.values:
            if record.type == "TXT":
                data.append(dnslib.TXT([value[i : i + 255] for i in range(0, len(value), 255)]))
            else:
                line = f"{record.name}. 60 IN {record.type} {in_zone(record.type, value)}"
                data.append(dnslib.RR.fromZone(line, origin=".")[0].rdata)
        self.held[record.name, record.type] = data

    def resolve(self, request: dnslib.DNSRecord, handler: DNSHandler) -> dnslib.DNSRecord:
        reply = request.reply()
        self.asked += 1
        name, kind = str(request.q.qname).rstrip(".").lower(), dnslib.QTYPE[request.q.qtype]
        reply.header.aa = int(self.authoritative)
        if name in self.failing:
            reply.header.rcode = self.failing[name]
        elif (name, kind) in self.held:
            for data in self.held[name, kind]:
                reply.add_answer(dnslib.RR(request.q.qname, request.q.qtype, rdata=data, ttl=60))
        elif (name, "CNAME") in self.held:
            for data in self.held[name, "CNAME"]:
                reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.CNAME, rdata=data, ttl=60))
        elif not any(held == name or held.endswith(f".{name}") for held, _ in self.held):
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply


@contextmanager
def serving(held: Zone, address: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[Zone, int]]:
    """The zone by UDP and TCP on one port."""
    quiet = DNSLogger("-request,-reply,-truncated,-error")
    while True:
        tcp = DNSServer(held, address=address, port=port, tcp=True, logger=quiet)
        try:
            udp = DNSServer(held, address=address, port=tcp.server.server_address[1], logger=quiet)
            break
        except OSError:
            tcp.server.server_close()
            if port:  # a certain one
                raise
    port = tcp.server.server_address[1]
    for server in (tcp, udp):
        server.server.daemon_threads = True
        server.thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True)
        server.thread.start()
    try:
        yield held, port
    finally:
        for server in (tcp, udp):
            server.server.shutdown()
            server.server.server_close()


@dataclass
class Knot:
    """A real primary name server."""

    port: int
    secret: str

    def holds(self, name: str, kind: str) -> set[str]:
        reply = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", port=self.port, timeout=60)
        return {text_of(rdata) for rrset in reply.answer for rdata in rrset}


def _free() -> int:
    """A port that is still free when the server comes to listen: of a block that nobody else in this run has."""
    start = thurn.settings.port_of(thurn.settings.first_block())
    for port in range(start, start + 32):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


@contextmanager
def knot_serving() -> Iterator[Knot]:
    """Knot with the zone brotzeit.example, in which others have records already."""
    folder = Path(tempfile.mkdtemp(prefix="knot-", dir="/tmp"))
    secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="
    port = _free()
    (folder / "zone").write_text(
        "$ORIGIN brotzeit.example.\n@ 60 SOA ns1 hostmaster 1 60 60 600 60\n@ 60 NS ns1\nns1 60 A 127.0.0.1\n"
        '@ 60 TXT "site-verification=1"\n@ 60 TXT "v=spf1 include:" "news.example -all"\n@ 60 MX 1 old.example.\n'
        "autoconfig 60 CNAME elsewhere.example.\n"
    )
    (folder / "knot.conf").write_text(
        f"server:\n  listen: 127.0.0.1@{port}\n  rundir: {folder}\ndatabase:\n  storage: {folder}\n"
        f"key:\n  - id: thurn-key\n    algorithm: hmac-sha256\n    secret: {secret}\n"
        "acl:\n  - id: all\n    key: thurn-key\n    action: [update, transfer]\n"
        f"zone:\n  - domain: brotzeit.example\n    storage: {folder}\n    file: zone\n    acl: all\n"
        "    zonefile-load: difference\n"
    )
    process = subprocess.Popen(
        ["knotd", "-c", folder / "knot.conf"], stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT
    )
    server = Knot(port, secret)
    end = time.monotonic() + 60
    while True:
        try:
            assert server.holds("brotzeit.example", "NS")
            break
        except (OSError, EOFError, AssertionError):
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
    yield server
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder)
