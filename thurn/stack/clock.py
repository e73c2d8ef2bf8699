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

import structlog

from thurn.settings import Settings
from thurn.stack.supervision import POSTFIX

log = structlog.get_logger()

_STEP = 5.0  # seconds; what NTP slews between two looks is far less
_LONGEST = 4000.0  # seconds between two tries: Postfix's maximal_backoff_time, in both instances
_MORE = 1.3  # out_control.py puts mail off by up to a quarter more


def pause(seconds: float) -> None:
    """Do nothing for so long. `time.sleep` fails under libfaketime, with which set clocks are tried."""
    threading.Event().wait(seconds)


class Clock:
    """Looks again and again whether the clock was set back since the last time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ahead: float | None = None  # of the time of day before the time since the machine started

    def look(self) -> None:
        """Bring forward what was due, by as much. Raises OSError or subprocess.SubprocessError.

        At the first look nothing is known of the clock; what is due later than Postfix ever means is due now.
        """
        ahead = time.time() - time.monotonic()
        before, self._ahead = self._ahead, ahead
        back = 0.0 if before is None else before - ahead
        if before is not None and back < _STEP:
            return
        for instance in POSTFIX:
            if (self._settings.state / instance / "queue").is_dir():
                moved = self._bring_forward(instance, back)
                if back or moved:
                    log.warning("the clock was set back", instance=instance, seconds=round(back), mails=moved)
                    self._wind_up(instance)

    def _bring_forward(self, instance: str, back: float) -> int:
        """What is deferred; returns how many mails.

        After a clock set back by so many seconds each is due as much sooner, and no later than after a first try.
        """
        moved = 0
        now = time.time()
        first, longest = self._settings.retry_first, max(_LONGEST, self._settings.retry_first)
        for path in (self._settings.state / instance / "queue" / "deferred").rglob("*"):
            try:
                if not path.is_file() or (due := path.stat().st_mtime) <= now:
                    continue
                if back:
                    sooner = min(due - back, now + first * random.uniform(1, _MORE))  # noqa: S311
                else:
                    sooner = due if due <= now + _MORE * longest else now
                if sooner < due:
                    os.utime(path, (sooner, sooner))
                    moved += 1
            except FileNotFoundError:  # it has just been taken up
                continue
        return moved

    def _wind_up(self, instance: str) -> None:
        """Have its daemons start their timers anew."""
        etc = f"{self._settings.state}/{instance}/etc"
        subprocess.run(["postfix", "-c", etc, "reload"], cwd="/", capture_output=True, check=False, timeout=60)
