"""What `keeper` does about certificates: from Caddy's folder, or the operator's files, to Postfix and Dovecot.

A pair is placed only if it holds: key and certificate belong together, it is valid today, it names the host, and its
chain is in order. Until there is one, mail programs meet the self-signed one that was made at install (tls.py).
"""

import datetime as dt
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from thurn.db.connect import conninfo
from thurn.dns.tlsa import must_wait
from thurn.settings import Settings
from thurn.stack.files import File
from thurn.stack.keeper import Kept
from thurn.stack.tls import CERTIFICATE, NAMES, NEXT_KEY, PAIR, SNI, key_hash, sni_files, together

log = structlog.get_logger()

_STORAGE = "edge/data/certificates"
_NAMES_EVERY = 8.0  # seconds; a thousand names take 0.2 s of work


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key, both as PEM."""

    chain: str
    key: str
    leaf: x509.Certificate


def pair(chain: str, key: str) -> Pair:
    """Read both; ValueError with the reason if they are not what they should be, or do not belong together."""
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        private = serialization.load_pem_private_key(key.encode(), None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key is protected by a password or of an unknown kind") from error
    except ValueError as error:
        raise ValueError("certificate or key cannot be read") from error
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != certificates[0].public_key().public_bytes(*spki):
        raise ValueError("the key does not belong to the certificate")
    for lower, upper in pairwise(certificates):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ValueError("the chain is not in order: each certificate must be signed by the next") from error
    return Pair(chain, key, certificates[0])


def names(certificate: x509.Certificate) -> list[str]:
    """The host names it is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in found.value.get_values_for_type(x509.DNSName)]


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Whether it names the host, by itself or with a `*` for the first label (RFC 6125, 6.4.3)."""
    return bool({host, f"*.{host.partition('.')[2]}"} & set(names(certificate)))


def fault(certificate: x509.Certificate, host: str, now: dt.datetime) -> str:
    """Why it must not be shown for `host` now; empty if it may."""
    if not covers(certificate, host):
        return f"it is not for {host} but for {', '.join(names(certificate)) or 'nobody'}"
    if now < certificate.not_valid_before_utc:
        return f"it is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
    if now >= certificate.not_valid_after_utc:
        return f"it ran out on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def best(candidates: Iterable[tuple[Path, Path]], host: str, now: dt.datetime) -> Pair | None:
    """The newest pair of files (certificate, key) that holds for `host`; what is refused is named in the log."""
    found: list[Pair] = []
    for certificate, key in candidates:
        try:
            candidate = pair(certificate.read_text(), key.read_text())
            if why := fault(candidate.leaf, host, now):
                raise ValueError(why)
        except (ValueError, OSError) as problem:
            _complain(certificate, problem)
        else:
            found.append(candidate)
    return max(found, key=lambda candidate: candidate.leaf.not_valid_before_utc, default=None)


_complained: dict[Path, str] = {}


def _complain(certificate: Path, problem: Exception) -> None:
    """Once for each reason, not every two seconds."""
    if _complained.get(certificate) != str(problem):
        _complained[certificate] = str(problem)
        log.warning("certificate not placed", file=str(certificate), reason=str(problem))


def stored(state: Path, host: str) -> list[tuple[Path, Path]]:
    """What Caddy has for a host, from each authority it was ever told to ask."""
    found = (state / _STORAGE).glob(f"*/{host}/{host}.crt")
    return [(path, path.with_suffix(".key")) for path in found]


def mail_host(settings: Settings) -> list[File]:
    """The certificate of the mail host; nothing while there is none to place."""
    if settings.mail_certificate and settings.mail_key:
        candidates = [(settings.mail_certificate, settings.mail_key)]
    else:
        candidates = stored(settings.state, settings.hostname.lower())
    now = dt.datetime.now(dt.UTC)
    found = best(candidates, settings.hostname.lower(), now)
    if found is None:
        return []
    if _waits(settings, found.leaf, now):
        return [File(NEXT_KEY, f"{key_hash(found.leaf)}\n")]
    return [*together(found.chain, found.key), File(NEXT_KEY, "")]


def _waits(settings: Settings, renewed: x509.Certificate, now: dt.datetime) -> bool:
    """Whether others check the key by DNS, and DNS does not name this one yet."""
    try:
        shown = x509.load_pem_x509_certificate((settings.state / CERTIFICATE).read_bytes())
    except (OSError, ValueError):
        return False
    if key_hash(shown) == key_hash(renewed) or fault(shown, settings.hostname.lower(), now):
        return False
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3) as db:
        seen = {str(key): since for key, since in db.execute("SELECT key, since FROM tlsa_seen").fetchall()}
    return must_wait(
        seen, shown=key_hash(shown), renewed=key_hash(renewed), now=now,
        begins=shown.not_valid_before_utc, ends=shown.not_valid_after_utc,
    )  # fmt: skip


_looked = -1000.0  # when, on the monotonic clock


def other_names(settings: Settings) -> list[File]:
    """`mail.<domain>` of every proven domain, as far as Caddy has a certificate for it; nothing between looks."""
    global _looked
    if time.monotonic() - _looked < _NAMES_EVERY:
        return []
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3) as db:
        domains = db.execute("SELECT name FROM domain WHERE proven_at IS NOT NULL ORDER BY name").fetchall()
    _looked = time.monotonic()
    now = dt.datetime.now(dt.UTC)
    found = {}
    for (domain,) in domains:
        host = f"mail.{domain}"
        if host != settings.hostname.lower() and (chosen := best(stored(settings.state, host), host, now)):
            found[host] = chosen.key + chosen.chain
    return sni_files(settings.state, found)


def reload(settings: Settings, changed: set[str]) -> None:
    """Have both daemons read their certificates again. Sessions that are open go on.

    A daemon that does not run reads them when it starts.
    """
    state = settings.state
    if changed == {NEXT_KEY}:
        return
    if SNI in changed:
        wanted = {f"{host}.pem" for host in _hosts((state / SNI).read_text())}
        for path in (state / NAMES).iterdir():
            if path.name not in wanted and path.suffix == ".pem":
                path.unlink()
    make_sni_map(state)
    for command in (
        ("postfix", "-c", f"{state}/mx/etc", "reload"),
        ("doveadm", "-c", f"{state}/dovecot/etc/dovecot.conf", "reload"),
    ):
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        log.info("reloaded" if done.returncode == 0 else "not running", daemon=command[0])


def make_sni_map(state: Path) -> None:
    """Postfix's map of names: it holds the keys themselves, so only root may read it."""
    subprocess.run(
        ["postmap", "-c", f"{state}/mx/etc", "-F", f"hash:{state}/{SNI}"],
        check=True, cwd="/", capture_output=True, umask=0o077,
    )  # fmt: skip


def _hosts(sni: str) -> list[str]:
    return [line.split()[0] for line in sni.splitlines() if line]


KEPT = {"mail certificate": Kept(mail_host, reload), "certificates of other names": Kept(other_names, reload)}

__all__ = ["CERTIFICATE", "KEPT", "PAIR", "Pair", "best", "covers", "fault", "mail_host", "names", "pair", "reload"]
