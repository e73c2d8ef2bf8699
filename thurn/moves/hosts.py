"""Which servers a move may speak to: never our own network, unless the operator says so.

A name is resolved once, every address of it is looked at, and the connection goes to one that was looked at: a name
that answers differently the second time (DNS rebinding) gains nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence

from thurn.problems import Invalid
from thurn.settings import Settings

IMAPS, IMAP = 993, 143
# Ways to write an IPv4 address as an IPv6 one, behind which our own network could hide (RFC 6052, 3056, 4380).
_DISGUISES = [
    ipaddress.ip_network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
]
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z"
)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")

Resolve = Callable[[str, int], Sequence[str]]


class Refused(Exception):
    """A move may not speak to this server; the message is a sentence for a person."""


def checked_host(text: str) -> str:
    """A host name (A-labels) or an address, as it is kept. `Invalid` (field `host`)."""
    host = text.strip().rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        name = ""
    if not _NAME.match(name) or name.rpartition(".")[2].isdigit():
        raise Invalid(
            "host", "Give the name of the other server, for example imap.example.net, without https:// or port."
        )
    return name


def checked_port(settings: Settings, port: int) -> int:
    """143 or 993; others in a simulation only. `Invalid` (field `port`)."""
    if port not in (IMAPS, IMAP) and not (settings.simulate and 0 < port < 2**16):
        raise Invalid("port", "IMAP is at port 993 (TLS) or 143 (STARTTLS).")
    return port


def checked_fingerprint(text: str) -> str:
    """SHA-256 of a certificate in hex, without colons; may be empty. `Invalid` (field `fingerprint`)."""
    plain = text.replace(":", "").replace(" ", "").lower()
    if plain and not _FINGERPRINT.match(plain):
        raise Invalid("fingerprint", "A SHA-256 fingerprint is 64 hexadecimal digits; colons between them are fine.")
    return plain


def address_of(settings: Settings, host: str, port: int, resolve: Resolve | None = None) -> str:
    """The address to connect to. `Refused` when the host has none, or one that may not be reached."""
    try:
        found = (resolve or _resolve)(host, port)
    except OSError as error:
        raise Refused(f"{host} cannot be found in DNS. Is it spelt right?") from error
    if not found:
        raise Refused(f"{host} has no address.")
    for address in found:
        if not allowed(settings, address):
            raise Refused(
                f"{host} is at {address}, which is not on the public Internet. If that is meant, whoever runs this "
                "server sets `moves_private`."
            )
    return found[0]


def allowed(settings: Settings, address: str) -> bool:
    """Whether a move may connect there. In a simulation nothing but the loopback is reached."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if settings.simulate:
        return ip.is_loopback
    if settings.moves_private:
        return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local or ip.is_loopback)
    if isinstance(ip, ipaddress.IPv6Address) and any(ip in network for network in _DISGUISES):
        return False
    return ip.is_global and not ip.is_multicast


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))
