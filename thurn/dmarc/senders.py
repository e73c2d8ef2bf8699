"""Who sent a mail, in words: services by what their mail passes, everybody else by their name in DNS. Pure."""

import ipaddress
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from thurn.feedback.dmarc_report import Row

if TYPE_CHECKING:
    from tldextract import TLDExtract

OWN = "own"
_FILE = Path(__file__).parent / "senders.toml"


@dataclass(frozen=True, slots=True)
class Sender:
    """A service of senders.toml."""

    key: str
    name: str
    domains: tuple[str, ...]
    hosts: tuple[str, ...]


@cache
def senders() -> dict[str, Sender]:
    """The services by key."""
    with _FILE.open("rb") as file:
        given = tomllib.load(file)
    return {key: Sender(key, each["name"], tuple(each["domains"]), tuple(each["hosts"])) for key, each in given.items()}


@cache
def _by_domain() -> dict[str, str]:
    return {domain: sender.key for sender in senders().values() for domain in sender.domains}


@cache
def _by_host() -> dict[str, str]:
    return {host: sender.key for sender in senders().values() for host in sender.hosts}


@cache
def _suffixes() -> "TLDExtract":
    """The Public Suffix List as the package brings it: nothing is fetched."""
    from tldextract import TLDExtract  # with its HTTP client 5 MB, which the web needs for an uploaded report only

    return TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=False)


def organisational(name: str) -> str:
    """The organisational domain of a name (RFC 7489, 3.2, by the Public Suffix List)."""
    name = name.rstrip(".").lower()
    found = _suffixes()(name)
    if found.suffix:
        return f"{found.domain}.{found.suffix}" if found.domain else name
    return ".".join(name.split(".")[-2:])  # an ending the list does not know counts as one label (its rule “*”)


def sender_of(row: Row, *, selectors: frozenset[str], bounce_host: str, domain: str, own: Iterable[str] = ()) -> str:
    """`own` for mail of this installation, the key of a service, or an empty string.

    Only what passed counts: a failing signature or envelope is what anybody can write.
    """
    signed = [each for each in row.signatures if each.result == "pass"]
    checked = [each.domain for each in row.spf_checks if each.result == "pass"]
    if row.source in own or bounce_host in checked:
        return OWN
    if any(each.domain == domain and each.selector in selectors for each in signed):
        return OWN
    for name in [*checked, *(each.domain for each in signed)]:
        while "." in name:
            if name in _by_domain():
                return _by_domain()[name]
            name = name.partition(".")[2]
    return ""


def source_name(sender: str, org: str, ip: str) -> str:
    """What a source is grouped under: a service, the owner of the server's name, else the network."""
    if sender:
        return sender
    if org:
        return _by_host().get(org, org)
    address = ipaddress.ip_address(ip)
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def in_words(source: str) -> str:
    """A source as people read it."""
    if source == OWN:
        return "This server"
    known = senders().get(source)
    return known.name if known else source
