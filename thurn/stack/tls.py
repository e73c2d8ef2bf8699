"""The certificate that mail clients meet until the operator brings a real one: self-signed, made at install."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from thurn.stack.files import Directory, File

CERTIFICATE = "tls/cert.pem"
KEY = "tls/key.pem"
_LIFETIME = dt.timedelta(days=3650)


def directories() -> list[Directory]:
    """Daemons read their key before they drop root, so nobody else may."""
    return [Directory("tls")]


def self_signed(hostname: str, now: dt.datetime | None = None) -> list[File]:
    """A certificate (P-256, ten years) for `hostname`, `localhost` and 127.0.0.1, and its key."""
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
    return [
        File(CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM).decode()),
        File(KEY, private, 0o600),
    ]


def missing(state: Path) -> bool:
    """Whether a certificate has to be made."""
    return not ((state / CERTIFICATE).exists() and (state / KEY).exists())
