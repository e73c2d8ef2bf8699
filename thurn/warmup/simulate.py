"""When will so many have gone out? What plans and limits come to, day by day. Pure.

It takes for granted that the answers stay good, that every day is used and that nobody else sends: a forecast, and no
promise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from math import ceil
from types import MappingProxyType

from thurn.warmup.curve import Curve, per_minute

LENGTH = 24 * 60.0  # minutes of a sending day
FURTHEST = 400  # days


@dataclass(frozen=True, slots=True)
class Road:
    """A sending address as it stands with a provider now."""

    egress: str
    per_minute: float  # once it is warm, or the provider's own limit
    caps: Curve = ()  # of today and the days after it; empty: warm
    left: int | None = None  # of today's cap; None: all of it
    holds: int | None = 0  # days that today's cap holds before it grows: paused; None: by hand, nobody knows


@dataclass(frozen=True, slots=True)
class Day:
    """What goes on a day, by sending address."""

    day: date
    sent: Mapping[str, int]

    @property
    def total(self) -> int:
        """By all of them."""
        return sum(self.sent.values())


@dataclass(frozen=True, slots=True)
class Forecast:
    """`until`: when the last one will have gone; None: not within `FURTHEST` days, or never."""

    days: tuple[Day, ...] = ()
    until: datetime | None = None
    left: int = 0

    @property
    def capped(self) -> bool:
        """Whether it takes more than one day."""
        return len(self.days) > 1


@dataclass(slots=True)
class _Today:
    """A day while it is filled."""

    sent: dict[str, int] = field(default_factory=dict)
    minutes: float = 0.0  # until the last one of it


def forecast(n: int, roads: Sequence[Road], now: datetime) -> Forecast:
    """How `n` mails go by these roads from `now` (UTC) on. Addresses that warm up are filled first."""
    days: list[Day] = []
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = (now - midnight).total_seconds() / 60
    for ahead in range(FURTHEST):
        if n <= 0 or not roads:
            break
        begins = midnight + timedelta(days=ahead) if ahead else now
        filled = _fill(n, roads, LENGTH - passed if ahead == 0 else LENGTH)
        n -= sum(filled.sent.values())
        if filled.sent or days:
            days.append(Day(begins.date(), MappingProxyType(filled.sent)))
        if n <= 0:
            return Forecast(tuple(days), begins + timedelta(minutes=filled.minutes))
        roads = [_tomorrow(road) for road in roads]
    return Forecast(tuple(days), now if n <= 0 else None, max(0, n))


def _fill(n: int, roads: Sequence[Road], remains: float) -> _Today:
    today = _Today()
    for road in roads:
        if road.caps:
            left = road.caps[0] if road.left is None else road.left
            rate = min(per_minute(road.caps[0], left, LENGTH, remains), road.per_minute)
            _send(today, road.egress, min(n - sum(today.sent.values()), left, ceil(rate * remains)), rate)
    warm = [road for road in roads if not road.caps]
    speed = sum(road.per_minute for road in warm)
    rest = min(n - sum(today.sent.values()), int(speed * remains))
    for at, road in enumerate(warm):
        share = rest if at == len(warm) - 1 else int(rest * road.per_minute / speed)
        _send(today, road.egress, share, road.per_minute)
        rest -= share
        speed -= road.per_minute
    return today


def _send(today: _Today, egress: str, n: int, rate: float) -> None:
    if n > 0:
        today.sent[egress] = today.sent.get(egress, 0) + n
        today.minutes = max(today.minutes, n / rate)


def _tomorrow(road: Road) -> Road:
    if not road.caps:
        return road
    if road.holds is None or road.holds > 0:
        return replace(road, left=None, holds=road.holds and road.holds - 1)
    return replace(road, caps=road.caps[1:], left=None)


def together(found: Mapping[str, Forecast]) -> list[tuple[date, dict[str, int]]]:
    """A table: each day with how many go to each provider."""
    days: dict[date, dict[str, int]] = {}
    for provider, each in found.items():
        for day in each.days:
            days.setdefault(day.day, {})[provider] = day.total
    return sorted(days.items())
