"""The role `keeper`: brings what follows from the database or from Caddy (keys, certificates) to the daemons, as root.

Everything else is rendered by `thurn up`. What changes while the installation runs, and lies where only a daemon's own
user may read it, is placed here; then the daemon is told to read it again. It takes no orders from anybody: it looks.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType

import psycopg
import structlog

from thurn.log import configure_logging
from thurn.nodes.watch import Watch
from thurn.settings import Settings
from thurn.stack.clock import Clock, pause
from thurn.stack.files import File, place
from thurn.stack.logrotate import rotate
from thurn.stack.open_sessions import Doorman
from thurn.stack.out_control import tend
from thurn.stack.postfix_out import TRANSPORTS
from thurn.stack.processes import thaw
from thurn.stack.removed import destroy_due
from thurn.stack.supervision import POSTFIX

log = structlog.get_logger()
EVERY = 2.0  # seconds between looks
_GLANCE = 0.2


@dataclass(frozen=True)
class Kept:
    """Files of one source, and how their daemons learn that one changed."""

    wanted: Callable[[Settings], Iterable[File]]
    changed: Callable[[Settings, set[str]], None]


# Modules with `KEPT`: name -> what is kept.
FEATURES: tuple[str, ...] = (
    "thurn.stack.out_lanes",  # first: a suspension should act at once
    "thurn.stack.caddy",
    "thurn.stack.certificates",
    "thurn.stack.postfix_database",
    "thurn.stack.rspamd_dkim",
)
OF_NODE = FEATURES[:1]  # of a further sending machine, which has none of the other daemons


def sources(features: Iterable[str] = FEATURES) -> dict[str, Kept]:
    """Everything that is kept."""
    return {name: kept for module in features for name, kept in import_module(module).KEPT.items()}


def step(settings: Settings, kept: dict[str, Kept]) -> set[str]:
    """Look once; returns the paths that changed. A source in trouble does not keep the others waiting."""
    done: set[str] = set()
    for name, source in kept.items():
        try:
            changed = place(settings.state, source.wanted(settings))
            if changed:
                source.changed(settings, changed)
                log.info("placed", source=name, files=sorted(changed))
            done |= changed
        except (psycopg.Error, OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("cannot place", source=name, error=str(error))
    return done


def tidy(settings: Settings) -> None:
    """What has to be done now and then; trouble is noted and tried again."""
    try:
        rotate(settings)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("cannot rotate the logs", error=str(error))
    try:
        if not settings.joined:
            destroy_due(settings)
    except (psycopg.Error, OSError, subprocess.SubprocessError) as error:
        log.warning("cannot destroy what is due", error=str(error))
    try:
        tend(settings)
    except (psycopg.Error, OSError, subprocess.SubprocessError) as error:
        log.warning("cannot tend the queue of out", error=str(error))


def wait(path: Path, before: int, seconds: float) -> None:
    """Until the next look: after `seconds`, or soon after the file at `path` has changed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and changed_at(path) == before:
        pause(_GLANCE)


def changed_at(path: Path) -> int:
    """When a file was changed; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def main(settings: Settings) -> None:
    """Look again and again until SIGTERM or SIGINT."""
    configure_logging("keeper")
    going = True

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal going
        going = False

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sign = settings.state / "run" / "keeper.alive"
    kept = sources(OF_NODE if settings.joined else FEATURES)
    machines, doorman, clock = Watch(settings), Doorman(settings), Clock(settings)
    frozen: dict[str, dict[int, float]] = {instance: {} for instance in POSTFIX}
    machines.watch()
    # The sender suspends lanes and opens them again in this table, and that should act at once.
    table = settings.state / TRANSPORTS
    while going:
        before = changed_at(table)
        step(settings, kept)
        tidy(settings)
        try:
            doorman.look()
        except (psycopg.Error, OSError, subprocess.SubprocessError) as error:
            log.warning("cannot end sessions", error=str(error))
        clock.look()
        for instance, since in frozen.items():
            thaw(settings.state, instance, since)
        try:
            machines.look()
        except (psycopg.Error, OSError) as error:
            log.warning("cannot tell how this machine is", error=str(error))
        sign.touch()
        wait(table, before, EVERY)
