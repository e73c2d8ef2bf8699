"""Name servers on loopback that hold what a test puts up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dnslib
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from thurn.mailhost.records import Record
from thurn.mailhost.records import data as in_zone


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
    tcp = DNSServer(held, address=address, port=port, tcp=True, logger=quiet)
    port = tcp.server.server_address[1]
    udp = DNSServer(held, address=address, port=port, logger=quiet)
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
