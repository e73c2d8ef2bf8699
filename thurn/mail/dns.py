"""DNS over the resolvers an installation is told to ask."""

import asyncio
from collections.abc import Iterable, Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver


def make_resolver(nameservers: Sequence[tuple[str, int]], *, timeout: float = 5.0) -> dns.asyncresolver.Resolver:
    """A resolver for `(address, port)` pairs, the system's for none; gives up on a question after `timeout` s.

    Without a cache: an operator who has just mended a record wants to see it.
    """
    resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    if nameservers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(host.strip("[]"), port) for host, port in nameservers]
    resolver.timeout, resolver.lifetime = min(2.0, timeout), timeout
    return resolver


async def mx_hosts(resolver: dns.asyncresolver.Resolver, domain: str) -> list[str]:
    """The hosts that take mail for `domain`, best first, empty if there are none or they cannot be told."""
    try:
        answer = await resolver.resolve(domain, "MX")
    except (dns.exception.DNSException, UnicodeError):
        return []
    return [str(r.exchange) for r in sorted(answer, key=lambda r: r.preference)]


async def mx_of_all(
    resolver: dns.asyncresolver.Resolver, domains: Iterable[str], *, at_once: int = 50
) -> dict[str, list[str]]:
    """`mx_hosts` for many domains, some at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(domain: str) -> tuple[str, list[str]]:
        async with gate:
            return domain, await mx_hosts(resolver, domain)

    return dict(await asyncio.gather(*map(one, domains)))
