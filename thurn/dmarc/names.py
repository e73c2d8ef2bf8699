"""What DNS calls the addresses in reports: a reverse name counts only where it points back (RFC 8601, 2.7.3)."""

import asyncio
from collections.abc import Iterable

import dns.asyncresolver
import dns.exception
import dns.reversename

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.dmarc.senders import organisational

AT_ONCE = 20
_BATCH = 500  # addresses in one run


async def name_of(resolver: dns.asyncresolver.Resolver, ip: str) -> str:
    """The forward-confirmed name of an address; empty if there is none or it cannot be told."""
    try:
        answer = await resolver.resolve(dns.reversename.from_address(ip), "PTR")
        kind = "AAAA" if ":" in ip else "A"
        for pointer in list(answer)[:3]:
            name = str(pointer.target).rstrip(".").lower()
            back = await resolver.resolve(name, kind)
            if ip in {str(record.address) for record in back} and name.isascii() and len(name) <= 253:
                return name
    except (dns.exception.DNSException, UnicodeError, ValueError):
        pass
    return ""


async def names_of(resolver: dns.asyncresolver.Resolver, ips: Iterable[str]) -> dict[str, str]:
    """`name_of` for many, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(ip: str) -> tuple[str, str]:
        async with gate:
            return ip, await name_of(resolver, ip)

    return dict(await asyncio.gather(*map(one, ips)))


async def look_up(db: Connection, resolver: dns.asyncresolver.Resolver) -> int:
    """Name what reports brought and nobody has named: again after a month, after a day where there was no name."""
    wanted = await rows(
        db,
        """SELECT host(source) AS ip FROM (
             SELECT source, sum(n) AS n FROM dmarc_row WHERE day >= now()::date - 31 GROUP BY source) r
           LEFT JOIN source_name s ON s.ip = r.source
           WHERE s.ip IS NULL
              OR s.looked_at < now() - make_interval(days => CASE WHEN name = '' THEN 1 ELSE 30 END)
           ORDER BY n DESC LIMIT %s""",
        [_BATCH],
    )
    found = await names_of(resolver, [row["ip"] for row in wanted])
    async with db.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO source_name (ip, name, org) VALUES (%s, %s, %s)
               ON CONFLICT (ip) DO UPDATE SET name = excluded.name, org = excluded.org, looked_at = now()""",
            [(ip, name, organisational(name) if name else "") for ip, name in found.items()],
        )
    return len(found)
