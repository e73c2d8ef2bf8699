"""Looking the records of a domain up in DNS and keeping what was found."""

import asyncio
import ipaddress

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection
from thurn.mail.dns import make_resolver
from thurn.mailhost.records import Facts, Record, facts, records, server_records
from thurn.mailhost.service import get_domain_by_id
from thurn.mailhost.verdicts import Answers, Check, judge
from thurn.settings import Settings

PATIENCE = 5.0  # seconds for one look-up with all its retries


async def look_up(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> Answers:
    """What DNS says about `name`; never raises for what DNS does."""
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
    return Answers("found", tuple(sorted(_text(data) for data in answer)))


def _text(data: object) -> str:
    """A record's data as text: TXT strings joined, names without the final dot."""
    if isinstance(data, TXT):
        text = b"".join(data.strings).decode("utf-8", "backslashreplace")
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)  # PostgreSQL holds no NUL
    return str(data).removesuffix(".")


async def look_at(of: Facts, nameservers: list[tuple[str, int]]) -> list[Check]:
    """Verdicts on all records of a domain, looked up at the same time; takes some seconds at most."""
    try:
        resolver = make_resolver(nameservers, timeout=PATIENCE)
    except dns.resolver.NoResolverConfiguration:
        return [judge(record, Answers("failed")) for record in records(of)]
    wanted = records(of)
    found = await asyncio.gather(*(look_up(resolver, record.name, record.type) for record in wanted))
    checks = [judge(record, answers) for record, answers in zip(wanted, found, strict=True)]
    if not of.addresses:  # the address is only known now
        checks += await _pointers(resolver, of.hostname, checks)
    return checks


async def _pointers(resolver: dns.asyncresolver.Resolver, hostname: str, checks: list[Check]) -> list[Check]:
    """Reverse DNS of the public addresses that the server's name was found to have."""
    found = {address for check in checks if check.record.kind == "address" for address in check.found}
    public = tuple(sorted(address for address in found if ipaddress.ip_address(address).is_global))
    wanted: list[Record] = [record for record in server_records(hostname, public) if record.kind == "ptr"]
    answers = await asyncio.gather(*(look_up(resolver, record.name, "PTR") for record in wanted))
    return [judge(record, answer) for record, answer in zip(wanted, answers, strict=True)]


async def check_domain(db: Connection, domain_id: int, settings: Settings) -> list[Check]:
    """Look a domain's records up and keep the verdicts; `NotFound` if it is not ours.

    A domain counts as verified when everything that campaigns need is there, and no longer when one of these is broken.
    What cannot be told changes nothing.
    """
    domain = await get_domain_by_id(db, domain_id)
    checks = await look_at(facts(domain, settings), settings.nameservers)
    needed = {check.level for check in checks if check.record.required}
    await db.execute(
        """UPDATE domain SET checks = %(checks)s, checked_at = now(),
             verified_at = CASE WHEN %(broken)s THEN NULL WHEN %(right)s THEN coalesce(verified_at, now())
                                ELSE verified_at END,
             proven_at = CASE WHEN %(right)s THEN coalesce(proven_at, now()) ELSE proven_at END
           WHERE id = %(id)s""",
        {
            "checks": Jsonb([check.as_json() for check in checks]), "id": domain_id,
            "broken": "bad" in needed, "right": needed <= {"ok", "warn"},
        },
    )  # fmt: skip
    return checks
