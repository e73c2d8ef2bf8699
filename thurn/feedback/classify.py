"""What a mail server's reply means: one classifier for SMTP replies, bounce mails and the Postfix log.

The knowledge is in rules.toml, in the order it is asked: wording that means one thing only, precise RFC 3463 codes,
general words, vague codes, the reply code. Pure; the same wording is read once and remembered.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

Fault = Literal["address", "receiver", "sender", "content"]
Action = Literal["suppress", "retry", "slow", "stop"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means. `hard`: the address is dead, and only then is the action `suppress`.

    `retry`: nothing wrong with how we send, try again (the same mail, or the next one). `slow`: send less to this
    provider. `stop`: more of the same will not get through; tell the sender.
    """

    category: str
    hard: bool
    fault: Fault
    action: Action
    rule: str  # what decided: a rule's name, `code x.y` or `reply nnn`


# category -> whose fault, action for a temporary refusal, action for a permanent one. Dead addresses: see DEAD.
CATEGORIES: dict[str, tuple[Fault, Action, Action]] = {
    "unknown-address": ("address", "retry", "suppress"),
    "moved": ("address", "retry", "suppress"),
    "host-unknown": ("address", "retry", "suppress"),
    "mailbox-full": ("address", "retry", "retry"),
    "inactive": ("address", "retry", "retry"),
    "policy-block": ("sender", "slow", "stop"),
    "reputation-block": ("sender", "slow", "stop"),
    "auth-failure": ("sender", "stop", "stop"),
    "rate-limited": ("sender", "slow", "slow"),
    "spam-refused": ("content", "slow", "stop"),
    "content-refused": ("content", "stop", "stop"),
    "too-large": ("content", "stop", "stop"),
    "protocol-error": ("sender", "retry", "stop"),
    "greylisted": ("receiver", "retry", "retry"),
    "relay-refused": ("receiver", "retry", "retry"),
    "tls-failure": ("receiver", "retry", "retry"),
    "network": ("receiver", "retry", "retry"),
    "expired": ("receiver", "retry", "retry"),
    "system-error": ("receiver", "retry", "retry"),
    "other": ("receiver", "retry", "retry"),
}
DEAD = frozenset(category for category, (_, _, permanent) in CATEGORIES.items() if permanent == "suppress")

_LONGEST = 2000  # characters looked at; a longer reply says nothing more

_ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:]{1,256}@[^\s<>()\[\]"',;:]{1,256}""")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_CODE = re.compile(r"(?<![\w.\-/#])([245][0-5]\d)(?=[ \-,;:]|$)")
_ENHANCED = re.compile(r"(?<![\w.])([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d|[\w-])")
# Which command a reply answers, as Postfix, Exim and sendmail quote it.
_TO_SENDER = re.compile(
    r"in reply to (mail from|ehlo|helo) command|after (mail from|ehlo|helo)\b|>>> (mail from|[eh][he]lo)"
)
_TO_DATA = re.compile(r"in reply to (end of )?data command|after (end of )?data|>>> (data|bdat)")
# What a mail that came back adds to a reply quoted in it, if it does not say which command was refused.
UNNAMED = "(in reply to a command not named)"
_IN_REPLY = re.compile(r"\(in reply to [a-z ]{4,20}\)")
_QUEUE_ID = re.compile(r"\b(?=\w*\d)(?=\w*[a-z])\w{14,}\b")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of rules.toml."""

    name: str
    stage: str
    category: str
    found: re.Pattern[str]
    unless: re.Pattern[str] | None
    matches: str
    differs: str

    def fits(self, text: str) -> bool:
        """Whether a normalised reply is this rule's case."""
        return bool(self.found.search(text)) and not (self.unless and self.unless.search(text))


@dataclass(frozen=True, slots=True)
class Rules:
    """The data file, compiled."""

    provider: tuple[Rule, ...]
    words: tuple[Rule, ...]
    precise: dict[str, str]
    vague: dict[str, str]
    reply: dict[str, str]


