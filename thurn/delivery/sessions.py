"""Connections to `out` that may still bring mail in, written down so that a sender's successor can wait for their end.

When a sender is killed, the kernel forgets its connections at once, while the server may still be storing the last mail
it has read. What proves the end of a session is the server's own word: its `disconnect` in the log, or that its process
serves somebody else, or is gone.
"""

import fcntl
import os
import re
from pathlib import Path

from thurn.settings import Settings

Served = tuple[int, int]  # process of the server, port of ours

_EVENT = re.compile(rb"smtpd\[(\d+)\]: (connect|disconnect) from \S+:(\d+)")
WINDOW = 64 * 1024 * 1024  # bytes of log in which to look: half a minute at full speed

# Seconds after which the sender opens a connection anew. A process that takes a connection while Postfix's master
# reloads still counts as waiting for work there, and no other is started as long as that connection lasts: nobody else
# gets in, not even the mail that tells an operator what the reload was for.
RENEWED = 15.0
_LONG = 2000  # lines of connections that have ended before they are dropped


class SessionBook:
    """The file of one node. A line is written before the first byte of mail goes over a connection."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._own: list[Served] = []
        self._over = 0  # lines of the file whose connections have ended
        try:
            lines = [line.split() for line in path.read_text().splitlines()]
        except FileNotFoundError:
            lines = []
        self.former: set[Served] = {(int(line[0]), int(line[1])) for line in lines if len(line) == 2}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def note(self, served: Served) -> None:
        """Write a connection of this life down."""
        self._own.append(served)
        os.write(self._file, _lines([served]))

    def ended(self, served: Served) -> None:
        """The server has said goodbye on a connection of this life: nothing comes over it any more."""
        self._own.remove(served)
        self._over += 1
        if self._over > _LONG:
            self._rewrite()

    def forget_former(self) -> None:
        """The former lives are settled: only this life's connections stay."""
        self.former = set()
        self._rewrite()

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(_lines([*sorted(self.former), *self._own]))
        except OSError:  # the disk is full: the long file says the same
            return
        fresh.replace(self._path)
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._over = 0


def _lines(served: list[Served]) -> bytes:
    return b"".join(b"%d %d\n" % each for each in served)


def still_open(log: Path, sessions: set[Served], size: int) -> set[Served]:
    """Those of `sessions` that the server still serves. `size`: of the log when their end was noticed, in bytes."""
    alive = {each for each in sessions if _is_smtpd(each[0])}
    if not alive:
        return set()
    with log.open("rb") as file:
        file.seek(max(0, size - WINDOW))
        events = _EVENT.findall(file.read())
    last = {int(pid): (what, int(port)) for pid, what, port in events}
    return {(pid, port) for pid, port in alive if last.get(pid, (b"connect", port)) == (b"connect", port)}


def _is_smtpd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "smtpd\n"
    except OSError:
        return False


def alone(settings: Settings) -> object:
    """Hold the node's sender lock for as long as the process lives; waits for a former life to be gone."""
    file = Path(settings.state / "run" / "sender.lock").open("w")  # noqa: SIM115 - held until the process ends
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
