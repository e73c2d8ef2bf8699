"""Who takes the mail of a domain, found by its MX hosts, and what each provider bears: the book, providers.toml."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

OTHER, LOCAL = "other", "local"
PER_SERVER = 10  # connections to one server among `other`


@dataclass(frozen=True, slots=True)
class Limits:
    """What one egress may do at one provider. `rate_per_minute` None: no limit of its own."""

    connections: int
    per_connection: int
    rate_per_minute: int | None
    backoff: int  # seconds to leave it alone when it asks for it and names no time


@dataclass(frozen=True, slots=True)
class Provider:
    """An entry of the book."""

    name: str
    title: str
    mx: tuple[str, ...]
    limits: Limits
    source: str


@cache
def book() -> Mapping[str, Provider]:
    """Every provider by name, in the order of the file."""
    entries = tomllib.loads((Path(__file__).parent / "providers.toml").read_text())
    return MappingProxyType(
        {
            name: Provider(
                name,
                entry["title"],
                tuple(entry["mx"]),
                Limits(entry["connections"], entry["per_connection"], entry.get("rate_per_minute"), entry["backoff"]),
                entry["source"],
            )
            for name, entry in entries.items()
        }
    )


# Names stand in envelope senders and transport names: short, lower-case letters only.
PROVIDERS: tuple[str, ...] = tuple(book())


def provider_of(mx_hosts: Iterable[str]) -> str:
    """The provider that runs *all* of these MX hosts, else `other`.

    All: a domain whose second MX is a server of its own must not be counted as its first one's.
    """
    hosts = [host.rstrip(".").lower() for host in mx_hosts]
    for provider in book().values():
        if hosts and all(_below(host, provider.mx) for host in hosts):
            return provider.name
    return OTHER


def _below(host: str, suffixes: tuple[str, ...]) -> bool:
    return any(host == suffix or host.endswith(f".{suffix}") for suffix in suffixes)
