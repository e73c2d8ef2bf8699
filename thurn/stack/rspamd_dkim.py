"""DKIM for people's mail: Rspamd signs what signed-in people send, with keys that `keeper` places where only it reads.

Only when the one who signed in, the envelope sender and the only From are all of one domain: nobody gets another
tenant's signature.
"""

import base64
import hashlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from thurn.db.connect import conninfo
from thurn.mailhost.keys import label
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.files import File
from thurn.stack.keeper import Kept
from thurn.stack.supervision import Supervisor

FOLDER = "rspamd/keys"
_INDEX = f"{FOLDER}/domains.inc"
_OWNER = "root:_rspamd"


# (o): a second one added on the way breaks the signature; (x): only if it is there.
_HEADERS = (
    "(o)from:(x)sender:(x)reply-to:(o)subject:(x)date:(x)message-id:(x)to:(x)cc:(x)mime-version:(x)content-type:"
    "(x)content-transfer-encoding:(x)in-reply-to:(x)references"
)


@dataclass(frozen=True, slots=True)
class Signing:
    """A key that signs a domain's mail; `der` is PKCS #8."""

    domain: str
    selector: str
    der: bytes

    @property
    def path(self) -> str:
        """Its file, below the state directory."""
        return f"{FOLDER}/{self.domain}.{self.selector}.key"


def signing(state: Path) -> str:
    """local.d/dkim_signing.conf: who gets a signature, and where the keys are listed."""
    return f"""sign_authenticated = true;
sign_local = false;
sign_inbound = false;
use_domain = "header";
use_esld = false;
allow_envfrom_empty = false;
allow_hdrfrom_mismatch = false;
allow_hdrfrom_multiple = false;
allow_username_mismatch = false;
try_fallback = false;
check_pubkey = false;
sign_headers = "{_HEADERS}";
.include(try=true) "{state}/{_INDEX}"
"""


def files(state: Path, keys: Sequence[Signing]) -> list[File]:
    """The keys and the list of them, in Rspamd's own forms."""
    domains: dict[str, list[Signing]] = {}
    for key in keys:
        domains.setdefault(key.domain, []).append(key)
    blocks = []
    for domain, pair in sorted(domains.items()):
        each = "".join(f'{{ selector = "{key.selector}"; path = "{state}/{key.path}"; }}, ' for key in pair)
        blocks.append(f'  "{domain}" {{ selectors = [ {each}] }}\n')
    index = f"# Placed by Thurn.\ndomain {{\n{''.join(blocks)}}}\n"
    return [*(File(key.path, _text(key.der), 0o640, _OWNER) for key in keys), File(_INDEX, index, 0o640, _OWNER)]


def _text(der: bytes) -> str:
    """PEM for RSA; for Ed25519 the base64 of seed and public key, the only form that Rspamd 3.4 reads."""
    key = load_der_private_key(der, password=None)
    if isinstance(key, Ed25519PrivateKey):
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(key.private_bytes_raw() + public).decode() + "\n"
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Source:
    """What `keeper` looks at: the active keys of proven domains. Unseals them only when something changed."""

    def __init__(self) -> None:
        self._known: tuple[str, list[File]] = ("", [])

    def wanted(self, settings: Settings) -> Iterable[File]:
        """Every file; `ValueError` when the keys cannot be unsealed."""
        with psycopg.connect(conninfo(settings, "system"), connect_timeout=5) as db:
            rows = db.execute(
                """SELECT d.name, k.selector, k.private_key FROM dkim_key k JOIN domain d ON d.id = k.domain_id
                   WHERE k.state = 'active' AND d.proven_at IS NOT NULL ORDER BY d.name, k.algorithm DESC"""
            ).fetchall()
        mark = hashlib.sha256(repr([settings.state, *rows]).encode()).hexdigest()
        if mark != self._known[0]:
            secrets = Secrets(settings.state)
            try:
                keys = [Signing(name, s, secrets.unseal(sealed, label(name))) for name, s, sealed in rows]
            except InvalidTag as error:
                raise ValueError("DKIM keys in the database were sealed with another master secret") from error
            self._known = mark, files(settings.state, keys)
        return self._known[1]

    def changed(self, settings: Settings, paths: set[str]) -> None:
        """Take keys away that are no longer listed, and have Rspamd read its configuration again."""
        listed = (settings.state / _INDEX).read_text()
        for path in (settings.state / FOLDER).glob("*.key"):
            if f'"{path}"' not in listed:
                path.unlink()
        # Workers that have mail in hand finish it; new ones start with the new keys.
        process = Supervisor(settings.state).processes().get("spam")
        if process is not None and process.pid and process.state == "running":
            os.kill(process.pid, signal.SIGHUP)


_SOURCE = Source()
KEPT = {"dkim keys": Kept(_SOURCE.wanted, _SOURCE.changed)}
