"""Asking the name servers of a zone themselves, all of them: a resolver may remember what was mended an hour ago.

Bounded: no more than `MOST_SERVERS` for a zone, `AT_ONCE` questions under way, and what takes longer than the caller
has time for is a timeout. Name servers at addresses that are not public are not asked (who adds a domain must not be
able to have us knock on doors inside); the resolver speaks for them, and for all that cannot be reached.
"""

import asyncio
import ipaddress
from collections.abc import Sequence

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from thurn.dns.findings import Answers

MOST_SERVERS = 8
AT_ONCE = 60
Server = tuple[str, str, int]  # what it is called, its address, its port


async def look_up(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> Answers:
    """What the resolver says about `name`; never raises for what DNS does."""
    try:
        answer = await resolver.resolve(f"{name}.", kind, search=False)
    except dns.resolver.NXDOMAIN:
        return Answers("no-name")
    except dns.resolver.NoAnswer:
        return Answers("nothing")
    except dns.exception.Timeout:
        return Answers("timeout")
    except (dns.exception.DNSException, OSError):
        return Answers("failed")
    return Answers("found", tuple(sorted(map(text_of, answer))))


def text_of(data: object) -> str:
    """A record's data as text: TXT strings joined, names without the final dot."""
    if isinstance(data, TXT):
        text = b"".join(data.strings).decode("utf-8", "backslashreplace")
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)  # PostgreSQL holds no NUL
    return str(data).removesuffix(".")


class Authority:
    """One check's way to the name servers; finds each zone's once.

    `direct`: these are the name servers of everything (the simulated DNS, or a resolver on a port of its own).
    `patience`: seconds a name server has, twice.
    """

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver,
        direct: Sequence[Server] = (),
        *,
        port: int = 53,
        public: bool = True,
        patience: float = 2.0,
    ) -> None:
        self.resolver = resolver
        self._direct, self._port, self._public, self._patience = tuple(direct), port, public, patience
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._zones: dict[str, asyncio.Future[tuple[str, tuple[Server, ...]]]] = {}

    async def look_up(self, name: str, kind: str) -> Answers:
        """What the name servers say, each by itself; the resolver's word where none can be asked."""
        _, servers = await self.zone(name)
        if not servers:
            return await look_up(self.resolver, name, kind)
        said = await asyncio.gather(*(self._ask(server, name, kind) for server in servers))
        told = [(server, answer) for server, answer in zip(servers, said, strict=True) if answer is not None]
        clear = [(server, answer) for server, answer in told if answer.status not in ("failed", "timeout")]
        if len(told) < len(servers) or (not clear and not self._direct):  # it leads elsewhere, or nobody was home
            return await look_up(self.resolver, name, kind)
        if not clear:
            return told[0][1]
        first = clear[0][1]
        others = tuple((server[0], answer) for server, answer in clear[1:] if answer != first)
        return Answers(first.status, first.values, others=others) if others else first

    async def servers(self, name: str) -> tuple[str, ...]:
        """What the name servers of the zone around `name` are called; none when the resolver was asked."""
        return tuple(server[0] for server in (await self.zone(name))[1])

    async def zone(self, name: str) -> tuple[str, tuple[Server, ...]]:
        """The zone around `name` and its name servers."""
        if self._direct:
            return "", self._direct
        if (known := self._zones.get(name)) is None:
            known = self._zones[name] = asyncio.ensure_future(self._find(name))
        return await asyncio.shield(known)

    async def _find(self, name: str) -> tuple[str, tuple[Server, ...]]:
        async with self._gate:
            found = await look_up(self.resolver, name, "NS")
        if not found.values:
            parent = name.partition(".")[2]
            return await self.zone(parent) if "." in parent else ("", ())
        hosts = found.values[:MOST_SERVERS]
        return name, tuple(s for s in await asyncio.gather(*map(self._server, hosts)) if s is not None)

    async def _server(self, host: str) -> Server | None:
        for kind in ("A", "AAAA"):
            async with self._gate:
                found = await look_up(self.resolver, host, kind)
            for address in found.values:
                if ipaddress.ip_address(address).is_global or not self._public:
                    return host, address, self._port
        return None

    async def _ask(self, server: Server, name: str, kind: str) -> Answers | None:
        """One server's answer; None when it sends us on (a referral, or an alias into another zone)."""
        qname = dns.name.from_text(name)
        query = dns.message.make_query(qname, kind)
        query.flags &= ~dns.flags.RD
        if self._direct:
            query.flags |= dns.flags.RD
        _, address, port = server
        reply = None
        for _ in range(2):
            try:
                async with self._gate:
                    reply, _ = await dns.asyncquery.udp_with_fallback(query, address, self._patience, port)
                break
            except (dns.exception.Timeout, OSError):
                continue
            except (dns.exception.DNSException, EOFError):
                return Answers("failed")
        if reply is None:
            return Answers("timeout")
        good = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
        if not isinstance(reply, dns.message.QueryMessage) or reply.rcode() not in good:
            return Answers("failed")
        try:
            chain = reply.resolve_chaining()
        except dns.exception.DNSException:
            return Answers("failed")
        if chain.answer is not None:
            return Answers("found", tuple(sorted(map(text_of, chain.answer))))
        if not self._direct and (chain.cnames or not reply.flags & dns.flags.AA):
            return None
        return Answers("no-name" if reply.rcode() == dns.rcode.NXDOMAIN else "nothing")
