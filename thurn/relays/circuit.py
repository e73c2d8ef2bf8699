"""The circuit breaker of a relay: after failures in a row nothing goes to it for a while, longer each time. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FAILURES = 2  # tries in a row, before it is open: one may be a restart over there
FIRST, LONGEST = timedelta(minutes=2), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed: mail flows. Open until `broken_until`; after that a try decides."""

    failures: int = 0
    broken_until: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether nothing goes to it now. It stays open until a try succeeded, not until the time is over."""
        return self.broken_until is not None

    def due(self, now: datetime) -> bool:
        """Whether it is time to try it again."""
        return self.broken_until is not None and self.broken_until <= now


def tried(circuit: Circuit, *, works: bool, lasting: bool, now: datetime) -> Circuit:
    """The circuit after a try. `lasting`: the password or certificate is wrong, so that a second try is no better."""
    if works:
        return Circuit()
    failures = circuit.failures + 1
    if failures < FAILURES and not lasting:
        return Circuit(failures, circuit.broken_until)
    pause = min(LONGEST, FIRST * 2 ** min(16, max(0, failures - FAILURES)))
    return Circuit(failures, now + pause)
