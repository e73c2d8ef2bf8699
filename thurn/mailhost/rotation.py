"""Changing a domain's DKIM keys without a mail that cannot be verified: what is to happen next. Pure.

    pending    made; its record is to be published
    published  all name servers had it, for a first time
    active     signs
    retiring   signs no more; mail on its way is still verified with it
    retired    its record may be deleted

A pair moves together, so there is always one active key of each algorithm. What DNS cannot tell moves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

State = Literal["pending", "published", "active", "retiring", "retired"]
SETTLE = timedelta(minutes=9)  # from the first sight of a key to its use: two looks, as copies of a zone may lag
GRACE = timedelta(days=7)  # as long as a mail may be on its way
_MONTH = timedelta(days=30.44)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the database has it. `since`: when it came into its state; `active_at`: when it began to sign."""

    id: int
    selector: str
    algorithm: str
    state: State
    since: datetime
    active_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Which keys change to which state, all at once; `make`: a new pair is due."""

    moves: tuple[tuple[int, State], ...] = ()
    make: bool = False


def plan(keys: Sequence[Key], seen: Mapping[str, bool | None], now: datetime, *, months: int = 0) -> Plan:
    """What follows from a look at DNS. `seen`: selector -> right at all name servers, wrong or absent, not told.

    `months`: a new pair is made when the active one is so old; 0 is never.
    """
    by = {
        state: [key for key in keys if key.state == state] for state in ("pending", "published", "active", "retiring")
    }
    coming = [*by["pending"], *by["published"]]
    moves: list[tuple[int, State]] = [(key.id, "retired") for key in by["retiring"] if now - key.since >= GRACE]
    ready = _covers(by["published"], by["active"]) and all(
        seen.get(key.selector) is True and now - key.since >= SETTLE for key in by["published"]
    )
    if coming and ready:
        moves += [(key.id, "active") for key in by["published"]]
        moves += [(key.id, "retiring") for key in by["active"]]
        return Plan(tuple(moves))
    moves += [(key.id, "published") for key in by["pending"] if seen.get(key.selector) is True]
    moves += [(key.id, "pending") for key in by["published"] if seen.get(key.selector) is False]
    if not coming and (back := _back(by["active"], by["retiring"], seen, now)):
        return Plan(back)
    old = (
        months > 0
        and bool(by["active"])
        and all(key.active_at is not None and now - key.active_at >= months * _MONTH for key in by["active"])
    )
    in_order = all(seen.get(key.selector) is True for key in by["active"])
    return Plan(tuple(moves), make=old and in_order and not coming)


def _covers(new: Sequence[Key], old: Sequence[Key]) -> bool:
    """Whether a pair can take the place of another: no algorithm is lost."""
    return bool(new) and {key.algorithm for key in new} >= {key.algorithm for key in old}


def _back(
    active: Sequence[Key], retiring: Sequence[Key], seen: Mapping[str, bool | None], now: datetime
) -> tuple[tuple[int, State], ...]:
    """The old pair signs again when the new one's records were deleted instead of its own."""
    last = [key for key in retiring if key.since == max(other.since for other in retiring)]
    gone = bool(active) and all(seen.get(key.selector) is False for key in active)
    there = all(seen.get(key.selector) is True and now - key.since < GRACE for key in last)
    if not (gone and there and _covers(last, active)):
        return ()
    return (*((key.id, "active") for key in last), *((key.id, "pending") for key in active))
