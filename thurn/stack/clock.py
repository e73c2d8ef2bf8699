"""A chore of `keeper`: what waits in Postfix when the clock is set back.

A queue file bears the time of day when its mail is due, and Postfix's daemons keep their timers by the time of day,
too. After a clock that went ahead was set right, both would stand still for as long as it had been wrong: years, where
a machine starts with a dead battery and asks for the time later. The age of a mail is counted by it as well: under the
clock that was ahead a young one seemed old, and was put off for longer than it should have been.
"""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from thurn.settings import Settings
from thurn.stack.supervision import POSTFIX

log = structlog.get_logger()

_STEP = 5.0  # seconds; what NTP slews between two looks is far less, and so is the time that a look takes
_LONGEST = 4000.0  # seconds between two tries: Postfix's maximal_backoff_time, in both instances
_CAUTION = 60.0  # seconds that Postfix, when it starts anew, lets mail lie in `incoming` which an agent still has
_MORE = 1.3  # out_control.py puts mail off by up to a quarter more


def pause(seconds: float) -> None:
    """Do nothing for so long. `time.sleep` fails under libfaketime, with which set clocks are tried."""
    threading.Event().wait(seconds)


class Clock:
    """Looks again and again whether the clock was set back since the last time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Of the time of day before the time since the machine started, when each instance was last put right.
        self._ahead: dict[str, float] = {}

    def look(self) -> None:
        """Bring forward what was due, by as much; what fails is done again at the next look.

        At the first look nothing is known of the clock; what is due later than Postfix ever means is due now.
        """
        ahead = time.time() - time.monotonic()
        for instance in POSTFIX:
            before = self._ahead.get(instance)
            back = 0.0 if before is None else before - ahead
            if before is None or back >= _STEP:
                try:
                    self._put_right(instance, back)
                except (OSError, subprocess.SubprocessError) as error:
                    log.warning("cannot bring forward what is due", instance=instance, error=str(error))
                    continue
            self._ahead[instance] = ahead

    def _put_right(self, instance: str, back: float) -> None:
        if (self._settings.state / instance / "queue").is_dir():
            moved = self._bring_forward(instance, back)
            if back or moved:
                log.warning("the clock was set back", instance=instance, seconds=round(back), mails=moved)
                self._wind_up(instance)

    def _bring_forward(self, instance: str, back: float) -> int:
        """What waits and is due later than now; returns how many mails.

        After a clock set back by so many seconds, what is deferred is due as much sooner, and no later than after a
        first try. What has just come in is due at once: Postfix lets it lie while it seems to come from the future. So
        is, once it is released, what an administrator holds.
        """
        now = time.time()
        first, longest = self._settings.retry_first, max(_LONGEST, self._settings.retry_first)

        def deferred(due: float) -> float:
            if back:
                return min(due - back, now + first * random.uniform(1, _MORE))  # noqa: S311 - no secret
            return due if due <= now + _MORE * longest else now

        queue = self._settings.state / instance / "queue"
        return (
            _move(queue / "incoming", now + _CAUTION + _STEP, lambda _: now)
            + _move(queue / "hold", now + _STEP, lambda _: now)
            + _move(queue / "deferred", now, deferred)
        )

    def _wind_up(self, instance: str) -> None:
        """Have its daemons start their timers anew."""
        etc = f"{self._settings.state}/{instance}/etc"
        subprocess.run(["postfix", "-c", etc, "reload"], cwd="/", capture_output=True, check=False, timeout=60)


def _move(folder: Path, after: float, sooner: Callable[[float], float]) -> int:
    """Give the queue files in `folder` that are due after a time the one that `sooner` says; returns how many."""
    moved = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and (due := path.stat().st_mtime) > after and (at := sooner(due)) < due:
                os.utime(path, (at, at))
                moved += 1
        except FileNotFoundError:  # it has just been taken up
            continue
    return moved
