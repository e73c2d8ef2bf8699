"""Whether a domain may move to a stricter DMARC policy, with the figures that says it on. Pure.

A policy is safe when what it stops is not one's own. So it takes reports over two weeks (nearly every kind of mail goes
out once in that time), nearly everything of one's own passing, and no sender left of whom it is not known whose it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from thurn.dmarc.sources import Source
from thurn.web.words import count, number, rate

DAYS = 14
LEAST = 100  # mails of one's own; fewer say nothing in per cent
SHARE = {"quarantine": 0.98, "reject": 0.99}
SMALL = 0.001  # of all mail: a sender of less than that decides nothing
_STEPS = {"none": "quarantine", "quarantine": "reject"}
WORDS = {"none": "p=none", "quarantine": "p=quarantine", "reject": "p=reject"}
MEANING = {"quarantine": "sends forgeries to the spam folder", "reject": "has forgeries refused"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One condition: what is, and whether it is enough."""

    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """`level`: ok, warn, bad or off; `next`: the policy to move to, empty if there is none or it is too early."""

    level: str
    title: str
    why: str
    next: str
    figures: tuple[Figure, ...]


def advise(published: str, days: int, sources: Sequence[Source], *, days_at_policy: int) -> Advice:
    """`published`: the policy in the newest report, empty if there is none; `days`: with reports, of the last 30;
    `days_at_policy`: of those, with the published policy."""
    if not published:
        why = "Receivers send them once a day, as soon as your DMARC record names the address for them."
        return Advice("off", "No reports yet", why, "", ())
    ours = [source for source in sources if source.ours]
    sent = sum(source.mails - source.forwarded for source in ours)
    passed = sum(source.passed for source in ours)
    total = sum(source.mails for source in sources)
    open_ones = [source for source in sources if source.undecided and source.mails >= max(SMALL * total, 2)]
    step = _STEPS.get(published, "")
    share = SHARE[step or "reject"]
    enough = passed >= share * sent if sent else False
    figures: tuple[Figure, ...] = (
        Figure(days >= DAYS, f"Reports of {count(days, 'day', 'days')} in the last 30; {DAYS} are enough."),
        Figure(
            sent >= LEAST, f"{count(sent, 'mail', 'mails')} of your own, forwarded ones left out; {LEAST} are enough."
        ),
        Figure(
            enough, f"{rate(passed, sent)} of them pass ({number(passed)} of {number(sent)}); it takes {share:.0%}."
        ),
        Figure(not open_ones, _open(open_ones)),
    )
    if not step:
        if sent >= LEAST and not enough:
            why = f"{number(sent - passed)} of your own mails failed, and receivers refuse such mail. See below which."
            return Advice("bad", "Your own mail is being refused", why, "", figures)
        why = "Receivers refuse mail that only pretends to be yours. Watch that new senders of yours pass."
        return Advice("ok", "You are at the strictest policy", why, "", figures)
    waited = Figure(
        days_at_policy >= DAYS, f"{count(days_at_policy, 'day', 'days')} of reports at p=quarantine; {DAYS} are enough."
    )
    if step == "reject":
        figures = (*figures, waited)
    if all(figure.good for figure in figures):
        why = f"It {MEANING[step]}; next to nothing of your own would be hit. Set it here, then publish the record."
        return Advice("ok", f"Safe to move to {WORDS[step]}", why, step, figures)
    why = "What is still missing is marked below. Until then a stricter policy could hit your own mail."
    return Advice("warn", f"Not yet safe to move to {WORDS[step]}", why, "", figures)


def _open(sources: Sequence[Source]) -> str:
    if not sources:
        return "Of every sender of some size it is known whether it is yours."
    names = ", ".join(source.name for source in sources[:5])
    more = f" and {len(sources) - 5} more" if len(sources) > 5 else ""
    return f"It is not known whether {count(len(sources), 'sender is', 'senders are')} yours: {names}{more}."
