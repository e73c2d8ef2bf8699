"""Which addresses get nothing, from which stream, for how long: the one place where that is decided. Pure.

An address is compared in lower case and in no other way: dots, plus signs and hyphens are part of it, for only its own
server knows whether `mary-ann@` and `mary@` are the same person.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, LiteralString

Reason = Literal["bounce", "soft-bounces", "complaint", "unsubscribed", "manual"]
Stream = Literal["marketing", "transactional"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a reason means. `lasts` None: until somebody takes it back; `why` says so to a person."""

    word: str
    streams: frozenset[Stream]
    lasts: timedelta | None
    why: str


_ALL: frozenset[Stream] = frozenset({"marketing", "transactional"})

# A complaint bars receipts and passwords, too: each further mail counts against the sender at that provider, and the
# one person who wants them all the same is let in again by undoing one entry. Leaving a newsletter bars only that.
# A dead address never comes back by itself: what is given out again later is a stranger's, or a trap for spammers.
RULES: dict[Reason, Rule] = {
    "bounce": Rule(
        "The address is dead", _ALL, None,
        "Its server said that there is no such address. Mail to dead addresses is how spammers are told apart.",
    ),
    "soft-bounces": Rule(
        "Did not take mail for weeks", _ALL, timedelta(days=90),
        "Refused again and again because the mailbox is full or not in use. People do come back: after 90 days one "
        "mail is tried again.",
    ),
    "complaint": Rule(
        "Called a mail spam", _ALL, None,
        "The reader pressed “spam” at their provider, which counts each such press against you.",
    ),
    "unsubscribed": Rule(
        "Unsubscribed elsewhere", frozenset({"marketing"}), None,
        "Left in the system you had before, or by another way. Receipts and passwords still reach them.",
    ),
    "manual": Rule(
        "Put there by hand", _ALL, None, "Somebody here decided that this address gets nothing.",
    ),
}  # fmt: skip


def bars(stream: Stream) -> list[str]:
    """The reasons that bar a stream."""
    return sorted(reason for reason, rule in RULES.items() if stream in rule.streams)


def condition(address: LiteralString, workspace: LiteralString, stream: Stream = "marketing") -> LiteralString:
    """SQL that holds for the rows `s` of `suppression` which bar an address, here or everywhere, now.

    `address` and `workspace` are expressions of the query around it. The address alone leads to the rows: an index that
    begins with the workspace would lead through all of it. Say `EXISTS (SELECT … OFFSET 0)`, so that each address is
    looked up by itself: what the planner thinks of a table that was filled a minute ago can make a join take hours.
    """
    kept: LiteralString = "" if stream == "marketing" else " AND s.reason <> 'unsubscribed'"
    return (
        f"s.address = lower({address}) AND coalesce(s.workspace_id, {workspace}) = {workspace}"
        f" AND (s.expires_at IS NULL OR s.expires_at > now()){kept}"
    )


def expires(reason: Reason, now: datetime) -> datetime | None:
    """When a suppression for this reason ends by itself."""
    lasts = RULES[reason].lasts
    return None if lasts is None else now + lasts


# ------------------------------------------------------------------ soft bounces

# A soft bounce that is the address's own fault (full, not in use) says nothing once: people go on holiday. It is a
# pattern when it went on for two weeks, on three days at least, five times, and nothing was delivered or read between.
# A newsletter a week needs five weeks for it, one a day two weeks. Bounces that are older than a year are forgotten.
BOUNCES, DAYS, SPAN, MEMORY = 5, 3, timedelta(days=14), timedelta(days=365)
PATTERN_CATEGORIES = frozenset({"mailbox-full", "inactive", "unknown-address", "host-unknown", "moved"})


def is_pattern(bounces: Iterable[datetime], now: datetime) -> bool:
    """Whether soft bounces since the last sign of life show that an address takes no mail."""
    times = sorted(at for at in bounces if now - MEMORY <= at <= now)
    return len(times) >= BOUNCES and len({at.date() for at in times}) >= DAYS and times[-1] - times[0] >= SPAN
