"""Rules over SMTP replies: what they look for and what follows. Ours: shaping.toml; an operator's: the database.

A rule is only as good as its examples: each names a reply it must fit and one that looks alike and must not. `faults`
checks both, for ours in the tests and for an operator's before it is kept.
"""

import re
import re._parser as syntax  # type: ignore[import-not-found]  # the standard library's own reading of a pattern
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, get_args

from thurn.feedback.classify import CATEGORIES, classify, codes, normalise

Action = Literal["slow", "move", "suspend", "give-up"]
ACTIONS: tuple[Action, ...] = get_args(Action)  # weakest first, `give-up` apart: it concerns one mail
OUTCOMES = ("", "deferred", "bounced")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,59}")
LONGEST = 500  # characters of a pattern
_KEPT = 24 * 60  # minutes that replies are kept, and so the longest period


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `minutes` 0: until somebody lifts it. `own`: made by an operator."""

    name: str
    action: Action
    matches: str
    differs: str
    patterns: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    categories: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    outcome: str = ""
    count: int = 1
    period: int = 60
    share: float = 0.0
    minutes: int = 60
    why: str = ""
    todo: str = ""
    link: str = ""
    source: str = ""
    own: bool = False

    def concerns(self, provider: str) -> bool:
        """Whether the rule is about this provider at all."""
        return not self.providers or provider in self.providers

    def fits(self, outcome: str, category: str, wording: str) -> bool:
        """Whether a normalised reply with this outcome (deferred, bounced) and category is this rule's case."""
        if outcome not in ("deferred", "bounced") or self.outcome not in ("", outcome):
            return False
        if self.categories and category not in self.categories:
            return False
        if self.patterns and not _compiled(self.patterns).search(wording):
            return False
        return not (self.unless and _compiled(self.unless).search(wording))

    def fits_reply(self, reply: str) -> bool:
        """The same of a reply as it came: 4xx is taken as deferred, everything else as bounced."""
        code, enhanced = codes(reply)
        outcome = "deferred" if (code or enhanced).startswith("4") else "bounced"
        return self.fits(outcome, classify(reply).category, normalise(reply))


@lru_cache(maxsize=512)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


@lru_cache(maxsize=1)
def built_in() -> tuple[Rule, ...]:
    """The rules that come with Thurn, in the order of the file."""
    data = tomllib.loads(files("thurn.shaping").joinpath("shaping.toml").read_text("utf-8"))
    return tuple(rule_of(entry) for entry in data["rule"])


def rule_of(entry: Mapping[str, Any], *, own: bool = False) -> Rule:
    """A rule from an entry of the file, or from a row of the table, whose columns are called the same."""
    return Rule(
        name=entry["name"],
        action=entry["action"],
        matches=entry["matches"],
        differs=entry["differs"],
        patterns=tuple(entry.get("any") or ()),
        unless=tuple(entry.get("unless") or ()),
        categories=frozenset(entry.get("category") or ()),
        providers=frozenset(entry.get("provider") or ()),
        outcome=entry.get("outcome") or "",
        count=entry.get("count", 1),
        period=entry.get("period", 60),
        share=entry.get("share", 0.0),
        minutes=entry.get("minutes", 60),
        why=entry.get("why", ""),
        todo=entry.get("todo", ""),
        link=entry.get("link", ""),
        source=entry.get("source", ""),
        own=own,
    )


def faults(rule: Rule) -> Iterator[tuple[str, str]]:
    """What is wrong with a rule: (field, what and why, for a person). Nothing: it may be used."""
    broken = list(_faults_of_patterns(rule))
    yield from broken
    if not NAME.fullmatch(rule.name):
        yield "name", "A name has 2 to 60 characters: small letters, digits and hyphens."
    if rule.action not in ACTIONS:
        yield "action", f"Choose one of {', '.join(ACTIONS)}."
    if rule.outcome not in OUTCOMES:
        yield "outcome", "Choose deferred, bounced or both."
    if unknown := rule.categories - set(CATEGORIES):
        yield "category", f"There is no category {min(unknown)}."
    if not 1 <= rule.count <= 1_000_000:
        yield "count", "Give how many replies it takes: at least 1."
    if not 1 <= rule.period <= _KEPT:
        yield (
            "period",
            "Give the minutes within which they are counted: at most 1,440, because older replies are not kept.",
        )
    if not 0 <= rule.share <= 1:
        yield "share", "Give a share between 0 and 1 (or 0% and 100%)."
    if not 0 <= rule.minutes <= 30 * 24 * 60:
        yield "minutes", "Give how long the action lasts: at most 30 days; 0 for until somebody lifts it."
    if not broken:
        yield from _faults_of_examples(rule)


