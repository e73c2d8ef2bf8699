"""DNS block lists: what to ask and what an answer means (RFC 5782). Pure.

An answer is a listing only where the list documents it as one. Error codes, an answer to everything, an answer that is
no code, silence: all of these are “cannot be told”, never “listed”, and never “clear” either.
"""

import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

State = Literal["clear", "listed", "unknown"]
_FILE = Path(__file__).parent / "lists.toml"
_CODES = ipaddress.ip_network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class BlockList:
    """A list of lists.toml; its head comment explains the fields."""

    key: str
    name: str
    zone: str
    kinds: frozenset[str]
    major: bool
    test: str
    site: str
    delist: str
    terms: str
    do: str
    codes: Mapping[str, str]
    bits: Mapping[int, str]
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a list says. `codes`: its answers; `why`: what they mean, or why nothing can be told."""

    state: State
    codes: tuple[str, ...] = ()
    why: str = ""


@cache
def lists() -> dict[str, BlockList]:
    """The lists by key."""
    with _FILE.open("rb") as file:
        given = tomllib.load(file)
    return {
        key: BlockList(
            key, each["name"], each["zone"], frozenset(each["kinds"]), each["weight"] == "major", each["test"],
            each["site"], each["delist"], each["terms"], each["do"], each.get("codes", {}),
            {int(bit): what for bit, what in each.get("bits", {}).items()}, each["errors"],
        )
        for key, each in given.items()
    }  # fmt: skip


def kind_of(subject: str) -> str:
    """ip4, ip6 or domain."""
    try:
        return f"ip{ipaddress.ip_address(subject).version}"
    except ValueError:
        return "domain"


def lists_for(subject: str) -> list[BlockList]:
    """The lists that can know a subject."""
    return [each for each in lists().values() if kind_of(subject) in each.kinds]


def label_of(subject: str) -> str:
    """What stands before a list's zone: octets or nibbles backwards (RFC 5782, 2.1 and 2.4), a domain as it is."""
    try:
        reverse = ipaddress.ip_address(subject).reverse_pointer
    except ValueError:
        return subject
    return reverse.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def query(of: BlockList, subject: str) -> str:
    """The name to look up."""
    return f"{label_of(subject)}.{of.zone}"


def never_listed(of: BlockList) -> str:
    """The name of an entry that no list has (RFC 5782, 5): it is there only in one that answers for everything."""
    if "domain" in of.kinds:
        return f"invalid.{of.zone}"
    return query(of, "127.0.0.1" if "ip4" in of.kinds else "::ffff:7f00:1")


def always_listed(of: BlockList) -> str:
    """The name of an entry that is always there; empty where the list promises none."""
    return f"{of.test}.{of.zone}" if of.test else ""


def judge(of: BlockList, answers: Iterable[str]) -> Verdict:
    """What A records mean; none is what NXDOMAIN gives."""
    codes = tuple(sorted(set(answers)))
    if not codes:
        return Verdict("clear")
    for code in codes:
        if code in of.errors:
            return Verdict("unknown", codes, of.errors[code])
        if ipaddress.ip_address(code) not in _CODES:
            return Verdict("unknown", codes, "the answer is no code of a list: somebody else answers for it")
    meanings: dict[str, None] = {}
    for code in codes:
        for meaning in _meanings(of, code):
            meanings[meaning] = None
    if not meanings:
        return Verdict("unknown", codes, f"it answered {', '.join(codes)}, which it does not document")
    return Verdict("listed", codes, "; ".join(meanings))


def _meanings(of: BlockList, code: str) -> list[str]:
    if of.bits:
        last = int(code.rpartition(".")[2])
        return [what for bit, what in of.bits.items() if last & bit]
    meaning = of.codes.get(code, of.codes.get("*"))
    return [meaning] if meaning else []
