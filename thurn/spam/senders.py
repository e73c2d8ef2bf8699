"""Senders that somebody always or never wants mail from: an address, a domain, or all below a domain. Pure.

Entries are compared whole, never as patterns: `a_b@x.example` cannot match `acb@x.example`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import idna

from thurn.mailhost.names import domain_name
from thurn.problems import Invalid

Listed = Literal["allow", "block"]
_LONGEST = 320


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list; `own`: of the mailbox itself, which goes before its domain's."""

    sender: str
    verdict: Listed
    own: bool


def entry(text: str) -> str:
    """What a person typed in the form that is stored. Raises `Invalid` (field `sender`) with the reason in words."""
    typed = "".join(c for c in text.strip() if c.isprintable()).lower()
    if not typed or len(typed) > _LONGEST or any(c.isspace() or c in '<>"' for c in typed):
        raise Invalid("sender", "Give an address, a domain such as shop.example, or *.shop.example for all below it.")
    local, at, domain = typed.rpartition("@")
    below = not at and domain.startswith("*.")
    if (at and not local) or "*" in domain.removeprefix("*." if below else "") or "*" in local:
        raise Invalid("sender", "A * can only stand for all below a domain: *.shop.example.")
    try:
        name = domain_name(domain[2:] if below else domain)
    except Invalid as wrong:
        raise Invalid("sender", wrong.message) from wrong
    return f"{local}@{name}" if at else f"*.{name}" if below else name


def keys(address: str) -> list[str]:
    """Entries that would match an address, the most exact first."""
    local, at, domain = address.strip().lower().rpartition("@")
    if not at or not local or not domain:
        return []
    try:
        domain = idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        pass  # compared as it came: it can only miss
    labels = domain.split(".")
    above = [f"*.{'.'.join(labels[i:])}" for i in range(1, min(len(labels) - 1, 20))]
    return [f"{local}@{domain}", domain, *above]


def listed(entries: Iterable[Entry], address: str) -> Listed | None:
    """What the lists say of a sender: the mailbox's own entry before the domain's, then the most exact."""
    rank = {key: number for number, key in enumerate(keys(address))}
    found = [(not each.own, rank[each.sender], each.verdict) for each in entries if each.sender in rank]
    return min(found)[2] if found else None
