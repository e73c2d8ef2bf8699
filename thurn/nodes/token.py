"""The token that lets a machine join, and what is said with it.

The token itself is never sent. The new machine proves that it knows it, and the answer, which carries secrets, is
sealed with a key that follows from it: who listens or stands in between learns nothing, whatever the certificate.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_TOKEN = re.compile(r"([A-Za-z0-9_-]{12})\.([A-Za-z0-9_-]{43})")
_NONCE = 12


class Token:
    """`<id>.<secret>`, as an operator copies it."""

    def __init__(self, text: str) -> None:
        found = _TOKEN.fullmatch(text.strip())
        if found is None:
            raise ValueError("not a token")
        self.id, self._secret = found.groups()

    @classmethod
    def fresh(cls) -> "Token":
        """One that nobody knows yet. On a command line it is no option: it does not begin with a hyphen."""
        while (name := secrets.token_urlsafe(9)).startswith("-"):
            pass
        return cls(f"{name}.{secrets.token_urlsafe(32)}")

    def __str__(self) -> str:
        """The whole of it."""
        return f"{self.id}.{self._secret}"

    def proof(self, said: dict[str, str]) -> str:
        """What proves that whoever says this knows the token."""
        text = json.dumps(said, sort_keys=True).encode()
        return hmac.new(self._key("proof"), text, hashlib.sha256).hexdigest()

    def seal(self, answer: dict[str, Any], nonce: str) -> str:
        """The answer to a request that carried `nonce`."""
        iv = os.urandom(_NONCE)
        sealed = AESGCM(self._key("answer")).encrypt(iv, json.dumps(answer).encode(), nonce.encode())
        return base64.b64encode(iv + sealed).decode()

    def unseal(self, sealed: str, nonce: str) -> dict[str, Any]:
        """Undo `seal`; ValueError for an answer that is not from who made the token."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            text = AESGCM(self._key("answer")).decrypt(raw[:_NONCE], raw[_NONCE:], nonce.encode())
        except (InvalidTag, ValueError) as error:
            raise ValueError("not an answer to this token") from error
        found: dict[str, Any] = json.loads(text)
        return found

    def _key(self, purpose: str) -> bytes:
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"thurn node {purpose}".encode())
        return hkdf.derive(self._secret.encode())
