"""Curves: how many mails may go on which day, and how a day's mails are spread over it. Pure."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil
from pathlib import Path
from types import MappingProxyType

from thurn.problems import Invalid

Curve = tuple[int, ...]

LONGEST = 120  # days
MOST = 10_000_000  # mails on a day
SPREAD = 3  # a cap is spread over a third of the day: eight hours …
SHORTEST = 24  # … and never pressed into less than a 24th of it, when the day is nearly over

_FACTOR = re.compile(r"(\d{1,8})\s*[x×*]\s*(\d{1,2}(?:\.\d{1,3})?)\s*(?:to|\.\.|-)\s*(\d{1,8})$")


@dataclass(frozen=True, slots=True)
class Preset:
    """An entry of curves.toml."""

    start: int
    factor: float
    most: int
    source: str

    @property
    def curve(self) -> Curve:
        """As caps, one a day."""
        return of_factor(self.start, self.factor, self.most)

    def in_words(self) -> str:
        """As `parse` takes it."""
        return f"{self.start} x {self.factor:g} to {self.most}"


@cache
def presets() -> Mapping[str, Preset]:
    """What is suggested, by provider; `default` for those that are not named."""
    entries = tomllib.loads((Path(__file__).parent / "curves.toml").read_text())
    return MappingProxyType({name: Preset(**entry) for name, entry in entries.items()})


def preset(provider: str) -> Preset:
    """What is suggested for a provider."""
    return presets().get(provider) or presets()["default"]


def of_factor(start: int, factor: float, most: int) -> Curve:
    """`start` on the first day, each day `factor` times the day before, up to and with `most`; rounded to read well."""
    if not 1 <= start <= most <= MOST:
        raise Invalid("curve", f"A curve goes from 1 or more up to {MOST:,} mails a day at most.")
    if not 1.05 <= factor <= 5:
        raise Invalid("curve", "Each day is between 1.05 and 5 times the day before.")
    caps, exact = [start], float(start)
    while caps[-1] < most:
        exact *= factor
        caps.append(min(most, max(caps[-1] + 1, _round(exact))))
        if len(caps) > LONGEST:
            raise Invalid("curve", f"This curve takes more than {LONGEST} days. Let it grow faster, or end it sooner.")
    return tuple(caps)


def _round(n: float) -> int:
    """To two digits: 137 is 140, 19,208 is 19,000."""
    scale = 10 ** max(0, len(str(int(n))) - 2)
    return int(round(n / scale) * scale)


def parse(text: str) -> Curve:
    """A curve as somebody types it: `50 x 1.4 to 100000`, or a cap for each day: `50, 100, 200`. Raises `Invalid`."""
    text = text.strip()
    if (found := _FACTOR.match(text.replace(",", ""))) is not None:
        return of_factor(int(found[1]), float(found[2]), int(found[3]))
    caps = [part for part in re.split(r"[\s,;]+", text) if part]
    if not caps:
        raise Invalid("curve", "Give a number of mails for each day, for example 50, 100, 200.")
    if len(caps) > LONGEST:
        raise Invalid("curve", f"A curve has {LONGEST} days at most.")
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in caps):
        raise Invalid(
            "curve", "Give whole numbers, one for each day, without points: 50, 100, 200. Or 50 x 1.4 to 100000."
        )
    return checked(tuple(int(part) for part in caps))


def checked(curve: Curve) -> Curve:
    """A curve that can be; raises `Invalid`."""
    if not 1 <= len(curve) <= LONGEST:
        raise Invalid("curve", f"A curve has 1 to {LONGEST} days.")
    if not all(1 <= cap <= MOST for cap in curve):
        raise Invalid("curve", f"On each day between 1 and {MOST:,} mails.")
    if any(later < earlier for earlier, later in pairwise(curve)):
        raise Invalid("curve", "A day is never smaller than the one before it. Thurn goes back by itself when it must.")
    return curve


def per_minute(cap: int, left: int, length: float, remains: float) -> float:
    """Mails a minute, so that a cap is no burst: spread over eight hours, faster when less of the day is left.

    `length` of the sending day and what `remains` of it are in minutes.
    """
    pressed = left / max(remains, length / SHORTEST)
    return max(cap / (length / SPREAD), pressed)


def reachable(left: int, rate: float, remains: float) -> int:
    """How many of those that are left will go in what remains of the day."""
    return min(left, ceil(rate * remains))
