"""A rule tried against what was answered already: which replies fit, and what it would have done. Changes nothing."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate

from thurn.shaping.decide import FOREVER, Answers, Deed, State, decide
from thurn.shaping.rules import Rule


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rule would have done in one lane. Every answer counts as it came: what the rule itself would have
    changed about them nobody knows."""

    rule: str
    fitted: int  # replies the rule fits …
    of: int  # … of so many answers
    replies: tuple[tuple[str, int], ...]  # the most frequent of them, with how often
    deeds: tuple[Deed, ...]
    gives_up: bool = False  # each mail that fits would not have been tried again


def rehearse(rule: Rule, answers: Iterable[Answers], provider: str) -> Rehearsal:
    """Run one rule alone over the answers of one lane."""
    every = sorted(answers, key=lambda a: a.at)
    found = [a for a in every if rule.concerns(provider) and rule.fits(a.outcome, a.category, a.wording)]
    replies: Counter[str] = Counter()
    for a in found:
        replies[a.reply or a.wording] += a.n
    deeds = () if rule.action == "give-up" else tuple(_deeds(rule, every, found, provider))
    return Rehearsal(
        rule.name,
        sum(a.n for a in found),
        sum(a.n for a in every),
        tuple(replies.most_common(5)),
        deeds,
        rule.action == "give-up",
    )


def _deeds(rule: Rule, every: list[Answers], found: list[Answers], provider: str) -> Iterable[Deed]:
    """Ask at each moment at which something fitted. Answers before an action's end are deaf, as in earnest."""
    moments = [a.at for a in every]
    sums = [0, *accumulate(a.n for a in every)]
    fired: dict[str, datetime] = {}
    deaf: datetime | None = None
    for now in dict.fromkeys(a.at for a in found):
        if deaf is not None and now < deaf:
            continue
        since = now - timedelta(minutes=rule.period)
        window = [a for a in found if since < a.at <= now]
        others = sums[bisect_right(moments, now)] - sums[bisect_right(moments, since)] - sum(a.n for a in window)
        # Everything else in the window, as one answer: its share is all that matters.
        rest = [Answers(now, "delivered", others)] if others > 0 else []
        _, deeds = decide(State(deaf_until=deaf), [*window, *rest], [rule], fired, now, provider)
        for deed in deeds:
            if deed.rule != rule.name:
                continue
            fired[rule.name] = now
            if deed.action != "slow":
                deaf = deed.until
            yield replace(deed, until=None if deed.until == FOREVER else deed.until)
            if deaf == FOREVER:
                return
