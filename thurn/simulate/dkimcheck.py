"""Counts signatures with dkimpy, which shares no code with Thurn's signer, by keys looked up in the simulated DNS."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path

import dkim
import dns.exception
import dns.resolver

from thurn.simulate.store import read

_PROCESSES = 2
_CHUNK = 200  # messages a piece of work
_ALGORITHMS = {b"rsa-sha256", b"ed25519-sha256"}


@dataclass(frozen=True, slots=True)
class DkimCount:
    """How many messages were checked and how many passed; a few that did not, with the reason."""

    checked: int
    passed: int
    failures: tuple[tuple[int, str], ...]  # (message id, reason)


@lru_cache(maxsize=4)
def _resolver(port: int) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = port
    resolver.lifetime = 5
    return resolver


@lru_cache(maxsize=256)
def _key(name: bytes, port: int) -> bytes | None:
    try:
        answer = _resolver(port).resolve(name.decode(), "TXT")
    except dns.exception.DNSException:
        return None
    return b"".join(answer[0].strings)


def _aligned(signing: str, author: str) -> bool:
    """Relaxed alignment of RFC 7489, 3.1.1, near enough: the same domain or one below the other."""
    return signing == author or signing.endswith("." + author) or author.endswith("." + signing)


def why_not(message: bytes, dns_port: int) -> str | None:
    """None if there is an RSA and an Ed25519 signature, all of them right and aligned with From; else what is wrong."""

    def lookup(name: bytes, timeout: float = 5) -> bytes | None:
        return _key(name, dns_port)

    try:
        mail = dkim.DKIM(message)
        count = sum(name.lower() == b"dkim-signature" for name, _ in mail.headers)
        senders = [value for name, value in mail.headers if name.lower() == b"from"]
        author = parseaddr(senders[0].decode("utf-8", "replace"))[1].rpartition("@")[2].lower() if senders else ""
        seen = set()
        for index in range(count):
            if not mail.verify(idx=index, dnsfunc=lookup):
                return f"signature {index + 1} of {count} is wrong, or its key is not published"
            seen.add(mail.signature_fields[b"a"])
            if not _aligned(mail.domain.decode("ascii", "replace").lower(), author):
                return f"d={mail.domain.decode('ascii', 'replace')} is not aligned with From: {author}"
    except dkim.DKIMException as error:
        return f"{type(error).__name__}: {error}"
    missing = _ALGORITHMS - seen
    return f"no signature with {b', '.join(sorted(missing)).decode()}" if missing else None


def _check(path: Path, ids: list[int], dns_port: int) -> list[tuple[int, str]]:
    """The failures among these messages. Runs in a process of the pool."""
    failures = []
    db = read(path)
    for number in ids:
        row = db.execute("SELECT data FROM message WHERE id = ?", (number,)).fetchone()
        reason = why_not(row["data"], dns_port)
        if reason is not None:
            failures.append((number, reason))
    db.close()
    return failures


def count_dkim(path: Path, ids: list[int], dns_port: int, sample: int | None = None) -> DkimCount:
    """Check these messages of the store, or every n-th so that about `sample` are checked; in two processes."""
    if sample and len(ids) > sample:
        ids = ids[:: max(1, len(ids) // sample)]
    if len(ids) <= _CHUNK:
        failures = _check(path, ids, dns_port)
    else:
        chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
        context = multiprocessing.get_context("spawn")  # forking a process with threads and a loop is asking for it
        with ProcessPoolExecutor(_PROCESSES, mp_context=context) as pool:
            work = pool.map(_check, [path] * len(chunks), chunks, [dns_port] * len(chunks))
            failures = [failure for part in work for failure in part]
    return DkimCount(len(ids), len(ids) - len(failures), tuple(failures[:20]))
