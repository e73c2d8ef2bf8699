"""The processes of one state directory as the kernel sees them: for what a killed supervisor left behind."""

import os
import signal
import time
from pathlib import Path

_RSPAMD = ("/usr/bin/rspamd",)
_DAEMONS = (
    *("/usr/lib/postgresql/", "/usr/lib/postfix/", "/usr/lib/dovecot/", "/usr/sbin/dovecot", "/usr/bin/redis-"),
    *_RSPAMD,
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
        return _is_daemon(process, _DAEMONS, state)
    except OSError:  # it has just ended, or is the kernel's
        return False


def _is_daemon(process: Path, programs: tuple[str, ...], state: Path) -> bool:
    """Whether it runs one of these programs somewhere in `state`; OSError when it is gone."""
    return str((process / "exe").readlink()).startswith(programs) and (process / "cwd").readlink().is_relative_to(state)


def end_predecessors() -> None:
    """Kill what an earlier life of the calling role has left; the supervisor's environment says which role that is.

    For roles whose main process, when it is killed, leaves workers behind that hold its ports. Not for Postfix: its
    agents end by themselves, and one killed between the receiver's answer and its own note would deliver twice.
    """
    state, role = os.environ.get("SUPERVISED_STATE"), os.environ.get("SUPERVISED_ROLE", "")
    if not state:
        return
    marks = {f"SUPERVISED_STATE={state}".encode(), f"SUPERVISED_ROLE={role}".encode()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            ours = marks <= set((entry / "environ").read_bytes().split(b"\0"))
            # A process that renamed itself has written over its environment.
            ours = ours or (role == "spam" and _is_daemon(entry, _RSPAMD, Path(state) / "rspamd"))
            if ours:
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:  # it has just ended, or is not ours to look at
            continue


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
