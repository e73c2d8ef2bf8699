"""What the simulated DNS knows: the providers' domains, and what an operator has published for domains of their own.

Published records win over the built-in ones of the same name. They are kept in `<state>/sim/zones.json`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from thurn.simulate.world import DOMAINS, SERVFAIL_DOMAIN, TIMEOUT_DOMAIN, mx_hosts

TYPES = ("A", "AAAA", "MX", "TXT", "CNAME", "NS", "PTR", "SRV", "TLSA", "CAA")
# Not types of DNS: the name, and what is below it, answers SERVFAIL, or nothing at all.
MISBEHAVIOUR = ("SERVFAIL", "TIMEOUT")
_MAX_ALIASES = 8


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `value` as in a zone file; a TXT value may stand with or without quotes."""

    name: str  # lower case, no dot at the end
    type: str
    value: str
    ttl: int = 60

    @classmethod
    def of(cls, name: str, kind: str, value: str, ttl: int = 60) -> "Record":
        """Normalised; `ValueError` for a type there is not or a name that cannot be one."""
        name, kind = name.lower().rstrip("."), kind.upper()
        if kind not in TYPES + MISBEHAVIOUR:
            raise ValueError(f"{kind} is no record type that the simulated DNS knows")
        if not name or len(name) > 253 or any(not 0 < len(label) <= 63 for label in name.split(".")):
            raise ValueError(f"{name!r} is no domain name")
        return cls(name, kind, value, ttl)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gets. `NODATA`: the name exists, the type does not (RFC 2308)."""

    status: Literal["NOERROR", "NODATA", "NXDOMAIN", "SERVFAIL", "TIMEOUT"]
    records: tuple[Record, ...] = ()


def _world(hostname: str, dkim_public: str) -> Iterable[Record]:
    """The built-in records: every provider's domains and mail servers, and this machine."""
    hosts = {hostname}
    for domain in DOMAINS:
        for preference, host in enumerate(mx_hosts(domain), 1):
            yield Record(domain, "MX", f"{preference * 10} {host}")
            hosts.add(host)
        yield Record(domain, "A", "127.0.0.1")
        yield Record(domain, "TXT", "v=spf1 ip4:127.0.0.1 -all")
        yield Record(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=none")
        yield Record(f"sim._domainkey.{domain}", "TXT", f"v=DKIM1; k=ed25519; p={dkim_public}")
    for host in hosts:
        yield Record(host, "A", "127.0.0.1")
    yield Record("1.0.0.127.in-addr.arpa", "PTR", hostname)
    yield Record("localhost", "A", "127.0.0.1")
    yield Record(SERVFAIL_DOMAIN, "SERVFAIL", "")
    yield Record(TIMEOUT_DOMAIN, "TIMEOUT", "")


class Zones:
    """Looks names up; publishes and withdraws. Replaced as a whole on change, so that threads may read meanwhile."""

    def __init__(self, path: Path, hostname: str, dkim_public: str = "") -> None:
        self._path = path
        self._built_in = list(_world(hostname.lower().rstrip("."), dkim_public))
        kept = json.loads(path.read_text()) if path.exists() else []
        self.published: list[Record] = [Record(**record) for record in kept]
        self._index()

    def _index(self) -> None:
        taken = {record.name for record in self.published}
        names: dict[str, list[Record]] = {}
        for record in [*self.published, *(r for r in self._built_in if r.name not in taken)]:
            names.setdefault(record.name, []).append(record)
        # A name with something below it exists, though it may hold no record (RFC 8020).
        below: set[str] = set()
        for name in names:
            parent = name.partition(".")[2]
            while parent and parent not in below:
                below.add(parent)
                parent = parent.partition(".")[2]
        self._names, self._above_others = names, below

    def _keep(self, records: list[Record]) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n")
        temporary.replace(self._path)
        self.published = records
        self._index()

    def publish(self, records: list[Record]) -> None:
        """Put records up; those of the same name and type that were there go."""
        replaced = {(record.name, record.type) for record in records}
        self._keep([r for r in self.published if (r.name, r.type) not in replaced] + records)

    def withdraw(self, domain: str | None = None) -> None:
        """Take down what was published for a domain and below, or everything."""
        end = (domain or "").lower().rstrip(".")
        self._keep([r for r in self.published if end and r.name != end and not r.name.endswith("." + end)])

    def _misbehaves(self, name: str) -> Literal["SERVFAIL", "TIMEOUT"] | None:
        while name:
            for record in self._names.get(name, ()):
                if record.type == "SERVFAIL":
                    return "SERVFAIL"
                if record.type == "TIMEOUT":
                    return "TIMEOUT"
            name = name.partition(".")[2]
        return None

    def resolve(self, name: str, kind: str) -> Answer:
        """As a resolver answers: aliases followed (RFC 1034, 3.6.2), negative answers told apart."""
        name = name.lower().rstrip(".")
        chain: list[Record] = []
        for _ in range(_MAX_ALIASES):
            wrong = self._misbehaves(name)
            if wrong is not None:
                return Answer(wrong)
            here = self._names.get(name, [])
            found = [record for record in here if record.type == kind]
            alias = next((record for record in here if record.type == "CNAME"), None)
            if found or alias is None:
                break
            chain.append(alias)
            name = alias.value.lower().rstrip(".")
        else:
            return Answer("SERVFAIL")
        if found:
            return Answer("NOERROR", (*chain, *found))
        exists = bool(here) or name in self._above_others
        return Answer("NODATA" if exists else "NXDOMAIN", tuple(chain))
