"""DKIM signatures (RFC 6376) with RSA and Ed25519 (RFC 8463), relaxed header and simple body canonicalisation.

Our own, because a signature is the largest part of what a campaign mail costs: the body is hashed once for all keys and
constant headers are canonicalised once a campaign. The tests verify with dkimpy, which shares no code with this.
Bodies must end in exactly one CRLF, as ours do, so that `simple` needs no rewriting.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key

_WSP = re.compile(rb"[ \t\r\n]+")


def canonical_header(name: bytes, value: bytes) -> bytes:
    """A header field in relaxed form (RFC 6376, 3.4.2), CRLF included."""
    return name.lower().strip() + b":" + _WSP.sub(b" ", value).strip() + b"\r\n"


@dataclass(frozen=True, slots=True)
class Header:
    """A header field as it is sent and as it is signed; made once where the value is constant."""

    name: bytes
    raw: bytes
    canonical: bytes

    @classmethod
    def of(cls, name: str, value: str) -> "Header":
        """From ASCII text; `UnicodeEncodeError` for anything else, `ValueError` for a bare line break."""
        encoded = value.encode("ascii")
        unfolded = encoded.replace(b"\r\n ", b"").replace(b"\r\n\t", b"")
        if b"\n" in unfolded or b"\r" in unfolded or b"\0" in unfolded:
            raise ValueError(f"line break in the header {name}")
        key = name.encode("ascii")
        return cls(key.lower(), key + b": " + encoded + b"\r\n", canonical_header(key, encoded))


class Signer:
    """One key of one domain."""

    def __init__(self, domain: str, selector: str, private_key_der: bytes) -> None:
        key = load_der_private_key(private_key_der, password=None)
        if not isinstance(key, (RSAPrivateKey, Ed25519PrivateKey)):
            raise TypeError("DKIM knows RSA and Ed25519 keys")
        self._key = key
        algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
        self._head = f"v=1; a={algorithm}; c=relaxed/simple; d={domain}; s={selector}".encode()
        self._padding = padding.PKCS1v15()
        self._hash = SHA256()

    def sign(self, headers: Sequence[Header], names: bytes, signed: bytes, body_hash: bytes, time: int) -> bytes:
        """The DKIM-Signature field, CRLF included.

        `names` is the h= list, `signed` the canonical headers in that order, `body_hash` the base64 SHA-256 of the
        body, `time` seconds since the epoch.
        """
        value = b"%b; t=%d; h=%b;\r\n bh=%b;\r\n b=" % (self._head, time, names, body_hash)
        data = signed + b"dkim-signature:" + _WSP.sub(b" ", value)
        if isinstance(self._key, Ed25519PrivateKey):
            signature = self._key.sign(sha256(data).digest())  # RFC 8463, 3: signs the hash
        else:
            signature = self._key.sign(data, self._padding, self._hash)
        encoded = b64encode(signature)
        folded = b"\r\n ".join(encoded[i : i + 72] for i in range(0, len(encoded), 72))
        return b"DKIM-Signature: " + value + folded + b"\r\n"


# From and Subject twice: a second one added on the way breaks the signature (RFC 6376, 8.15).
_OVERSIGNED = (b"from", b"subject")


def sign_message(signers: Sequence[Signer], headers: Sequence[Header], body: bytes, time: int) -> bytes:
    """All DKIM-Signature fields for a message that consists of `headers` and `body`; none without signers."""
    if not signers:
        return b""  # a relay may sign in our place; the hash takes as long as filling the template in
    names = b":".join([h.name for h in headers] + list(_OVERSIGNED))
    signed = b"".join([h.canonical for h in headers])
    body_hash = b64encode(sha256(body).digest())
    return b"".join([s.sign(headers, names, signed, body_hash, time) for s in signers])
