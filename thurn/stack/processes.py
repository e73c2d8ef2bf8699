"""The processes of one state directory as the kernel sees them: for what a killed supervisor left behind."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_RSPAMD = ("/usr/bin/rspamd",)
_DAEMONS = (
    *("/usr/lib/postgresql/", "/usr/lib/postfix/", "/usr/lib/dovecot/", "/usr/sbin/dovecot", "/usr/bin/redis-"),
    *("/usr/bin/caddy", "/usr/sbin/php-fpm"),
    *_RSPAMD,
)


GROUPS = "run/ctl/groups"  # a line for each start of a role: role, process group, start time of its leader


@dataclass(frozen=True, slots=True)
class _Stat:
    """What anybody may read of a process, also in a container without the right to trace."""

    parent: int
    group: int
    started: str  # clock ticks since boot
    still: bool  # by SIGSTOP


def of_state(state: Path) -> list[int]:
    """Ids of every process that serves `state`.

    Those in a process group that the supervisor started, their children, and, where this process may look closer,
    those marked by the supervisor and daemons whose folder lies inside.
    """
    processes = _processes()
    groups = _groups(state, processes)
    mark = f"SUPERVISED_STATE={state}".encode()
    found = {pid for pid, stat in processes.items() if stat.group in groups or _serves(pid, state, mark)}
    while more := {pid for pid, stat in processes.items() if stat.parent in found and pid not in found}:
        found |= more
    return sorted(found - {os.getpid()})


def _processes() -> dict[int, _Stat]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if fields[0] != "Z":
                found[int(entry.name)] = _Stat(int(fields[1]), int(fields[2]), fields[19], fields[0] == "T")
    return found


def _groups(state: Path, processes: dict[int, _Stat], role: str | None = None) -> set[int]:
    """Process groups that roles of `state` were started in, and that are still theirs.

    A number is given anew only when its whole group is gone, and then it is somebody who started at another time.
    """
    try:
        lines = (state / GROUPS).read_text().splitlines()
    except OSError:  # nothing was started yet, or we may not look
        return set()
    started = {
        int(group): (name, start) for name, group, start in (line.split() for line in lines if line.count(" ") == 2)
    }
    return {
        group
        for group, (name, start) in started.items()
        if role in (None, name) and (group not in processes or processes[group].started == start)
    }


def _serves(pid: int, state: Path, mark: bytes) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        if mark in (process / "environ").read_bytes().split(b"\0"):
            return True
        return _is_daemon(process, _DAEMONS, state)
    except OSError:  # it has just ended, is the kernel's, or is not ours to look at
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
    processes = _processes()
    groups = _groups(Path(state), processes, role) - {os.getpgrp()}
    for pid, stat in processes.items():
        if pid == os.getpid():
            continue
        process = Path(f"/proc/{pid}")
        try:
            ours = stat.group in groups or marks <= set((process / "environ").read_bytes().split(b"\0"))
            # A process that renamed itself has written over its environment.
            ours = ours or (role == "spam" and _is_daemon(process, _RSPAMD, Path(state) / "rspamd"))
            if ours:
                os.kill(pid, signal.SIGKILL)
        except OSError:  # it has just ended, or is not ours to look at
            continue


_POSTFIX = "/usr/lib/postfix/"
_AGENTS = ("smtp", "lmtp")


def wait_for_agents(state: Path, seconds: float = 10.0) -> None:
    """Let Postfix's agents end whose master was killed, for at most `seconds`.

    They finish the mail at hand, note what the receiver said, and end. One that is ended between the receiver's answer
    and its note would have the mail delivered again (RFC 1047); one whose log service is gone could tell nobody.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = {_of_postfix(pid) for pid in of_state(state)}
        if "master" in running or not running.intersection(_AGENTS):
            return
        time.sleep(0.1)


def thaw(state: Path, role: str, since: dict[int, float], patience: float = 15.0) -> None:
    """Have a queue manager go on that stands still for longer than an orderly stop takes: who stopped it was killed.

    `since` keeps between looks when (monotonic seconds) each was first seen standing still.
    """
    processes = _processes()
    groups = _groups(state, processes, role)
    still = {
        pid for pid, stat in processes.items() if stat.group in groups and stat.still and _of_postfix(pid) == "qmgr"
    }
    for pid in set(since) - still:
        del since[pid]
    for pid in still:
        if time.monotonic() - since.setdefault(pid, time.monotonic()) > patience:
            _signal(pid, signal.SIGCONT)


def settle(state: Path, role: str, seconds: float = 2.0) -> None:
    """Have a Postfix instance begin no delivery any more, and wait until those under way are over, so long at most.

    Before its end: see `wait_for_agents`. The queue manager stands still and hands out nothing; it has to be ended.
    """
    processes = _processes()
    groups = _groups(state, processes, role)
    running = {pid: _of_postfix(pid) for pid, stat in processes.items() if stat.group in groups}
    for pid, name in running.items():
        if name == "qmgr":
            _signal(pid, signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(_speaks(pid) for pid, name in running.items() if name in _AGENTS):
        time.sleep(0.02)


def _speaks(pid: int) -> bool:
    """Whether it has a connection open, also where it lies in another network."""
    found = set()
    try:
        for table in ("tcp", "tcp6"):
            rows = (line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:])
            found |= {f"socket:[{row[9]}]" for row in rows}
        return any(str(entry.readlink()) in found for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has ended, a connection just closed, or it is not ours to look at
        return Path(f"/proc/{pid}").exists()


def finish(state: Path, role: str, seconds: float = 10.0) -> None:
    """End what is left of a Postfix instance whose master has ended: its agents by themselves, the others at once."""
    begun = time.monotonic()
    while left := _left(state, role):
        waited = time.monotonic() - begun
        agents = {pid for pid in left if _of_postfix(pid) in _AGENTS} if waited < seconds else set()
        for pid in set(left) - agents:
            _signal(pid, signal.SIGTERM if waited < seconds + 1 else signal.SIGKILL)
            _signal(pid, signal.SIGCONT)
        if waited > seconds + 5:
            return
        time.sleep(0.02)


def _left(state: Path, role: str) -> list[int]:
    processes = _processes()
    groups = _groups(state, processes, role)
    return [pid for pid, stat in processes.items() if stat.group in groups]


def _signal(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        pass


def _of_postfix(pid: int) -> str:
    """Which of Postfix's programs it runs, by its short name; empty if none.

    In a container without the right to trace nobody may see the program of another user's process. Its short name
    everybody may; Dovecot's `lmtp` passes for Postfix's then, which costs at most a wait.
    """
    process = Path(f"/proc/{pid}")
    try:
        program = str((process / "exe").readlink())
    except PermissionError:
        return _short_name(process)
    except OSError:  # it has just ended
        return ""
    return program.rpartition("/")[2] if program.startswith(_POSTFIX) else ""


def _short_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:  # it has just ended
        return ""


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
            (state / GROUPS).unlink(missing_ok=True)
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
