"""Passwords of mailboxes. Dovecot verifies them, so the hash is one its auth process can afford many times at once."""

import asyncio
import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from thurn.accounts.passwords import queue, slots
from thurn.problems import Invalid

# OWASP's smallest recommended argon2id (19 MiB, 2 passes). One lane: libsodium, which Dovecot uses, knows no more.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as something else
SHORTEST = 10
LONGEST = 128  # more buys nothing, and hashing costs


def generate() -> str:
    """A password to write down: three groups of six, 89 bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(6)) for _ in range(3))


def check(password: str, address: str) -> None:
    """Raise `Invalid` for a password that would be guessed or that a mail program cannot send."""
    if len(password) < SHORTEST:
        raise Invalid("password", f"This password is too short: at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise Invalid("password", f"This password is too long: at most {LONGEST} characters.")
    if not password.isprintable() or password != password.strip():
        raise Invalid("password", "A password has no line breaks or control characters, and no space at either end.")
    local = address.partition("@")[0]
    if password.lower() in (address, local) or len(set(password)) < 4:
        raise Invalid("password", "This password is guessed at once. Take another, or let Thurn make one.")


async def encode(password: str) -> str:
    """The argon2id hash in PHC form, `$argon2id$v=19$m=19456,t=2,p=1$…`."""
    async with slots():
        return await asyncio.to_thread(_hasher.hash, password)


async def matches(encoded: str | None, password: str) -> bool:
    """Whether the password is the one, off the event loop, few at a time; `None` costs as much and is never right."""
    async with queue():
        known = encoded if encoded is not None else await asyncio.to_thread(_nobody)
        return await asyncio.to_thread(_verify, known, password[:LONGEST]) and encoded is not None


def _verify(encoded: str, password: str) -> bool:
    try:
        return _hasher.verify(encoded, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    return _hasher.hash(generate())
