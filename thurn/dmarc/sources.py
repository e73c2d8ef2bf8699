"""Who sends as a domain: rows of reports put together by who runs the servers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from thurn.db.connect import Row
from thurn.dmarc.senders import OWN, in_words, source_name

_ADDRESSES = 200  # of one source that are shown


@dataclass(slots=True)
class Address:
    """One server of a source. `host`: its name in DNS, only where the name points back."""

    ip: str
    host: str
    mails: int = 0
    passed: int = 0
    country: str = ""


@dataclass(slots=True)
class Source:
    """Mail from one sender. `passed`: DMARC passed, by `dkim`, `spf` or both; `forwarded`: failed, and the receiver saw
    that a list or a forwarder was to blame; `stopped`: put into spam folders or refused."""

    key: str
    verdict: str = ""  # ours | foreign | '' while nobody has said
    mails: int = 0
    passed: int = 0
    dkim: int = 0
    spf: int = 0
    forwarded: int = 0
    stopped: int = 0
    last: date | None = None
    addresses: list[Address] = field(default_factory=list)

    @property
    def name(self) -> str:
        """In words."""
        return in_words(self.key)

    @property
    def ours(self) -> bool:
        """Whether the domain let it in: what passes has the domain's key or stands in its SPF. Or somebody said so."""
        return self.verdict == "ours" or (self.verdict != "foreign" and (self.key == OWN or self.passed > 0))

    @property
    def undecided(self) -> bool:
        """Nothing of it ever passed, and nobody has said whose it is."""
        return not self.verdict and not self.ours and self.mails > self.forwarded

    @property
    def own_fault(self) -> int:
        """Mails that failed although nobody forwarded them."""
        return max(self.mails - self.passed - self.forwarded, 0)

    @property
    def state(self) -> str:
        """In the vocabulary of the interface."""
        if self.verdict == "foreign":
            return "Forged"
        if self.ours:
            return "Passes" if not self.own_fault else "Partly passes" if self.passed else "Fails"
        return "Undecided" if self.undecided else "Forwarded"


def group(rows: Iterable[Row], verdicts: Mapping[str, str]) -> list[Source]:
    """Sources by volume, from sums by address and sender (service.sums)."""
    found: dict[str, Source] = {}
    for row in rows:
        key = source_name(row["sender"], row["org"], str(row["source"]))
        source = found.setdefault(key, Source(key, verdicts.get(key, "")))
        for name in ("mails", "passed", "dkim", "spf", "forwarded", "stopped"):
            setattr(source, name, getattr(source, name) + int(row[name]))
        source.last = max(filter(None, (source.last, row["last"])), default=None)
        if len(source.addresses) < _ADDRESSES:
            source.addresses.append(Address(str(row["source"]), row["host"], int(row["mails"]), int(row["passed"])))
    return sorted(found.values(), key=lambda source: (-source.mails, source.key))
