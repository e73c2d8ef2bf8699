"""Every host name this installation may have a certificate for, and what each is for.

Its own three, and of every proven domain the hosts in `PREFIXES` and the tracking host. Whether a name is one of them
is answered here for Caddy, for the web and for whoever watches certificates; nothing else is ever asked for.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import dns.asyncresolver
import dns.exception

from thurn.db.connect import Connection
from thurn.db.fetch import maybe, rows
from thurn.mail.dns import make_resolver
from thurn.settings import Settings

Purpose = Literal["web", "webmail", "mail", "mta-sts", "autoconfig", "autodiscover", "tracking"]

# First label -> what the host is for. MTA-STS for every domain: a policy that was withdrawn has to be served, too.
PREFIXES: dict[str, Purpose] = {
    "mta-sts": "mta-sts",
    "autoconfig": "autoconfig",
    "autodiscover": "autodiscover",
    "mail": "mail",
}
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+", re.ASCII)
_LONGEST = 253
_PATIENCE = 3.0  # seconds for DNS


@dataclass(frozen=True, slots=True)
class Host:
    """A host we know. `domain` is empty for the installation's own hosts, which belong to the first workspace."""

    name: str
    purpose: Purpose
    domain: str = ""
    workspace_id: int = 1


def tidy(host: str) -> str:
    """The name as it is stored; empty for what is no host name with a dot in it."""
    name = host.lower().removesuffix(".")
    return name if len(name) <= _LONGEST and _NAME.fullmatch(name) else ""


def own(settings: Settings) -> list[Host]:
    """The installation's own hosts: the web interface, webmail, and the one mail servers and programs connect to."""
    named: tuple[tuple[str, Purpose], ...] = (
        (settings.web_host, "web"),
        (settings.own_webmail_host, "webmail"),
        (settings.hostname.lower(), "mail"),
    )
    found: dict[str, Host] = {}
    for name, purpose in named:
        if tidy(name):
            found.setdefault(name, Host(name, purpose))
    return list(found.values())


def of_domain(domain: str, workspace_id: int, tracking_host: str = "") -> list[Host]:
    """The hosts of a proven domain."""
    found = [Host(f"{label}.{domain}", purpose, domain, workspace_id) for label, purpose in PREFIXES.items()]
    if tracking_host:
        found.append(Host(tracking_host, "tracking", domain, workspace_id))
    return found


def claimed(host: str) -> tuple[Purpose, str] | None:
    """What a name would be for and of which domain, judged by the name alone."""
    label, _, domain = host.partition(".")
    return (PREFIXES[label], domain) if label in PREFIXES and domain else None


def choose(host: str, ours: Iterable[Host], domains: Iterable[tuple[str, int, str]]) -> Host | None:
    """The one that `host` is. `domains`: (name, workspace, tracking host) of proven domains it may belong to."""
    for mine in ours:
        if mine.name == host:
            return mine
    for name, workspace_id, tracking_host in domains:
        for candidate in of_domain(name, workspace_id, tracking_host):
            if candidate.name == host:
                return candidate
    return None


async def find(db: Connection, settings: Settings, host: str) -> Host | None:
    """The host of this name, if it is one of ours. `db` sees every workspace."""
    name = tidy(host)
    if not name:
        return None
    named = claimed(name)
    row = await maybe(
        db,
        """SELECT name, workspace_id, tracking_host FROM domain
           WHERE proven_at IS NOT NULL AND (name = %(domain)s OR tracking_host = %(host)s)
           ORDER BY name = %(domain)s DESC LIMIT 1""",
        {"domain": named[1] if named else None, "host": name},
    )
    domains = [(row["name"], row["workspace_id"], row["tracking_host"])] if row else []
    return choose(name, own(settings), domains)


async def every(db: Connection, settings: Settings) -> list[Host]:
    """All of them, the installation's own first. `db` sees every workspace."""
    found = await rows(
        db,
        """SELECT name, workspace_id, tracking_host FROM domain
           WHERE proven_at IS NOT NULL ORDER BY name""",
    )
    known = {host.name: host for host in own(settings)}
    for row in found:
        for host in of_domain(row["name"], row["workspace_id"], row["tracking_host"]):
            known.setdefault(host.name, host)
    return list(known.values())


async def leads_here(host: str, settings: Settings) -> bool:
    """Whether DNS sends people who ask for `host` to this server: where the web interface or the mail host does.

    Anybody can open a connection and name any host in it; without this, they could have us ask for certificates that
    cannot be given until the authority has had enough of us.
    """
    resolver = make_resolver(settings.nameservers, timeout=_PATIENCE)
    names = [mine.name for mine in own(settings) if mine.purpose != "webmail"]
    asked = await asyncio.gather(*(_addresses(resolver, name) for name in (host, *names)))
    return bool(asked[0] & set[str]().union(*asked[1:]))


async def _addresses(resolver: dns.asyncresolver.Resolver, host: str) -> set[str]:
    async def of_type(kind: str) -> set[str]:
        try:
            return {str(record) for record in await resolver.resolve(f"{host}.", kind)}
        except (dns.exception.DNSException, UnicodeError, OSError):
            return set()

    four, six = await asyncio.gather(of_type("A"), of_type("AAAA"))
    return four | six
