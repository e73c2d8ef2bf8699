"""What an outcome does to a delivery: the ledger's rules, as a function of the row and the outcome.

    queued -> leased -> handed_over -> delivered | deferred | bounced
                     -> suppressed | failed | queued (returned) | unknown (its machine was lost)
    deferred -> delivered | bounced;   delivered -> bounced (a bounce mail came later)
    handed_over | deferred -> unknown (its log lines were lost in a crash) -> delivered | bounced

Outcomes may arrive twice (sender and log both see a hand-over) or out of order (the log can be faster than the sender's
commit), so each rule asks what is known already, and an outcome that adds nothing changes nothing.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

_ORDER = {"queued": 0, "leased": 1, "handed_over": 2, "deferred": 3, "unknown": 4, "delivered": 5, "bounced": 6}
_BEFORE_HAND_OVER = ("queued", "leased")


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of a delivery that outcomes change."""

    state: str
    attempt: int
    deferrals: int = 0
    handed_over_at: datetime | None = None
    settled_at: datetime | None = None
    category: str | None = None
    hard: bool | None = None
    reply: str | None = None
    complained: bool = False
    replied: bool = False
    delay: int = 0  # seconds until a returned delivery may be tried again


@dataclass(frozen=True, slots=True)
class Fact:
    """An outcome, without whose it is."""

    kind: str
    at: datetime
    attempt: int | None = None
    category: str | None = None
    hard: bool | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The entry after an outcome, the tallies that moved, and whether it is worth an event and a suppression."""

    entry: Entry
    tallies: dict[str, int] = field(default_factory=dict)
    event: bool = True
    suppress: Literal["bounce", "complaint"] | None = None  # the reason


def gauge(entry: Entry) -> str | None:
    """The measure that counts this entry while it is in its state."""
    if entry.state == "bounced":
        return "bounced_hard" if entry.hard else "bounced_soft"
    return entry.state if entry.state in ("deferred", "delivered", "suppressed", "failed", "unknown") else None


def advance(entry: Entry, fact: Fact) -> Change | None:
    """Apply one outcome; None if it changes nothing."""
    match fact.kind:
        case "returned":
            return _returned(entry, fact)
        case "suppressed" | "failed":
            return _left_out(entry, fact)
        case "complained":
            return _complained(entry)
        case "replied":
            return None if entry.replied else Change(replace(entry, replied=True), {"replied": 1})
        case "handed_over":
            if entry.state not in _BEFORE_HAND_OVER:
                return None
            return _moved(entry, replace(entry, state="handed_over", handed_over_at=fact.at))
        case "lost":
            # With its attempt it speaks of a lease, too: of a machine that never comes back, which may have sent it.
            leased = entry.state == "leased" and fact.attempt == entry.attempt
            if entry.state not in ("handed_over", "deferred") and not leased:
                return None
            handed = entry.handed_over_at or fact.at
            return _moved(entry, replace(entry, state="unknown", settled_at=fact.at, handed_over_at=handed))
        case "deferred" | "delivered" | "bounced":
            return _answered(entry, fact)
        case _:
            raise ValueError(f"unknown outcome {fact.kind}")


def _returned(entry: Entry, fact: Fact) -> Change | None:
    # Only the attempt it speaks of: a later one may be on its way.
    if entry.state != "leased" or fact.attempt != entry.attempt:
        return None
    delay = min(600, 2 ** min(entry.attempt, 10)) if fact.reply else 0
    return Change(replace(entry, state="queued", reply=fact.reply or entry.reply, delay=delay), event=False)


def _left_out(entry: Entry, fact: Fact) -> Change | None:
    if entry.state != "leased" or fact.attempt != entry.attempt:
        return None
    after = replace(entry, state=fact.kind, settled_at=fact.at, category=fact.category, reply=fact.reply)
    return _moved(entry, after)


def _complained(entry: Entry) -> Change | None:
    if entry.complained:
        return None
    return Change(replace(entry, complained=True), {"complained": 1}, suppress="complaint")


def _answered(entry: Entry, fact: Fact) -> Change | None:
    if entry.state not in _ORDER or _ORDER[entry.state] > _ORDER[fact.kind] or entry.state == "bounced":
        return None
    if entry.state == "delivered" and fact.kind != "bounced":
        return None
    deferrals = entry.deferrals + (fact.kind == "deferred")
    # That its time is over is no answer of the provider's: the last one it gave says why.
    kept = entry.reply if fact.category == "expired" and entry.state == "deferred" else None
    after = replace(
        entry,
        state=fact.kind,
        deferrals=min(deferrals, 32767),
        # The log can be faster than the sender's own commit; then this is when it was handed over, nearly.
        handed_over_at=entry.handed_over_at or fact.at,
        settled_at=None if fact.kind == "deferred" else fact.at,
        category=fact.category,
        hard=fact.hard if fact.kind == "bounced" else None,
        reply=kept or fact.reply,
    )
    change = _moved(entry, after)
    if fact.kind == "delivered" and deferrals:
        change.tallies["deferred_then_delivered"] = 1
    if fact.kind == "bounced":
        if entry.state == "delivered" and entry.deferrals:
            change.tallies["deferred_then_delivered"] = -1
        if fact.hard:
            return replace(change, suppress="bounce")
    return change


def _moved(before: Entry, after: Entry) -> Change:
    tallies: dict[str, int] = {}
    if before.handed_over_at is None and after.handed_over_at is not None:
        tallies["handed_over"] = 1
    old, new = gauge(before), gauge(after)
    if old != new:
        if old:
            tallies[old] = -1
        if new:
            tallies[new] = 1
    return Change(after, tallies)
