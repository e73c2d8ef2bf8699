"""What a domain's records follow from, gathered from its row, the settings and the certificate in use."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509

from thurn.dns.records import Facts, PublicKey
from thurn.settings import Settings
from thurn.stack.tls import CERTIFICATE, NEXT_KEY, key_hash


def server_addresses(settings: Settings) -> tuple[str, ...]:
    """Addresses mail leaves from, as far as the settings tell."""
    if settings.simulate:
        return ("127.0.0.1",)
    try:
        address = ipaddress.ip_address(settings.listen)
    except ValueError:
        return ()
    return (str(address),) if address.is_global else ()


def named_addresses(found: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """Of addresses that mail leaves from those that receivers see: not a private one behind a translation."""
    return tuple(each for each in found if settings.simulate or ipaddress.ip_address(each).is_global)


def facts(domain: Mapping[str, Any], settings: Settings) -> Facts:
    """From a row of `service.get_domain` and the settings."""
    return Facts(
        name=domain["name"],
        bounce_host=domain["bounce_host"],
        keys=tuple(PublicKey(k["selector"], k["algorithm"], k["public_key"], k["state"]) for k in domain["keys"]),
        hostname=settings.hostname.lower().rstrip("."),
        addresses=(own := server_addresses(settings)),
        sent_from=tuple(each for each in named_addresses(domain["sent_from"], settings) if each not in own),
        ports=settings.port,
        mta_sts_mode=domain["mta_sts_mode"],
        tls_reports=domain["tls_reports"],
        dmarc_policy=domain["dmarc_policy"],
        bimi_logo=domain["bimi_logo"],
        tracking_host=domain["tracking_host"],
        tlsa=key_in_use(settings),
        tlsa_next=key_to_come(settings),
        webmail_host=settings.own_webmail_host,
    )


def key_in_use(settings: Settings) -> str:
    """SHA-256 of the public key in the mail server's certificate (RFC 6698: 3 1 1); empty when it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate((settings.state / CERTIFICATE).read_bytes())
    except (OSError, ValueError):
        return ""
    return key_hash(certificate)


def key_to_come(settings: Settings) -> str:
    """The same of a renewed certificate that waits until DNS names its key; empty when none does."""
    try:
        return (settings.state / NEXT_KEY).read_text().strip()
    except OSError:
        return ""
