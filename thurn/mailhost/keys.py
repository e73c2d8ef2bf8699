"""DKIM keys: made here, sealed in the database, given out to who signs."""

import asyncio
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.secrets import Secrets
from thurn.settings import Settings

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]
ALGORITHMS: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519-sha256")
_RSA_BITS = 2048  # RFC 8301, 3.2; what fits into every DNS panel


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private_der` is PKCS #8, unencrypted; `public` the base64 of the p= tag."""

    algorithm: Algorithm
    private_der: bytes
    public: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs mail of a domain: the DER is PKCS #8, RSA or Ed25519 as `algorithm` says."""

    selector: str
    algorithm: Algorithm
    private_key_der: bytes


def generate(algorithm: Algorithm) -> KeyPair:
    """A new key pair. RSA takes a noticeable part of a second."""
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm == "rsa-sha256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463, 4: the 32 octets alone
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(algorithm, private, b64encode(public).decode())


def selector(algorithm: Algorithm, day: date, taken: Collection[str] = ()) -> str:
    """Name of a key made on `day`: `t2611r` for RSA, `t2611e` for Ed25519, made in November 2026; `t2611r2` is next.

    A name is never used twice: what a receiver remembers of one would be the wrong key.
    """
    first = f"t{day:%y%m}{algorithm[0]}"
    return next(name for name in (first, *(f"{first}{n}" for n in range(2, 1000))) if name not in taken)


async def make_keys(
    db: Connection,
    workspace: int,
    *,
    domain_id: int,
    domain: str,
    settings: Settings,
    state: Literal["active", "pending"] = "active",
) -> None:
    """Give a domain one key of each algorithm, sealed for this installation. The first ones sign at once."""
    secrets, now = Secrets(settings.state), datetime.now(UTC)
    taken = {
        row["selector"] for row in await rows(db, "SELECT selector FROM dkim_key WHERE domain_id = %s", [domain_id])
    }
    for algorithm in ALGORITHMS:
        pair = await asyncio.to_thread(generate, algorithm)
        await db.execute(
            """INSERT INTO dkim_key (workspace_id, domain_id, selector, algorithm, private_key, public_key, state,
                                     active_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
            [workspace, domain_id, selector(algorithm, now.date(), taken), algorithm,
             secrets.seal(pair.private_der, label(domain)), pair.public, state, now if state == "active" else None],
        )  # fmt: skip


async def signing_keys(db: Connection, domain_name: str, settings: Settings) -> list[SigningKey]:
    """The keys that sign mail of a domain, RSA first; none when the domain is not ours.

    Raises cryptography.exceptions.InvalidTag when the master secret is not the one the keys were sealed with.
    """
    rows = await (
        await db.execute(
            """SELECT k.selector, k.algorithm, k.private_key FROM dkim_key k JOIN domain d ON d.id = k.domain_id
               WHERE d.name = %s AND k.state = 'active' ORDER BY k.algorithm DESC, k.id""",
            [domain_name.lower()],
        )
    ).fetchall()
    secrets, sealed_with = Secrets(settings.state), label(domain_name.lower())
    return [SigningKey(r["selector"], r["algorithm"], secrets.unseal(r["private_key"], sealed_with)) for r in rows]


def label(domain: str) -> str:
    """What a domain's keys are sealed with."""
    return f"dkim:{domain}"
