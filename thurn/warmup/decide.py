"""When a warm-up grows, stays, goes back: a pure function of a plan, what was used of it, and what providers answered.

    running ──a day was used and the answers were good──> the next day of its curve … ──the last one──> done
       ├──too little was used──> the same day again
       └──complaints, bounces, deferrals──> paused, a day back ──two quiet days──> running

Paused never means that nothing goes: what goes is capped as on the day it went back to.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from thurn.campaigns.guard import at_least
from thurn.warmup.curve import Curve

State = Literal["running", "paused", "done", "off"]
What = Literal[
    "started", "grown", "repeated", "paused", "lowered", "held", "resumed", "rested", "done", "changed", "stopped"
]

USED = 0.75  # of a day's cap: less says nothing about how the provider takes so many
QUIET = 2  # days without new trouble before a paused plan goes on
LOOK_BACK = 3  # days whose answers are judged together: complaints come late
RESTED = 30  # days without mail after which providers have forgotten an address (Twilio: "Warming Up an IP Address")

COMPLAINTS = 0.003  # of what was delivered; from here on Gmail and Yahoo refuse mail (their rules for bulk senders)
BOUNCES = 0.05  # hard ones, of all answers, as the guard over campaigns
PUT_OFF = 0.15  # mails put off for reputation or rate, of all answers; a few are usual for a new address
LEAST_COMPLAINTS = 2  # one may be a slip of the finger
LEAST = 20  # answers, for the other two


@dataclass(frozen=True, slots=True)
class Plan:
    """What a decision depends on and changes."""

    curve: Curve
    decided: date
    counted_from: date
    used_on: date
    step: int = 1
    state: State = "running"
    by_hand: bool = False
    clean: int = 0

    @property
    def cap(self) -> int:
        """Mails on a day."""
        return self.curve[self.step - 1]


@dataclass(frozen=True, slots=True)
class Counts:
    """People, since `counted_from`, at most `LOOK_BACK` days."""

    delivered: int = 0
    bounced: int = 0
    put_off: int = 0
    complained: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan after it, what was done, and why, in words; without words there is nothing new to say."""

    plan: Plan
    what: What
    why: str


def judge(counts: Counts) -> str:
    """Why these answers are bad, in words; empty: they are good, or too few to say.

    As the guard over campaigns: a threshold must lie below the one-sided 95% interval (Wilson) of what was counted.
    """
    answers = counts.delivered + counts.bounced + counts.put_off
    if counts.complained >= LEAST_COMPLAINTS and at_least(counts.complained, counts.delivered) >= COMPLAINTS:
        return (
            f"{counts.complained:,} of {counts.delivered:,} readers called it spam "
            f"({_share(counts.complained, counts.delivered)}; paused from {COMPLAINTS:.1%} on)."
        )
    if answers >= LEAST and at_least(counts.bounced, answers) >= BOUNCES:
        return (
            f"{counts.bounced:,} of {answers:,} mails bounced because the address does not exist "
            f"({_share(counts.bounced, answers)}; paused from {BOUNCES:.0%} on)."
        )
    if answers >= LEAST and at_least(counts.put_off, answers) >= PUT_OFF:
        return (
            f"{counts.put_off:,} of {answers:,} mails were put off: the provider asks for less "
            f"({_share(counts.put_off, answers)}; paused from {PUT_OFF:.0%} on)."
        )
    return ""


def _share(n: int, of: int) -> str:
    return f"{n / max(of, 1):.1%}"


def within_day(plan: Plan, counts: Counts, today: date) -> Decision | None:
    """What to do at any moment of a day: stop growing and go a day back at once when answers are bad."""
    if plan.state not in ("running", "paused") or today < plan.counted_from:
        return None
    why = judge(counts)
    if not why:
        return None
    # What comes from tomorrow on is judged anew: each reason counts once.
    after = replace(plan, step=max(1, plan.step - 1), state="paused", clean=0, counted_from=today + timedelta(days=1))
    lower = f"At most {after.cap:,} a day now" + (f" instead of {plan.cap:,}." if after.cap < plan.cap else ".")
    return Decision(after, "paused" if plan.state == "running" else "lowered", f"{why} {lower}")


def new_day(plan: Plan, used: int, counts: Counts, today: date) -> Decision | None:
    """What a new sending day brings, decided once. `used`: of the cap, on the best day since the last decision."""
    if plan.state not in ("running", "paused") or today <= plan.decided:
        return None
    yesterday = today - timedelta(days=1)
    plan = replace(plan, decided=today, used_on=max(plan.used_on, yesterday) if used else plan.used_on)
    if (today - plan.used_on).days > RESTED:
        first = replace(plan, step=1, counted_from=today, clean=0, used_on=today)
        why = (
            f"Nothing was sent for more than {RESTED} days, so the provider has forgotten this address: "
            f"it begins again with {first.cap:,} a day."
        )
        return Decision(first, "rested", why)
    if (bad := within_day(plan, counts, today)) is not None:
        return bad
    if plan.state == "paused":
        return _paused(plan, used, today)
    if not used:
        return Decision(plan, "repeated", "")
    if used < USED * plan.cap:
        why = f"{used:,} of {plan.cap:,} were sent: too little to tell how the provider takes so many. The same again."
        return Decision(plan, "repeated", why)
    if plan.step == len(plan.curve):
        why = f"{used:,} on the last day of the curve, with good answers. This address is warm here and has no cap now."
        return Decision(replace(plan, state="done"), "done", why)
    after = replace(plan, step=plan.step + 1)
    return Decision(after, "grown", f"{used:,} of {plan.cap:,} were sent, with good answers. Now {after.cap:,} a day.")


def _paused(plan: Plan, used: int, today: date) -> Decision:
    if plan.by_hand:
        return Decision(plan, "held", "")
    # The day of the pause itself was not quiet.
    clean = plan.clean + (today > plan.counted_from)
    if clean < QUIET:
        why = f"Paused, at {plan.cap:,} a day. It goes on by itself after {QUIET} quiet days."
        return Decision(replace(plan, clean=clean), "held", why)
    why = f"{QUIET} quiet days. It goes on from {plan.cap:,} a day."
    return Decision(replace(plan, state="running", clean=0), "resumed", why)
