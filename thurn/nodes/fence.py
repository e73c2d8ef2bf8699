"""Stops this machine's Postfix while nobody can say whether it may still send.

Whoever declares a machine lost relies on the time at which it stops. So this has a thread of its own, which waits for
nobody: `keeper` may hang in a conversation with a database that is behind a cable somebody cut.
"""

import threading
import time
from pathlib import Path

import structlog

from thurn.stack.supervision import Supervisor

log = structlog.get_logger()

CONTACT = "run/ctl/contact"  # when the database was last reached
FENCED = "run/ctl/fenced"  # we have stopped `out`; kept for the keeper that comes after one that was killed
EVERY = 1.0  # seconds between looks
AWAY = "the database cannot be reached"


class Fence:
    """Around `out` of a further machine."""

    def __init__(self, state: Path, patience: int) -> None:
        self._contact, self._mark = state / CONTACT, state / FENCED
        self._patience = patience
        self._supervisor = Supervisor(state)
        self._lock = threading.Lock()
        self._reached = time.monotonic()
        self._why = ""

    def watch(self) -> None:
        """Look from now on, until this process ends."""
        threading.Thread(target=self._go_on, name="fence", daemon=True).start()

    def _go_on(self) -> None:
        while True:
            try:
                self.look()
            except OSError as error:
                log.warning("cannot see whether out may run", error=str(error))
            time.sleep(EVERY)

    def look(self) -> None:
        """Stop `out` if the database was away for too long."""
        with self._lock:
            if self._silent_for() > self._patience:
                self._shut(AWAY)

    def shut(self, why: str) -> None:
        """Stop `out`; what it has stays in its queue. Again and again, in case somebody starts it."""
        with self._lock:
            self._shut(why)

    def _shut(self, why: str) -> None:
        processes = self._supervisor.processes()
        if "out" in processes and processes["out"].state not in ("stopped", "stopping"):
            self._mark.write_text(why)
            self._supervisor.stop("out")
        if why != self._why:
            log.warning("out is stopped, nothing is sent", why=why)
        self._why = why

    def asked(self) -> tuple[float, float]:
        """Now, by both clocks: what is heard of the database was true after this."""
        return time.time(), time.monotonic()

    def reached(self, asked: tuple[float, float]) -> None:
        """The database was reached, and this machine may send: `out` goes on if it was stopped."""
        with self._lock:
            self._contact.write_text(str(asked[0]))
            self._reached = asked[1]
            self._why = ""
            if self._mark.exists():
                log.info("the database can be reached again: out goes on")
                self._supervisor.start("out")
                self._mark.unlink()

    def _silent_for(self) -> float:
        """Seconds, by the clock that says more: one counts while no keeper runs, nobody can set back the other."""
        try:
            since = time.time() - float(self._contact.read_text())
        except (FileNotFoundError, ValueError):
            since = 0.0
        return max(since, time.monotonic() - self._reached)
