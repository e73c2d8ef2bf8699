"""How many mails of which campaign may leave by which egress now: pure, and the only place that decides it.

A lane is an egress at a provider. What it may take is the least of: its token bucket (limit of the provider x pace of
shaping), the room left in Postfix (it holds minutes, never campaigns), what is left of the day's cap; and for each
campaign its own speed limit. Campaigns that want the same lane share it in turn, workspace by workspace.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")
LaneKey = tuple[int, str]  # egress, provider

BURST = 5.0  # seconds of a rate that may leave at once
HELD = 2.0  # minutes of work that Postfix may hold for a lane
LEAST, MOST = 200, 5000  # mails in Postfix for a lane without a limit, however slow or fast it is
PORTION = 10  # mails dealt at a time


@dataclass(frozen=True, slots=True)
class Wish:
    """A campaign has mail for a provider, and these egresses (with their weights) may carry it."""

    workspace: int
    campaign: int
    provider: str
    pool: tuple[tuple[int, int], ...]
    speed: float | None = None  # mails a minute, of the campaign
    weight: int = 1  # turns in a row, before the next campaign of its workspace has its own


@dataclass(frozen=True, slots=True)
class Member:
    """An egress in a pool. Lower ranks first; the next only while none of the lower can take mail."""

    egress: int
    weight: int
    rank: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """Which mail a rule is about; what is None does not matter."""

    stream: str
    workspace: int | None = None
    campaign: int | None = None
    domain: int | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """What is known of a lane now."""

    rate: float | None = None  # mails a minute; None: no limit
    nominal: float = 600.0  # mails a minute that a pace is a part of where there is no limit
    factor: float = 1.0
    suspended: bool = False
    in_flight: int = 0  # in Postfix, and not yet tried
    answered: float = 0.0  # mails a minute that got an answer lately
    cap_left: int | None = None  # of today; None: no cap
    spread: float | None = None  # mails a minute over which a warm-up spreads its cap; None: it is warm
    waits: bool = False  # what its cap holds back waits: no later rank takes it
    reserved: int = 0  # mails that warm egresses leave to it

    @property
    def pace(self) -> float | None:
        """Mails a minute now; None: as fast as it goes.

        A slowed lane without a limit keeps to a part of a fixed figure: a part of what it did lately would shrink by
        itself.
        """
        rates = [rate for rate in (self.rate, self.spread) if rate is not None]
        if rates:
            return min(rates) * self.factor
        return None if self.factor >= 1 else self.nominal * self.factor

    @property
    def room(self) -> int:
        """How many more Postfix may hold."""
        pace = self.pace
        if pace is not None:
            return max(0, min(MOST, max(PORTION, ceil(pace * HELD))) - self.in_flight)
        return max(0, min(MOST, max(LEAST, ceil(self.answered * HELD))) - self.in_flight)


@dataclass(frozen=True, slots=True)
class Grant:
    """`n` mails of a wish may leave by an egress."""

    wish: Wish
    egress: int
    n: int


@dataclass(slots=True)
class Buckets:
    """Token buckets by any key; a new one is full. Time is monotonic, in seconds."""

    _state: dict[object, tuple[float, float]] = field(default_factory=dict)

    def free(self, key: object, per_minute: float | None, now: float) -> int | None:
        """Whole tokens there are now; None: as many as you like."""
        if per_minute is None:
            self._state.pop(key, None)
            return None
        most = max(1.0, per_minute * BURST / 60) if per_minute > 0 else 0.0
        tokens, at = self._state.get(key, (most, now))
        tokens = min(most, tokens + max(0.0, now - at) * per_minute / 60)
        self._state[key] = tokens, max(at, now)
        return floor(tokens + 1e-9)

    def take(self, key: object, n: int) -> None:
        """Take tokens; a key without a limit has none to take. A negative `n` gives back."""
        if key in self._state:
            tokens, at = self._state[key]
            self._state[key] = tokens - n, at

    def forget(self, kept: Iterable[object]) -> None:
        """Drop the buckets of keys that are not among `kept`."""
        wanted = set(kept)
        self._state = {key: value for key, value in self._state.items() if key in wanted}


def divide(speed: float, members: Mapping[int, tuple[int, float | None]]) -> dict[int, float]:
    """A speed among egresses, by weight; what one cannot do of its part (its own most, if any) goes to the others.

    The parts always add up to the speed: what nobody can do is nobody's loss, and dealt out by weight, too.
    """
    parts = dict.fromkeys(members, 0.0)
    free, left = dict(members), speed
    while free:
        each = left / sum(weight for weight, _ in free.values())
        tight = {name: most for name, (weight, most) in free.items() if most is not None and most < weight * each}
        if not tight:
            break
        for name, most in tight.items():
            parts[name] = most
            left -= most
            del free[name]
    rest = free or members
    for name, (weight, _) in rest.items():
        parts[name] += left * weight / sum(other for other, _ in rest.values())
    return parts


def allot(
    wishes: Sequence[Wish],
    lanes: Mapping[LaneKey, Lane],
    buckets: Buckets,
    now: float,
    *,
    batch: int,
    most: int = 1_000_000,
    turn: int = 0,
    rates: Mapping[int, float] = MappingProxyType({}),
) -> list[Grant]:
    """Who may claim how many: at most `batch` for each wish and `most` together. Takes no tokens: the claim does that.

    `rates`: egresses with a limit for all providers together, in mails a minute. `turn` counts the calls, so that
    whoever got the odd mail last time waits this time.
    """
    providers = {wish.provider for wish in wishes}
    free = {key: _free(key, lane, buckets, now, most) for key, lane in lanes.items() if key[1] in providers}
    whole = {egress: buckets.free(("egress", egress), rate, now) or 0 for egress, rate in rates.items()}
    speed: dict[int, int] = {}
    for wish in wishes:
        room = buckets.free(("campaign", wish.campaign), wish.speed, now)
        speed[wish.campaign] = most if room is None else max(0, room)
    left = dict.fromkeys(wishes, batch)
    given: dict[tuple[Wish, int], int] = {}
    queues = _queues(wishes, turn)
    turns = {wish: wish.weight for wish in wishes}
    while queues:
        for queue in list(queues):
            wish = queue[0]
            egress = _choose(wish, free, whole, given)
            n = 0
            if egress is not None:
                room = free[egress, wish.provider]
                n = min(PORTION, left[wish], speed[wish.campaign], room, whole.get(egress, room), most)
            if egress is None or n <= 0:
                queue.pop(0)
                if not queue:
                    queues.remove(queue)
                continue
            given[wish, egress] = given.get((wish, egress), 0) + n
            free[egress, wish.provider] -= n
            if egress in whole:
                whole[egress] -= n
            speed[wish.campaign] -= n
            left[wish] -= n
            most -= n
            turns[wish] -= 1
            if turns[wish] <= 0:
                turns[wish] = wish.weight
                queue.append(queue.pop(0))
    return [Grant(wish, egress, n) for (wish, egress), n in given.items()]


def _free(key: LaneKey, lane: Lane, buckets: Buckets, now: float, most: int) -> int:
    tokens = buckets.free(key, lane.pace, now)
    if lane.suspended or lane.factor <= 0:
        return 0
    limits = [most, lane.room]
    if tokens is not None:
        limits.append(tokens)
    if lane.cap_left is not None:
        limits.append(lane.cap_left)
    return max(0, min(limits))


def _queues(wishes: Sequence[Wish], turn: int) -> list[list[Wish]]:
    """A queue for each workspace; who was first last time is last this time."""
    by_workspace: dict[int, list[Wish]] = {}
    for wish in wishes:
        by_workspace.setdefault(wish.workspace, []).append(wish)
    queues = [_turned(queue, _whose(queue, turn)) for _, queue in sorted(by_workspace.items())]
    return _turned(queues, turn)


def _whose(queue: list[Wish], turn: int) -> int:
    """Who begins: each as often as it has turns, so that they count also where a call deals out one portion."""
    left = turn % sum(wish.weight for wish in queue)
    for at, wish in enumerate(queue):
        left -= wish.weight
        if left < 0:
            return at
    raise AssertionError("the remainder is less than the sum")


def _turned(items: list[T], turn: int) -> list[T]:
    at = turn % len(items) if items else 0
    return items[at:] + items[:at]


def _room(egress: int, provider: str, free: Mapping[LaneKey, int], whole: Mapping[int, int]) -> int:
    n = free.get((egress, provider), 0)
    return min(n, whole.get(egress, n))


def _choose(
    wish: Wish, free: Mapping[LaneKey, int], whole: Mapping[int, int], given: Mapping[tuple[Wish, int], int]
) -> int | None:
    """The egress that has the least of this wish for its weight, among those with room; of equals the freest."""
    best: tuple[float, int, int] | None = None
    for egress, weight in wish.pool:
        room = _room(egress, wish.provider, free, whole)
        if room > 0:
            rank = given.get((wish, egress), 0) / weight, -room * weight, egress
            best = rank if best is None else min(best, rank)
    return None if best is None else best[2]


def pool_of(
    workspace: int, campaign: int, domain: int | None, stream: str, rules: Mapping[Rule, int], default: int
) -> int:
    """The pool of the narrowest rule: campaign, then sender's domain, workspace, stream; else `default`."""
    narrowing = [Rule(stream, campaign=campaign), Rule(stream, workspace=workspace), Rule(stream)]
    if domain is not None:
        narrowing.insert(1, Rule(stream, domain=domain))
    for rule in narrowing:
        if rule in rules:
            return rules[rule]
    return default
