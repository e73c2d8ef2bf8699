"""Following a Postfix log to the end and past its rotations: where a reader stands, and what comes next.

A rotated log keeps its name with a time behind it (`mx.mail.log.20261124-031500`), so that names sort by age. Where the
reader stands is its own to keep: whoever commits it together with what was read counts each line once.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import structlog

from thurn.db.connect import Connection, connect
from thurn.settings import Settings

log = structlog.get_logger()

CHUNK = 512 * 1024  # bytes read at once
_PAUSE = 0.2  # seconds between looks: most mails come and go in one, and need not be remembered between two
_SETTLE = 1.0  # seconds a rotated log must have been quiet: until its writer has let go of it, more may come


class Tail:
    """A place in a log: the file, by its inode, and the byte in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.inode = 0
        self.position = 0

    def read(self) -> bytes | None:
        """The next complete lines, or None. The caller adds their length to `position` once it has dealt with them."""
        try:
            current = self._path.stat()
        except FileNotFoundError:  # nothing was logged yet, or it is being rotated
            return None
        path = self._path
        if self.inode and current.st_ino != self.inode:
            try:
                path = self._next(current.st_ino)
            except FileNotFoundError:  # renamed or removed under our eyes
                return None
        elif self.position > current.st_size:  # truncated in place
            self.position = 0
        self.inode = self.inode or current.st_ino
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino != self.inode:  # rotated under our eyes
                return None
            file.seek(self.position)
            data = file.read(CHUNK)
        end = data.rfind(b"\n") + 1
        if not end and data and (len(data) == CHUNK or (path != self._path and _settled(path))):
            return data  # a line cut off by a full disk or a crash: its end will never come
        return data[:end] or None

    def recognise(self, head: str) -> None:
        """On a copied disk files have other inodes: find the file we were in by how it begins."""
        files = logs(self._path)
        if not head or any(_inode(file) == self.inode for file in files):
            return
        for file in files:
            if file.exists() and begins(file) == head and file.stat().st_size >= self.position:
                log.info("the log is a copy", file=str(file), inode=self.inode)
                self.inode = _inode(file)
                return

    def head(self) -> str:
        """How the file we are in begins, for `recognise`; empty while there is nothing to tell it by."""
        for file in logs(self._path):
            if self.position and _inode(file) == self.inode:
                return begins(file)
        return ""

    def _next(self, current: int) -> Path:
        """The rotated file to read from; one that has been read to its end is left for the one after it."""
        files = logs(self._path)
        inodes = [file.stat().st_ino for file in files]
        if self.inode not in inodes:
            self.inode, self.position = current, 0
            return self._path
        place = inodes.index(self.inode)
        file = files[place]
        if file != self._path and self.position >= file.stat().st_size and _settled(file):
            file = files[place + 1]
            self.inode, self.position = inodes[place + 1], 0
        return file


def begins(path: Path) -> str:
    """A hash of the first line, which names time, process and mail; empty if there is none yet."""
    with path.open("rb") as file:
        line = file.readline(CHUNK)
    return hashlib.sha256(line).hexdigest() if line.endswith(b"\n") else ""


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:  # it is being rotated
        return 0


def logs(path: Path) -> list[Path]:
    """The log and what was rotated away from it, oldest first."""
    return [*sorted(path.parent.glob(f"{path.name}.*")), path]


def behind(path: Path, reader: int, inode: int) -> bool:
    """Whether a reader in the file `reader` has left the file `inode` behind (both are inodes)."""
    inodes = [file.stat().st_ino for file in logs(path)]
    if inode not in inodes:  # kept no longer
        return True
    return reader in inodes and inodes.index(reader) > inodes.index(inode)


def _settled(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _SETTLE


async def follow(
    settings: Settings, load: Callable[[Connection], Awaitable[None]], step: Callable[[Connection], Awaitable[int]]
) -> None:
    """Call `step` for ever, after `load` on each new connection; a lost database connection is waited out.

    `step` commits its place together with what it has read, and says how many bytes that were.
    """
    while True:
        try:
            async with await connect(settings, "system", repeatable=True) as db:
                await load(db)
                while True:
                    if await step(db) < CHUNK // 2:
                        await asyncio.sleep(_PAUSE)
        except psycopg.OperationalError as error:
            log.warning("database lost, waiting", error=str(error))
            await asyncio.sleep(1)
