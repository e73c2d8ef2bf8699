"""The files from which Postfix and Dovecot take their certificates; the self-signed one until there is a real one."""

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from thurn.stack.files import Directory, File

CERTIFICATE = "tls/cert.pem"  # for people and tests: what the mail host shows
NEXT_KEY = "tls/next-key"  # hash of the key of a renewed certificate that waits for its TLSA record; else empty
PAIR = "tls/mail.pem"  # key and chain in one file, so that nobody ever reads one without the other
NAMES = "tls/names"  # a pair for each further name
SNI = "tls/sni"  # name -> pair, for Postfix
DOVECOT_NAMES = "dovecot/etc/names.conf"  # the same for Dovecot
_LIFETIME = dt.timedelta(days=3650)


def directories() -> list[Directory]:
    """Daemons read their key before they drop root, so nobody else may."""
    return [Directory("tls"), Directory(NAMES, 0o700)]


def key_hash(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key in it (RFC 6698: 3 1 1), hexadecimal."""
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(key).hexdigest()


def self_signed(hostname: str, now: dt.datetime | None = None) -> list[File]:
    """A certificate for `hostname`, `localhost` and 127.0.0.1, and its key."""
    return together(*make_pair(hostname, now))


def make_pair(hostname: str, now: dt.datetime | None = None) -> tuple[str, str]:
    """The same (P-256, ten years) as PEM: certificate, key."""
    now = now or dt.datetime.now(dt.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names = [x509.DNSName(hostname), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private


def together(chain: str, key: str) -> list[File]:
    """A certificate with its chain, and its key, as the daemons read them."""
    return [File(PAIR, key + chain, 0o600), File(CERTIFICATE, chain)]


def sni_files(state: Path, pairs: Mapping[str, str]) -> list[File]:
    """Further names, each with its own pair (key and chain as PEM): tls_server_sni_maps and `local_name` blocks."""
    hosts = sorted(pairs)
    return [
        *(File(f"{NAMES}/{host}.pem", pairs[host], 0o600) for host in hosts),
        File(SNI, "".join(f"{host} {state}/{NAMES}/{host}.pem\n" for host in hosts), 0o600),
        File(
            DOVECOT_NAMES,
            "".join(
                f"local_name {host} {{\n  ssl_cert = <{state}/{NAMES}/{host}.pem\n"
                f"  ssl_key = <{state}/{NAMES}/{host}.pem\n}}\n"
                for host in hosts
            ),
        ),
    ]


def outdated(state: Path, hostname: str) -> bool:
    """Whether a certificate has to be made: there is none, or the mail host has another name by now."""
    if not ((state / CERTIFICATE).exists() and (state / PAIR).exists()):
        return True
    shown = x509.load_pem_x509_certificates((state / CERTIFICATE).read_bytes())[0]
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return hostname not in names.get_values_for_type(x509.DNSName)
