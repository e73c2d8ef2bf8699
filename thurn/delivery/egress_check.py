"""Whether a sending address can be used: does this machine have it, and do the others believe its name.

Receivers look the address up (PTR), then the name it gives (A, AAAA): both ways must lead to each other, and the name
should be the one said in HELO.
"""

import asyncio
import errno
import ipaddress
import socket
from dataclasses import dataclass

import dns.resolver
import dns.reversename
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, Row
from thurn.delivery import egress
from thurn.dns.authority import look_up
from thurn.dns.verdicts import Answers
from thurn.mail.dns import make_resolver
from thurn.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one address. `level`: ok, warn (it can be sent from, badly) or bad (it cannot)."""

    level: str
    what: str
    fix: str = ""


def judge(address: str, helo: str, pointer: Answers, forward: Answers) -> Finding:
    """What the names say. `pointer`: PTR of the address; `forward`: addresses of the HELO name."""
    if pointer.status in ("failed", "timeout"):
        return Finding("warn", f"The reverse DNS of {address} could not be looked up.", "Check again later.")
    names = sorted(value.rstrip(".").lower() for value in pointer.values)
    set_it = f"Set the reverse DNS of {address} to {helo}, where you rent the address."
    if not names:
        return Finding("bad", f"{address} has no reverse DNS. Many receivers refuse mail from such an address.", set_it)
    if helo not in names:
        return Finding("bad", f"{address} points to {', '.join(names)}, not to {helo}, its name in HELO.", set_it)
    if address not in forward.values:
        leads = f"leads to {', '.join(forward.values)}" if forward.values else "has no address"
        kind = "AAAA" if ":" in address else "A"
        return Finding(
            "bad",
            f"{address} points to {helo}, but that name {leads}. Receivers look both ways.",
            f"Publish {kind} {address} for {helo}.",
        )
    return Finding("ok", f"{address} and {helo} point to each other.")


def here(address: str) -> Finding:
    """Whether this machine has the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                return Finding("warn", f"Whether this server has {address} could not be told: {error.strerror}.")
            return Finding(
                "bad",
                f"This server does not have the address {address}. Mail waits until it does.",
                "Give it to a network interface, or take this sending address out of use.",
            )
    return Finding("ok", f"This server has the address {address}.")


def there(addresses: list[str], row: Row) -> list[Finding]:
    """Whether another machine has them, as it said itself last."""
    if row["missing"] is None:
        what = f"Nothing was heard of the sending machine {row['node']} yet"
        unknown = f"{what}: whether it has {' and '.join(addresses)} is not known."
        return [Finding("warn", unknown, "Start it: thurn up over there.")]
    return [
        Finding(
            "bad",
            f"The sending machine {row['node']} does not have the address {address}. Mail waits until it does.",
            "Give it to a network interface over there, or take this sending address out of use.",
        )
        if address in row["missing"]
        else Finding("ok", f"The sending machine {row['node']} has the address {address}.")
        for address in addresses
    ]


async def look(row: Row, settings: Settings) -> list[Finding]:
    """Findings about an egress. One without addresses of its own is judged by its name."""
    try:
        resolver = make_resolver(settings.nameservers)
    except dns.resolver.NoResolverConfiguration:
        return [Finding("warn", "No name server is set, so reverse DNS could not be looked up.")]
    helo = row["helo"] or row["hostname"] or settings.hostname.lower()
    four, six = await asyncio.gather(look_up(resolver, helo, "A"), look_up(resolver, helo, "AAAA"))
    forward = Answers(four.status, (*four.values, *six.values))
    bound = [address for address in (row["bind4"], row["bind6"]) if address]
    findings = [here(address) for address in bound] if row["node"] == settings.node else there(bound, row)
    # The system chooses the address, and mostly it is the one of the server's name.
    addresses = bound or [value for value in forward.values if not ipaddress.ip_address(value).is_loopback]
    if not addresses:
        return [Finding("warn", f"{helo} has no public address yet.", f"Publish an A record for {helo}.")]
    names = [dns.reversename.from_address(each).to_text(omit_final_dot=True) for each in addresses]
    pointers = await asyncio.gather(*(look_up(resolver, name, "PTR") for name in names))
    return findings + [judge(each, helo, found, forward) for each, found in zip(addresses, pointers, strict=True)]


async def check(db: Connection, name: str, settings: Settings) -> Row:
    """Look, and keep what was found."""
    row = await egress.get(db, name)
    found = [{"level": f.level, "what": f.what, "fix": f.fix} for f in await look(row, settings)]
    await db.execute("UPDATE egress SET checks = %s, checked_at = now() WHERE name = %s", [Jsonb(found), name])
    return await egress.get(db, name)
