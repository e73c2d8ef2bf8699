"""Whom the guard counts: a client is an IPv4 address, or the /64 that an IPv6 address is in."""

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOBODY = "::/128"  # a client whose address cannot be told
# Our own doors: what comes from here is a part of this server, or a person at its keyboard.
_OURS = frozenset({"127.0.0.1", "127.0.0.2", "::1"})


def address_of(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, an IPv4 address also where it is written as IPv6; None if it is none."""
    try:
        found = ipaddress.ip_address(ip.strip().partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def client_of(ip: str) -> str:
    """The client behind an address; `NOBODY` for something that is no address."""
    return _network(ip, 32, 64)


def neighbourhood_of(ip: str) -> str:
    """The /24 or /48 around an address: somebody who comes back, from a telephone for instance, is found there."""
    return _network(ip, 24, 48)


def is_ours(ip: str) -> bool:
    """Whether the address is one of this server's own doors."""
    found = address_of(ip)
    return found is None or str(found) in _OURS


def holds_ours(network: Network) -> bool:
    """Whether one of our own doors is in the network."""
    return any(ipaddress.ip_address(ours) in network for ours in _OURS)


def network_of(text: str) -> Network:
    """An address or network that a person wrote; ValueError if it is none. One IPv6 address means its /64."""
    found = ipaddress.ip_network(text.strip(), strict=False)
    return found.supernet(new_prefix=64) if found.version == 6 and found.prefixlen > 64 else found


def _network(ip: str, four: int, six: int) -> str:
    found = address_of(ip)
    if found is None:
        return NOBODY
    length = four if found.version == 4 else six
    return str(ipaddress.ip_network(f"{found}/{length}", strict=False))
