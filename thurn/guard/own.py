"""This server's addresses and the proxies in front of it: on the list of those never banned, because of settings."""

import asyncio
import re
from ipaddress import IPv6Address, ip_network
from pathlib import Path

import psycopg
import structlog

from thurn.db.connect import Connection, connect
from thurn.settings import Settings

log = structlog.get_logger()

_EVERY = 600.0  # seconds: addresses come and go
_FOUR = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s*/32 host LOCAL")


def own_addresses(proc: Path = Path("/proc/net")) -> set[str]:
    """Addresses of this machine as the kernel tells them, without loopback."""
    four, six = proc / "fib_trie", proc / "if_inet6"
    found = set(_FOUR.findall(four.read_text())) if four.exists() else set()
    lines = six.read_text().splitlines() if six.exists() else []
    found |= {str(IPv6Address(int(line.split()[0], 16))) for line in lines if line.strip()}
    return {address for address in found if not address.startswith("127.") and address != "::1"}


def never_banned(settings: Settings, own: set[str]) -> dict[str, str]:
    """Network -> why it is never banned."""
    listed = dict.fromkeys(sorted(own), "This server")
    listed |= dict.fromkeys(settings.trusted_proxies, "A proxy in front of this server")
    found = {}
    for text, note in listed.items():
        try:
            found[str(ip_network(text, strict=False))] = note
        except ValueError:
            log.warning("not a network", setting="trusted_proxies", value=text)
    return found


async def enlist(db: Connection, wanted: dict[str, str]) -> None:
    """Make the list say so; what was put on it by hand stays as it is."""
    networks = list(wanted)
    await db.execute(
        "DELETE FROM guard_allow WHERE origin = 'settings' AND NOT (network = ANY(%s::cidr[]))", [networks]
    )
    await db.execute(
        """INSERT INTO guard_allow (network, note, origin)
           SELECT network::cidr, note, 'settings' FROM unnest(%s::text[], %s::text[]) AS t (network, note)
           ON CONFLICT (network) DO NOTHING""",
        [networks, list(wanted.values())],
    )


async def keep_listed(settings: Settings) -> None:
    """Do so now and again and again; soon when the database is away."""
    while True:
        wait = _EVERY
        try:
            async with await connect(settings, "system", autocommit=True) as db:
                await enlist(db, never_banned(settings, own_addresses()))
        except psycopg.Error as error:
            log.warning("cannot list own addresses", error=str(error))
            wait = 5.0
        await asyncio.sleep(wait)
