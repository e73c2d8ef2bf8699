"""Absence and sorting rules as Sieve (RFC 5228). Pure; every value is quoted, none is ever Sieve.

The script runs at each delivery before the owner's own one (thurn/stack/dovecot.py), which stays untouched whether it
comes from webmail or from a mail program. What a rule here files away, the owner's own script does not see any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

SCRIPT = "thurn"  # its name among the mailbox's scripts

Field = Literal["from", "to", "subject"]
Action = Literal["folder", "read", "forward", "trash"]

_HEADERS: dict[str, tuple[str, ...]] = {"from": ("from",), "to": ("to", "cc"), "subject": ("subject",)}


@dataclass(frozen=True, slots=True)
class Absence:
    """What people get to read while somebody is away: once in `every_days`, from first to last day, both included."""

    active: bool = False
    first_day: date | None = None
    last_day: date | None = None
    subject: str = ""
    body: str = ""
    every_days: int = 7


@dataclass(frozen=True, slots=True)
class Rule:
    """Mail whose `field` contains the text: into a folder, marked as read, sent on (a copy stays), or to the trash."""

    field: Field
    contains: str
    action: Action
    argument: str = ""
    active: bool = True


def render(absence: Absence, rules: Sequence[Rule], own: Sequence[str]) -> str | None:
    """The script; None when there is nothing to do. `own`: the mailbox's address and its aliases, which are answered.

    Rules are tried in order. The first that files a mail ends it; those that mark or send on go on to the next.
    """
    rules = [rule for rule in rules if rule.active]
    lines = [_vacation(absence, own)] if absence.active else []
    lines += [f"if {_test(rule)} {{\n  {_action(rule)}\n}}" for rule in rules]
    if not lines:
        return None
    return "\n".join([f"require {_strings(_extensions(absence, rules))};", "# Written by the portal.", *lines, ""])


def quoted(text: str) -> str:
    """A quoted string (RFC 5228, 2.4.2)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _strings(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(quoted, texts)) + "]"


def _extensions(absence: Absence, rules: Sequence[Rule]) -> list[str]:
    needed = {"folder": ("fileinto", "mailbox"), "trash": ("fileinto", "mailbox"), "read": ("imap4flags",),
              "forward": ("copy",)}  # fmt: skip
    found = {name for rule in rules for name in needed[rule.action]}
    if absence.active:
        found |= {"vacation"}
        if absence.first_day or absence.last_day:
            found |= {"date", "relational"}
    return sorted(found)


def _vacation(absence: Absence, own: Sequence[str]) -> str:
    # Dovecot answers nobody twice within :days, no list, no machine, and nothing that is not addressed to one of these.
    subject = f" :subject {quoted(absence.subject)}" if absence.subject else ""
    answer = f"vacation :days {absence.every_days}{subject} :addresses {_strings(own)} {quoted(absence.body)};"
    days = [
        f'currentdate :value "{relation}" "date" "{day.isoformat()}"'
        for relation, day in (("ge", absence.first_day), ("le", absence.last_day))
        if day is not None
    ]
    if not days:
        return answer
    return f"if allof({', '.join(days)}) {{\n  {answer}\n}}"


def _test(rule: Rule) -> str:
    return f"header :contains {_strings(_HEADERS[rule.field])} {quoted(rule.contains)}"


def _action(rule: Rule) -> str:
    if rule.action == "read":
        return 'addflag "\\\\Seen";'
    if rule.action == "forward":
        return f"redirect :copy {quoted(rule.argument)};"
    folder = "Trash" if rule.action == "trash" else rule.argument
    return f"fileinto :create {quoted(folder)};\n  stop;"