def _rule(entry: dict[str, Any]) -> Rule:
    unless = entry.get("unless")
    return Rule(
        name=entry["name"],
        stage=entry["stage"],
        category=entry["category"],
        found=re.compile("|".join(entry["any"])),
        unless=re.compile("|".join(unless)) if unless else None,
        matches=entry["matches"],
        differs=entry["differs"],
    )


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The rules, read from the data file once."""
    data = tomllib.loads(files("thurn.feedback").joinpath("rules.toml").read_text("utf-8"))
    every = [_rule(entry) for entry in data["rule"]]
    return Rules(
        provider=tuple(rule for rule in every if rule.stage == "provider"),
        words=tuple(rule for rule in every if rule.stage == "words"),
        precise=data["precise"],
        vague=data["vague"],
        reply=data["reply"],
    )


def codes(reply: str) -> tuple[str, str]:
    """(reply code, enhanced code) of a reply, empty where it has none: `550 5.1.1 …` gives ("550", "5.1.1")."""
    text = _IPV4.sub("n.n.n.n", reply[:_LONGEST].lower())
    said = text.find(" said: ")  # Postfix: what the server answered comes after this
    code = _CODE.search(text, said + 7 if said >= 0 else 0)
    enhanced = _ENHANCED.search(text)
    return code.group(1) if code else "", enhanced.group() if enhanced else ""


def normalise(reply: str) -> str:
    """A reply as the rules see it: lower case, one line, no continuation codes, addresses and numbers masked."""
    text = " ".join(reply[:_LONGEST].lower().split())
    text = _IPV4.sub("n.n.n.n", _ADDRESS.sub("addr@", text))
    code = _CODE.search(text)
    if code is not None:  # `550-5.1.1 one 550 5.1.1 two`: the codes of the second line interrupt the sentence
        digits, end = code.group(1), code.end()
        text = text[:end] + re.sub(rf" {digits}[-, ](?:\d\.\d{{1,3}}\.\d{{1,3}} )?", " ", text[end:])
    return _QUEUE_ID.sub("#", text)


def classify(reply: str) -> Verdict:
    """Read a reply: an SMTP reply with or without its codes, a diagnostic of a bounce, or Postfix's own words.

    An enhanced code of class 4, or a reply code 4xx, makes it temporary, and nothing temporary is hard. Nor is what was
    said to DATA: a server that took the recipient and then calls it unknown is filtering. What was said to MAIL FROM is
    about the sender. Both are known if the text says so, as in Postfix's `(in reply to MAIL FROM command)`.

    Words like "user unknown" in a mail that came back, where nobody says to which command (`UNNAMED`), are a hint and
    no proof: whoever relayed the mail had taken the recipient before, and filters answer in those words too. A code
    5.1.x or the wording of one provider is proof wherever it stands (docs/decisions/0019).
    """
    return _classify(normalise(reply))


@lru_cache(maxsize=8192)
def _classify(text: str) -> Verdict:
    unnamed = UNNAMED in text
    code, enhanced = codes(text)
    temporary = (code or enhanced).startswith("4")
    category, decided, proven = _decide(_IN_REPLY.sub("", text).rstrip(), code, enhanced)
    to_data = category in DEAD and bool(_TO_DATA.search(text))
    if (category in DEAD and _TO_SENDER.search(text)) or (to_data and category == "host-unknown"):
        category, decided = "policy-block", f"{decided}, about the sender"
    hint = category == "unknown-address" and unnamed and not proven
    fault, if_temporary, if_permanent = CATEGORIES[category]
    hard = category in DEAD and not temporary and not to_data and not hint
    action = if_temporary if temporary or (category in DEAD and not hard) else if_permanent
    return Verdict(
        category=category,
        hard=hard,
        fault=fault,
        action=action,
        rule=decided,
    )


def _decide(text: str, code: str, enhanced: str) -> tuple[str, str, bool]:
    """(category, what decided, whether it can mean nothing else), by the order of rules.toml."""
    known = rules()
    for rule in known.provider:
        if rule.fits(text):
            return rule.category, rule.name, True
    detail = enhanced.partition(".")[2]
    if detail in known.precise:
        return known.precise[detail], f"code {detail}", True
    for rule in known.words:
        if rule.fits(text):
            return rule.category, rule.name, False
    if detail in known.vague:
        return known.vague[detail], f"code {detail}", False
    if code in known.reply:
        return known.reply[code], f"reply {code}", False
    return "other", "nothing fitted", False
