"""What answers do to the pace of one sending address at one provider: a pure function, asked again and again.

    normal ──deferrals──> slowed (half, half again … down to FLOOR) ──quiet──> a step up a minute ──> normal
       └──a rule, or deferrals that go on at FLOOR──> suspended ──its time is over──> slowed, and up again

Told the same twice it decides nothing new: what it did is part of the state, and answers from before then are deaf to
it. While suspended it listens to nothing, so that a suspension never feeds itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from thurn.shaping.rules import Rule

Mode = Literal["normal", "slowed", "suspended", "held"]  # held: by hand, or by a rule until somebody lifts it

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
FLOOR = 1 / 64  # of the provider's limit: never less while not suspended, so that we learn when it is over
STEP = 0.1  # of the limit, up
QUIET = timedelta(seconds=60)  # without deferrals before each step up
WINDOW = timedelta(seconds=60)  # in which deferrals are weighed
SETTLE = timedelta(seconds=10)  # answers to what was on its way when the pace was halved say nothing about the new one
LEAST = 3  # deferrals below this many say nothing
SHARE = 0.1  # of all answers in the window
QUIET_SHARE = 0.02  # fewer deferrals than this are quiet enough for a step up
STUCK = timedelta(minutes=5)  # deferrals at FLOOR for so long: stop altogether for a while
PAUSE = timedelta(minutes=15)  # then for this long, doubled each time, …
LONGEST = timedelta(hours=24)  # … up to this
AFTER = 0.25  # where the pace starts after a suspension
DOMAINS = 3  # `other` is many small servers: what fewer than this many say is about them, not about us

# Categories of feedback/classify.py in a temporary reply that say: less, please. A full mailbox or greylisting do not.
SLOWING = frozenset({"rate-limited", "reputation-block", "policy-block", "spam-refused"})

AIMD = "deferrals"  # the name that stands where a rule's name would


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of one kind within a few seconds. `domain` is set for the provider `other` only."""

    at: datetime
    outcome: str  # delivered | deferred | bounced
    n: int
    category: str = ""
    wording: str = ""  # normalised
    reply: str = ""  # one of them, as it came
    domain: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Where one sending address stands with one provider."""

    factor: float = 1.0
    mode: Mode = "normal"
    until: datetime | None = None  # of a suspension; FOREVER: until somebody lifts it
    rule: str = ""
    reason: str = ""
    todo: str = ""
    link: str = ""
    evidence: str = ""
    since: datetime | None = None  # of this mode
    changed_at: datetime | None = None  # of the factor
    deaf_until: datetime | None = None  # answers before this moment count for nothing: a suspension ended, or a lift
    floor_since: datetime | None = None
    hold_until: datetime | None = None  # a rule slowed it: no step up before
    strikes: int = 0  # suspensions in a row
    moves: bool = False  # suspended by an action `move`: others carry what Postfix already has of it


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was decided. `everywhere`: it concerns the provider from whatever address."""

    rule: str
    action: str
    at: datetime
    until: datetime | None
    n: int
    of: int
    evidence: str
    everywhere: bool = False


def decide(
    state: State,
    answers: Iterable[Answers],
    rules: Iterable[Rule],
    fired: Mapping[str, datetime],
    now: datetime,
    provider: str,
) -> tuple[State, list[Deed]]:
    """The state after `answers`, and what was decided on the way. `fired`: rule -> when it last did something here."""
    if state.mode in ("suspended", "held"):
        if state.until is None or now < state.until:
            return state, []
        state = over(state, state.until)
    heard = [a for a in answers if a.at <= now and (state.deaf_until is None or a.at >= state.deaf_until)]
    by_name = {rule.name: rule for rule in rules if rule.action in _STRENGTH and rule.concerns(provider)}
    deeds = _tried(by_name.values(), heard, fired, now, provider)
    if deeds:
        for deed in sorted(deeds, key=lambda d: _STRENGTH[d.action]):
            state = _done(state, deed, by_name[deed.rule], now)
        if state.mode in ("suspended", "held"):
            deeds = [replace(d, until=state.until) if d.rule == state.rule else d for d in deeds]
        return state, deeds
    return _weighed(state, heard, now, provider)


_STRENGTH = {"slow": 0, "move": 1, "suspend": 2}


def _tried(
    rules: Iterable[Rule], heard: list[Answers], fired: Mapping[str, datetime], now: datetime, provider: str
) -> list[Deed]:
    """Rules whose threshold is reached. The first that fits a reply counts it: the precise before the general."""
    deeds = []
    left = [a for a in heard if a.outcome != "delivered"]
    for rule in rules:
        found = [a for a in left if rule.fits(a.outcome, a.category, a.wording)]
        if found:
            left = [a for a in left if not rule.fits(a.outcome, a.category, a.wording)]
            if deed := _reached(rule, found, heard, fired.get(rule.name), now, provider):
                deeds.append(deed)
    return deeds


def _reached(
    rule: Rule, found: list[Answers], heard: list[Answers], last: datetime | None, now: datetime, provider: str
) -> Deed | None:
    """Whether a rule's threshold is reached within its own period, counting nothing twice."""
    since = now - timedelta(minutes=rule.period)
    if last is not None:
        since = max(since, last + SETTLE)
    found = [a for a in found if a.at > since]
    n, of = sum(a.n for a in found), sum(a.n for a in heard if a.at > since)
    if not found or n < rule.count or n < rule.share * of or not _about_us(found, provider):
        return None
    until = now + timedelta(minutes=rule.minutes) if rule.minutes else FOREVER
    evidence = max(found, key=lambda a: a.at).reply
    return Deed(rule.name, rule.action, now, until, n, of, evidence, everywhere=rule.action == "suspend")


