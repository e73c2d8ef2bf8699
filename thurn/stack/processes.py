"""The processes of one state directory as the kernel sees them: for what a killed supervisor left behind."""

import os
import signal
import time
from pathlib import Path

_DAEMONS = (
    "/usr/lib/postgresql/",
    "/usr/lib/postfix/",
    "/usr/lib/dovecot/",
    "/usr/sbin/dovecot",
    "/usr/bin/redis-",
    "/usr/bin/rspamd",
)


def of_state(state: Path) -> list[int]:
    """Ids of every process that serves `state`: marked by the supervisor, or a daemon whose folder lies inside."""
    mark = f"SUPERVISED_STATE={state}".encode()
    others = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid())
    return [int(entry.name) for entry in others if _serves(entry, state, mark)]


def _serves(process: Path, state: Path, mark: bytes) -> bool:
    try:
        if mark in (process / "environ").read_bytes().split(b"\0"):
            return True
        program = str((process / "exe").readlink())
        folder = (process / "cwd").readlink()
    except OSError:  # it has just ended, or is the kernel's
        return False
    return program.startswith(_DAEMONS) and folder.is_relative_to(state)


def end_all(state: Path, patience: float = 10.0) -> int:
    """Ask what is left of `state` to end, insist after `patience` seconds, and return how many had to be asked."""
    asked = of_state(state)
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGINT, patience), (signal.SIGKILL, 5.0)):
        for pid in of_state(state):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                pass
        if wait_until_gone(state, seconds):
            break
    return len(asked)


def wait_until_gone(state: Path, seconds: float) -> bool:
    """Whether no process of `state` is left, after at most `seconds`."""
    deadline = time.monotonic() + seconds
    while of_state(state):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