def _faults_of_patterns(rule: Rule) -> Iterator[tuple[str, str]]:
    if not rule.patterns and not rule.categories:
        yield "any", "Give a pattern or a category: a rule without either would fit every reply."
    for field, patterns in (("any", rule.patterns), ("unless", rule.unless)):
        if len(patterns) > 20:
            yield field, "A rule has at most 20 patterns."
        for pattern in patterns:
            if trouble := trouble_of(pattern):
                yield field, trouble


def _faults_of_examples(rule: Rule) -> Iterator[tuple[str, str]]:
    if not rule.matches.strip():
        yield "matches", "Give a reply this rule must fit, as the log shows it: it proves that the pattern works."
    elif not rule.fits_reply(rule.matches):
        seen = f"it reads “{normalise(rule.matches)}”, category {classify(rule.matches).category}"
        yield "matches", f"The rule does not fit this reply. After normalisation {seen}."
    if not rule.differs.strip():
        yield (
            "differs",
            "Give a reply that looks alike and must not be caught: it proves that the pattern is not too wide.",
        )
    elif rule.fits_reply(rule.differs):
        yield "differs", "The rule fits this reply too, which it must not. Make the pattern narrower."


def trouble_of(pattern: str) -> str:
    """Why a regular expression cannot be used, or "". What could take hours is one: strangers write replies."""
    if not pattern.strip():
        return "A pattern may not be empty: it would fit every reply."
    if len(pattern) > LONGEST:
        return f"A pattern has at most {LONGEST} characters."
    try:
        parsed = syntax.parse(pattern)
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"This is no regular expression: {error}."
    if _hungry(parsed):
        return (
            "A long reply could keep this pattern busy for hours. Repeat no repetition and no alternatives, such as "
            f"(a+)+ or (a|b)*, and use at most {_REPEATS_MOST} open repeats such as .* in one pattern."
        )
    if re.search(pattern, ""):
        return "This pattern fits an empty reply, and so every reply."
    return ""


_REPEATS = (syntax.MAX_REPEAT, syntax.MIN_REPEAT, syntax.POSSESSIVE_REPEAT)
_REPEATS_MOST = 2
_LONG = 200  # a repeat that may go on for longer than this is an open one


def _hungry(parsed: Any) -> bool:
    """Whether matching may take more than about the square of the reply's length."""
    try:
        return _open_repeats(parsed, within=False) > _REPEATS_MOST
    except _Nested:
        return True


class _Nested(Exception):
    """A repeat or alternatives stand inside an open repeat."""


def _open_repeats(parsed: Any, *, within: bool) -> int:
    found = 0
    for kind, value in parsed:
        if kind in _REPEATS:
            least, most, body = value
            is_open = most == syntax.MAXREPEAT or most > _LONG
            if within and (most > 1 or least != most):
                raise _Nested
            found += is_open + _open_repeats(body, within=within or most > 1)
            continue
        if kind is syntax.BRANCH and within:
            raise _Nested
        found += sum(_open_repeats(part, within=within) for part in _parts(kind, value))
    return found


def _parts(kind: Any, value: Any) -> Iterator[Any]:
    if kind is syntax.SUBPATTERN:
        yield value[3]
    elif kind is syntax.BRANCH:
        yield from value[1]
    elif kind in (syntax.ASSERT, syntax.ASSERT_NOT):
        yield value[1]
    elif kind is syntax.ATOMIC_GROUP:
        yield value
    elif kind is syntax.GROUPREF_EXISTS:
        yield from (part for part in value[1:] if part is not None)
