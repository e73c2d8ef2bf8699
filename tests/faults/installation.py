"""An installation to be harmed: the roles that send, and receivers that stand outside of it and are never killed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from thurn.settings import Settings
from thurn.simulate import client
from thurn.stack.control import down, start_stack, wait_until_healthy
from thurn.stack.supervision import Supervisor

ROLES = ["db", "keeper", "out", "feedback", "web", "worker", "sender"]
DISK = "1200m"  # of an installation whose disk is going to be full
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_TOML = 'hostname = "mail.house.example"\nsimulate = true\nretry_first = 5\n'


@contextmanager
def installation(kind: str = "plain", toml: str = "", roles: Sequence[str] = ROLES) -> Iterator[Settings]:
    """`plain`, `disk` (a file system of its own, to be filled), or `clock` (its clock is what `set_clock` says)."""
    state = Path(tempfile.mkdtemp(prefix="tf-", dir="/tmp"))
    state.chmod(0o755)
    with ExitStack() as after:
        after.callback(shutil.rmtree, state, ignore_errors=True)
        if kind == "disk":
            _mount("-t", "tmpfs", "-o", f"size={DISK},mode=0755", "tmpfs", str(state))
            after.callback(subprocess.run, ["umount", "--lazy", state], check=True)
        (state / "thurn.toml").write_text(_TOML + toml)
        if kind == "clock":
            after.enter_context(_own_clock(state))
        after.callback(down, state)
        settings = start_stack(state, list(roles))
        if kind == "clock":
            _let_postfix_see_the_clock(settings)
        after.enter_context(_receivers(settings, kind == "disk"))
        yield settings


@contextmanager
def _receivers(settings: Settings, elsewhere: bool) -> Iterator[None]:
    """The simulated internet in a process that no supervisor knows; `elsewhere`: its store on another disk."""
    outside = Path(tempfile.mkdtemp(prefix="tr-", dir="/tmp"))
    sim = settings.state / "sim"
    if elsewhere:
        _mount("--bind", str(outside), str(sim))
    clean = {name: value for name, value in os.environ.items() if "FAKETIME" not in name and name != "LD_PRELOAD"}
    process = subprocess.Popen(
        [sys.executable, "-m", "thurn.stack.run", "simulate", str(settings.state)],
        env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    (settings.state / "run" / "receivers.pid").write_text(str(process.pid))
    try:
        _wait_for(settings)
        yield
    finally:
        process.terminate()
        process.wait()
        if elsewhere:
            subprocess.run(["umount", "--lazy", sim], check=True)
        shutil.rmtree(outside, ignore_errors=True)


def _wait_for(settings: Settings) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            client.status(settings)
            return
        except client.ControlError:
            assert time.monotonic() < end, "the simulated receivers do not come up"
            time.sleep(0.1)


def receivers(settings: Settings) -> int:
    """Process id of the receivers."""
    return int((settings.state / "run" / "receivers.pid").read_text())


def main_processes(state: Path) -> list[int]:
    """Main processes of the roles, from the kernel: the supervisor is stopped and answers nobody."""
    groups = dict[str, tuple[int, str]]()
    for line in (state / "run/ctl/groups").read_text().splitlines():
        role, group, started = line.split()
        groups[role] = int(group), started
    return [pid for pid, started in groups.values() if _started(pid) == started]


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


# ---------------------------------------------------------------- a clock of its own


@contextmanager
def _own_clock(state: Path) -> Iterator[None]:
    """Everything started from here on asks libfaketime for the time; timers run on, as they do when a clock is set."""
    before = dict(os.environ)
    os.environ |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(state / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
        "NO_FAKE_STAT": "1",
    }
    set_clock(state, 0)
    # libfaketime shares memory that its first process makes, and removes at its end; here daemons of several users do.
    first = subprocess.Popen(["sleep", "infinity"])
    shared = [Path(f"/dev/shm/sem.faketime_sem_{first.pid}"), Path(f"/dev/shm/faketime_shm_{first.pid}")]
    end = time.monotonic() + 60
    while not all(path.exists() for path in shared):
        assert time.monotonic() < end, "libfaketime does not start"
        time.sleep(0.01)
    for path in shared:
        path.chmod(0o666)
    os.environ["FAKETIME_SHARED"] = f"/faketime_sem_{first.pid} /faketime_shm_{first.pid}"
    try:
        yield
    finally:
        first.terminate()
        first.wait()
        os.environ.clear()
        os.environ.update(before)


def set_clock(state: Path, seconds: int) -> None:
    """Step the installation's clock to `seconds` beside the machine's."""
    fresh = state / "clock.new"
    fresh.write_text(f"{seconds:+d}s\n")
    fresh.chmod(0o644)
    fresh.replace(state / "clock")
    with (state / "clock.steps").open("a") as steps:
        steps.write(f"{time.time()} {seconds}\n")


def stamp_as_the_kernel_would(settings: Settings) -> None:
    """Give queue files that were written to while the clock stood back a time by that clock.

    The kernel knows the machine's clock only, so such a file seems to come from the future. What was written while the
    clock was ahead does so rightly, and is left to Thurn.
    """
    lines = (line.split() for line in (settings.state / "clock.steps").read_text().splitlines())
    steps = [(float(at), int(offset)) for at, offset in lines]
    queue = settings.state / "out" / "queue"
    stamped = False
    for path in (queue / "incoming").rglob("*") if steps[-1][1] < 0 else ():
        with suppress(FileNotFoundError):  # it has been taken up
            written = path.stat().st_mtime
            offset = next((offset for at, offset in reversed(steps) if at <= written), 0)
            if path.is_file() and offset < 0 and written <= time.time():
                os.utime(path, (written + offset, written + offset))
                stamped = True
    if stamped:
        with socket.socket(socket.AF_UNIX) as qmgr:
            qmgr.connect(str(queue / "public" / "qmgr"))
            qmgr.sendall(b"I")  # qmgr(8): look into the incoming queue


def _let_postfix_see_the_clock(settings: Settings) -> None:
    """Postfix gives its processes a clean environment, save what it is told to keep when its master starts."""
    names = ["LD_PRELOAD", *(name for name in os.environ if "FAKE" in name)]
    kept = " ".join(f"{{{name}={os.environ[name]}}}" for name in names)
    etc = settings.state / "out" / "etc"
    subprocess.run(["postconf", "-c", etc, "-e", f"import_environment = MAIL_CONFIG TZ LANG=C {kept}"], check=True)
    supervisor = Supervisor(settings.state)
    supervisor.stop("out")
    _until("Postfix ends", lambda: supervisor.processes()["out"].state == "stopped")
    supervisor.start("out")
    wait_until_healthy(settings, supervisor, ["out"])
    _until("its queue manager has the clock", lambda: FAKETIME.name in _maps_of_qmgr(settings.state))


def _maps_of_qmgr(state: Path) -> str:
    """What the queue manager of `out` has loaded; nothing while there is none."""
    queue = str(state / "out" / "queue")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "comm").read_text() == "qmgr\n" and os.readlink(process / "cwd") == queue:
                return (process / "maps").read_text()
    return ""


def _until(what: str, true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"not within a minute: {what}"
        time.sleep(0.05)
