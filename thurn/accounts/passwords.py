"""Passwords: argon2id with the low-memory profile of RFC 9106 (section 4: 64 MiB, 3 passes, 4 lanes)."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from thurn.problems import Busy

SHORTEST = 10  # characters
LONGEST = 1024

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_running: dict[int, asyncio.Semaphore] = {}  # per event loop: how many hashes at a time, so that memory stays bounded
_AT_A_TIME = 2
# Each of those who wait holds a connection to the database: the rest of the pages must still get one.
_WAITING = 3
_waiting = 0


def generate() -> str:
    """A password nobody has to remember: 20 characters, about 119 bits."""
    alphabet = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(alphabet) for _ in range(20))


def hash_now(password: str) -> str:
    """The hash in PHC format (`$argon2id$…`). Takes about 0.1 s and 64 MiB; see `make_hash` in async code."""
    return _hasher.hash(password)


def _matches(encoded: str, password: str) -> bool:
    try:
        return _hasher.verify(encoded, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def slots() -> asyncio.Semaphore:
    """What a check of any password waits for: so many at a time in this process."""
    loop = id(asyncio.get_running_loop())
    if loop not in _running:
        _running.clear()  # an earlier loop is gone: one process has one
        _running[loop] = asyncio.Semaphore(_AT_A_TIME)
    return _running[loop]


async def make_hash(password: str) -> str:
    """`hash_now` off the event loop."""
    async with slots():
        return await asyncio.to_thread(hash_now, password)


@asynccontextmanager
async def queue() -> AsyncIterator[None]:
    """What a stranger's password waits for: a slot, or `Busy` when others wait already."""
    global _waiting
    free = slots()
    if free.locked() and _waiting >= _WAITING:
        raise Busy("Many people are signing in right now. Try again in a moment.")
    _waiting += 1
    try:
        await free.acquire()
    finally:
        _waiting -= 1
    try:
        yield
    finally:
        free.release()


async def matches(encoded: str | None, password: str) -> bool:
    """Whether the password is the one; `None` (no such account) costs the same time and is never right. Or `Busy`."""
    async with queue():
        if encoded is None:
            encoded = await asyncio.to_thread(_nobody)
            await asyncio.to_thread(_matches, encoded, password)
            return False
        return await asyncio.to_thread(_matches, encoded, password)


@cache  # made when first needed: it takes 0.1 s
def _nobody() -> str:
    return hash_now(secrets.token_urlsafe(32))
