"""Secrets of an installation: generated once, one file each, different everywhere; what the database keeps is sealed.

The files lie in `<state>/secrets` (0750, root and the group `thurn`). Keys for tokens are derived from the master key
by label (HKDF, RFC 5869), so that a leaked token key says nothing about the others.
"""

import json
import os
import secrets as random
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12


class Secrets:
    """The secrets of one state directory."""

    def __init__(self, state: Path) -> None:
        self._dir = state / "secrets"

    def ensure(self, name: str) -> str:
        """Return the secret called `name` (43 URL-safe characters), made on first use."""
        path = self._dir / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            pass
        self._dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        value = random.token_urlsafe(32)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:  # another process was first
            return path.read_text().strip()
        with os.fdopen(handle, "w") as file:
            file.write(value + "\n")
        if os.geteuid() == 0:  # new files belong to the directory's group
            os.chown(path, 0, self._dir.stat().st_gid)
        return value

    def read(self, name: str) -> str:
        """The secret called `name`, which is there or nothing works."""
        return (self._dir / name).read_text().strip()

    def derive(self, label: str, length: int = 32) -> bytes:
        """A key for one purpose, named by `label`. A further sending machine has the few it needs, and no master."""
        given = self._dir / "derived"
        if given.exists():
            return bytes.fromhex(json.loads(given.read_text())[label])[:length]
        hkdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=label.encode())
        return hkdf.derive(self.ensure("master").encode())

    def seal(self, data: bytes, label: str) -> bytes:
        """Encrypt `data` for the database (AES-256-GCM, bound to `label`)."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self.derive("seal")).encrypt(nonce, data, label.encode())

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """Undo `seal`; raises cryptography.exceptions.InvalidTag if the data, the label or the key is another."""
        return AESGCM(self.derive("seal")).decrypt(sealed[:_NONCE], sealed[_NONCE:], label.encode())
