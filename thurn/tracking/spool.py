"""Tracking hits on disk before they are answered: append-only files that one process writes and the loader reads.

A process has two files: `hits-…` with opens and clicks and `left-…` with unsubscribes, which the loader need not hold
back. A writer holds its file locked, so the loader knows by the lock, which the kernel takes from the dead, that a file
will not grow any more. One line a hit, fields separated by tabs:

    o|c|u  workspace  campaign  delivery  link  milliseconds since 1970  method  prefetch (0|1)  User-Agent

What write(2) has taken survives the process; a line cut off by a full disk is ended by the next one and skipped.
"""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

log = structlog.get_logger()

ROTATE_BYTES = 64 * 1024 * 1024
ROTATE_SECONDS = 3600
AGENT = 256  # bytes of a User-Agent that are kept
_CONTROLS = bytes([*range(32), 127])
_TELL = 10.0  # seconds between complaints about the same trouble

Kind = Literal["hits", "left"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Somebody or something fetched a tracked address."""

    purpose: str  # o open, c click, u unsubscribe
    workspace: int
    campaign: int
    delivery: int
    link: int
    at: float  # seconds since 1970
    method: str
    prefetch: bool  # the client said that nobody looks yet (Sec-Purpose, Purpose, X-Moz)
    agent: str


def directory(state: Path) -> Path:
    """Where the files are."""
    return state / "spool"


def line(purpose: str, who: tuple[int, int, int, int], method: str, prefetch: bool, agent: bytes) -> bytes:
    """A hit that happens now, as a line. `who`: workspace, campaign, delivery, link."""
    return b"%b\t%d\t%d\t%d\t%d\t%d\t%b\t%d\t%b\n" % (
        purpose.encode(),
        *who,
        time.time_ns() // 1_000_000,
        b"HEAD" if method == "HEAD" else b"POST" if method == "POST" else b"GET",
        prefetch,
        agent[:AGENT].translate(None, _CONTROLS),
    )


def parse(raw: bytes) -> Hit | None:
    """The hit of a line (without its end); None if it is none, which only a torn write leaves behind."""
    fields = raw.split(b"\t")
    if len(fields) != 9 or fields[0] not in (b"o", b"c", b"u"):
        return None
    try:
        workspace, campaign, delivery, link, milliseconds = map(int, fields[1:6])
        agent = fields[8].decode("utf-8", "replace")
        return Hit(
            fields[0].decode(),
            workspace,
            campaign,
            delivery,
            link,
            milliseconds / 1000,
            fields[6].decode("ascii"),
            fields[7] == b"1",
            agent,
        )
    except (ValueError, UnicodeDecodeError):
        return None


class Spool:
    """The writing end, for one process. Opens its file with the first hit and a new one when that is big or old."""

    def __init__(self, state: Path, kind: Kind) -> None:
        self._dir = directory(state)
        self._kind = kind
        self._file = -1
        self._size = 0
        self._due = 0.0
        self._torn = False
        self._told = 0.0
        self.lost = 0  # hits that could not be written

    def append(self, data: bytes) -> bool:
        """Write a line; False if the disk did not take it, which is counted and logged, never raised."""
        if self._file < 0 or self._size >= ROTATE_BYTES or time.monotonic() >= self._due:
            try:
                self._open()
            except OSError as error:
                return self._failed(error)
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._file, data)
        except OSError as error:
            return self._failed(error)
        self._size += written
        self._torn = written < len(data)
        return not self._torn or self._failed(OSError("written in part"))

    def close(self) -> None:
        """Let go of the file; the loader will finish it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        path = self._dir / f"{self._kind}-{time.time_ns()}-{os.getpid()}.new"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(path.with_suffix(".log"))  # locked before the loader sees it
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file, self._size, self._torn = file, 0, False
        self._due = time.monotonic() + ROTATE_SECONDS

    def _failed(self, error: OSError) -> bool:
        self.lost += 1
        if time.monotonic() - self._told > _TELL or self.lost == 1:
            self._told = time.monotonic()
            log.error("a tracking hit could not be written", directory=str(self._dir), error=str(error), lost=self.lost)
        return False


def abandoned(path: Path) -> bool:
    """Whether nobody writes this file any more."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