def _about_us(found: list[Answers], provider: str) -> bool:
    return provider != "other" or len({a.domain for a in found}) >= DOMAINS


def _done(state: State, deed: Deed, rule: Rule, now: datetime) -> State:
    if deed.action == "slow":
        factor = max(FLOOR, state.factor / 2)
        hold = max(deed.until or now, state.hold_until or now)
        slowed = _slower(state, factor, now)
        return replace(
            slowed, hold_until=hold, rule=rule.name, reason=rule.why, todo=rule.todo, link=rule.link,
            evidence=deed.evidence,
        )  # fmt: skip
    length = None if deed.until == FOREVER or deed.until is None else (deed.until - now) * 2**state.strikes
    return _suspended(
        state,
        FOREVER if length is None else now + min(length, max(LONGEST, (deed.until or now) - now)),
        now,
        State(
            rule=rule.name, reason=rule.why, todo=rule.todo, link=rule.link, evidence=deed.evidence,
            moves=deed.action == "move",
        ),
    )  # fmt: skip


def _slower(state: State, factor: float, now: datetime) -> State:
    at_floor = state.floor_since or now if factor <= FLOOR else None
    since = state.since if state.mode == "slowed" else now
    return replace(state, factor=factor, mode="slowed", until=None, since=since, changed_at=now, floor_since=at_floor)


def _suspended(state: State, until: datetime, now: datetime, why: State) -> State:
    return replace(
        state,
        mode="held" if until == FOREVER else "suspended",
        until=until,
        since=now,
        changed_at=now,
        rule=why.rule,
        reason=why.reason,
        todo=why.todo,
        link=why.link,
        evidence=why.evidence,
        floor_since=None,
        hold_until=None,
        strikes=min(state.strikes + 1, 10),
        moves=why.moves,
    )


def over(state: State, at: datetime) -> State:
    """A suspension that ended at `at`: carefully on, deaf to all that was said before."""
    factor = min(state.factor, AFTER)
    return replace(
        state, mode="slowed", factor=factor, until=None, since=at, changed_at=at, deaf_until=at,
        floor_since=at if factor <= FLOOR else None, hold_until=None,
        reason=f"Was suspended ({state.reason.rstrip('.')}). Thurn starts again carefully.", todo="", link="",
        moves=False,
    )  # fmt: skip


def elsewhere(state: State, source: State, now: datetime) -> State:
    """Another address at the same provider was told something that concerns us all: suspended as long as that one."""
    if source.until is None or (state.until is not None and state.until >= source.until):
        return state
    return _suspended(state, source.until, now, source)


def lifted(state: State, now: datetime) -> State:
    """Somebody said: as before. What was answered until now counts no more."""
    return State(since=now, changed_at=now, deaf_until=now)


def held_by_hand(state: State, now: datetime, until: datetime, reason: str) -> State:
    """Somebody said: nothing to this provider for now."""
    why = State(rule="by hand", reason=reason or "Held by hand.", todo="Press “Try again” to go on.")
    held = _suspended(state, until, now, why)
    return replace(held, strikes=state.strikes)


def _weighed(state: State, heard: list[Answers], now: datetime, provider: str) -> tuple[State, list[Deed]]:
    """Additive increase, multiplicative decrease."""
    since = now - WINDOW
    if state.changed_at is not None and state.mode == "slowed":
        since = max(since, state.changed_at + SETTLE)
    window = [a for a in heard if a.at > since]
    bad = [a for a in window if a.outcome == "deferred" and a.category in SLOWING]
    n, of = sum(a.n for a in bad), sum(a.n for a in window)
    if n >= LEAST and n >= SHARE * of and _about_us(bad, provider):
        return _backed_off(state, bad, n, of, now)
    quiet = n < QUIET_SHARE * of or not n
    if (
        state.mode == "slowed"
        and quiet
        and now >= (state.changed_at or now) + QUIET
        and now >= (state.hold_until or now)
    ):
        return _a_step_up(state, now), []
    return state, []


def _backed_off(state: State, bad: list[Answers], n: int, of: int, now: datetime) -> tuple[State, list[Deed]]:
    evidence = max(bad, key=lambda a: a.at).reply
    if state.floor_since is not None and now - state.floor_since >= STUCK and 2 * n >= of:
        until = now + min(PAUSE * 2**state.strikes, LONGEST)
        why = State(
            rule=AIMD,
            moves=True,
            reason="Even at the lowest pace the provider puts most mail off.",
            todo="Nothing yet: Thurn waits and tries again. If it goes on for a day, read the reply and write to them.",
            evidence=evidence,
        )
        return _suspended(state, until, now, why), [Deed(AIMD, "move", now, until, n, of, evidence)]
    if state.factor <= FLOOR:
        return state, []
    slower = replace(
        _slower(state, max(FLOOR, state.factor / 2), now),
        rule=AIMD,
        reason="The provider puts mail off and asks for less. Thurn halved the pace and raises it step by step.",
        todo="Nothing to do.",
        link="",
        evidence=evidence,
    )
    return slower, [Deed(AIMD, "slow", now, None, n, of, evidence)]


def _a_step_up(state: State, now: datetime) -> State:
    factor = min(1.0, state.factor + STEP)
    if factor < 1.0:
        return replace(state, factor=factor, changed_at=now, floor_since=None)
    return State(since=now, changed_at=now, deaf_until=state.deaf_until)
