"""The simulated DNS on the wire: UDP and TCP, on loopback. It answers as a resolver does, for every name there is."""

import asyncio
import re
import struct
from typing import cast

import dnslib
from dnslib import QTYPE, RCODE, RR, DNSError, DNSHeader, DNSQuestion, DNSRecord

from thurn.simulate.zones import Record, Zones

_PLAIN_UDP = 512  # octets, where the client names no larger size (RFC 1035, 4.2.1)
_LARGEST_UDP = 1232
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_IDLE = 10.0  # seconds a TCP client may be silent


def _strings(value: str) -> list[bytes]:
    """A TXT value as strings of at most 255 octets."""
    quoted = _QUOTED.findall(value) if value.startswith('"') else []
    text = re.sub(r"\\(.)", r"\1", "".join(quoted)) if quoted else value
    data = text.encode()
    return [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]


def to_wire(record: Record) -> RR:
    """As dnslib has it; `ValueError` where the value does not fit the type."""
    if record.type == "TXT":
        return RR(record.name, QTYPE.TXT, rdata=dnslib.TXT(_strings(record.value)), ttl=record.ttl)
    try:
        (rr,) = RR.fromZone(f"{record.name}. {record.ttl} IN {record.type} {record.value}", origin=".")
    except Exception as error:  # dnslib raises whatever its parser meets
        raise ValueError(f"{record.value!r} is no value of a {record.type} record") from error
    return rr


def _soa(name: str) -> RR:
    zone = ".".join(name.rstrip(".").split(".")[-2:]) or "."
    soa = dnslib.SOA("ns.simulated.example", "hostmaster.simulated.example", (1, 3600, 600, 86400, 30))
    return RR(zone, QTYPE.SOA, rdata=soa, ttl=30)


def answer(zones: Zones, query: bytes, *, udp: bool) -> bytes | None:
    """The reply to a query, or None where none is to be sent."""
    try:
        request = DNSRecord.parse(query)
        question: DNSQuestion = request.questions[0]
    except (DNSError, IndexError, ValueError, struct.error):
        return None
    if request.header.qr:
        return None
    name, kind = str(question.qname), QTYPE.get(question.qtype)
    reply = DNSRecord(DNSHeader(id=request.header.id, qr=1, aa=0, ra=1, rd=request.header.rd), q=question)
    found = zones.resolve(name, kind if isinstance(kind, str) else "")
    if found.status == "TIMEOUT":
        return None
    for record in found.records:
        reply.add_answer(to_wire(record))
    if found.status == "SERVFAIL":
        reply.header.rcode = RCODE.SERVFAIL
    elif found.status != "NOERROR":
        reply.header.rcode = RCODE.NXDOMAIN if found.status == "NXDOMAIN" else RCODE.NOERROR
        reply.add_auth(_soa(name))
    limit = _PLAIN_UDP
    for extra in request.ar:
        if extra.rtype == QTYPE.OPT:  # EDNS (RFC 6891): its class field is the size the client takes
            limit = max(_PLAIN_UDP, min(_LARGEST_UDP, extra.rclass))
            reply.add_ar(dnslib.EDNS0(udp_len=_LARGEST_UDP))
    packed = bytes(reply.pack())
    if udp and len(packed) > limit:
        short = DNSRecord(reply.header, q=question)
        short.header.tc = 1
        packed = bytes(short.pack())
    return packed


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zones: Zones) -> None:
        self._zones = zones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is none by descent

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(self._zones, data, udp=True)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def _tcp(zones: Zones, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Queries with a length before each (RFC 7766)."""
    try:
        while True:
            async with asyncio.timeout(_IDLE):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = answer(zones, await reader.readexactly(length), udp=False)
            if reply is None:
                break
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


async def serve_dns(zones: Zones, port: int) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
    """Listen on loopback."""
    loop = asyncio.get_running_loop()
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(zones), ("127.0.0.1", port))
    tcp = await asyncio.start_server(lambda reader, writer: _tcp(zones, reader, writer), "127.0.0.1", port)
    return udp, tcp
