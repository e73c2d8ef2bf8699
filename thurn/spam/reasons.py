"""Why a mail looks like spam, in words for the one it was for: a table from Rspamd's symbols to sentences. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence; `bad` when it is about deceit or harm."""

    level: Level
    text: str


# `{seen}`: domain of the address people see; `{sent}`: domain it was sent in the name of.
_SENTENCES: dict[str, tuple[Level, str]] = {
    "THURN_ALLOWED_NOT_PROVEN": (
        "bad",
        "Its sender is on your list of allowed ones, but nothing proves that it is them.",
    ),
    "DMARC_POLICY_REJECT": ("bad", "Claims to be from {seen}, but was not sent from their server."),
    "DMARC_POLICY_QUARANTINE": ("bad", "Claims to be from {seen}, but was not sent from their server."),
    "DMARC_POLICY_SOFTFAIL": ("warn", "Says it is from {seen}, but nothing proves it."),
    "R_SPF_FAIL": ("bad", "{sent} says that the server it came from may not send its mail."),
    "R_SPF_SOFTFAIL": ("warn", "It came from a server that {sent} does not usually send from."),
    "R_DKIM_REJECT": ("bad", "Its signature does not fit: it was forged, or changed on the way."),
    "PHISHING": ("bad", "A link shows one address and leads to another."),
    "SPOOF_DISPLAY_NAME": ("bad", "Shows somebody else’s address as its name."),
    "FORGED_SENDER": ("warn", "The sender it shows and the one it was sent by differ."),
    "SPOOF_REPLYTO": ("warn", "Answers would go to somebody else than its sender."),
    "MIME_BAD_EXTENSION": ("bad", "Carries a file of a kind that can do harm."),
    "MIME_DOUBLE_BAD_EXTENSION": ("bad", "Carries a program that pretends to be a document."),
    "MIME_ENCRYPTED_ARCHIVE": ("warn", "Carries a locked archive that cannot be looked into."),
    "BAYES_SPAM": ("warn", "Reads like mail that people here moved to Junk."),
    "NEURAL_SPAM": ("warn", "Resembles mail that was spam before."),
    "R_SUSPICIOUS_URL": ("warn", "Has a link that hides where it leads."),
    "R_WHITE_ON_WHITE": ("warn", "Hides text from its reader."),
    "ZERO_FONT": ("warn", "Hides text from its reader."),
    "MANY_INVISIBLE_PARTS": ("warn", "Hides text from its reader."),
    "LOTS_OF_LINKS": ("warn", "Has many links and little text."),
    "SUBJ_ALL_CAPS": ("warn", "Shouts in its subject."),
    "BITCOIN_ADDR": ("warn", "Asks for money in a currency that cannot be traced."),
    "LEAKED_PASSWORD_SCAM": ("bad", "Is a known kind of blackmail."),
    "AUTH_NA": ("warn", "Nothing proves who sent it."),
    "AUTH_NA_OR_FAIL": ("warn", "Nothing proves who sent it."),
    "VIOLATED_DIRECT_SPF": ("bad", "{sent} says that the server it came from may not send its mail."),
    "GTUBE": ("warn", "Is the test mail that every spam filter refuses (GTUBE)."),
    "SIMULATED_SPAM": ("warn", "Looks like spam in the simulated internet."),
}
_FAMILIES: tuple[tuple[str, Level, str], ...] = (
    ("FUZZY_", "bad", "The same mail was reported as spam elsewhere."),
    ("PHISHED_", "bad", "Has a link to a site known for stealing passwords."),
    ("URIBL_", "bad", "Has a link to a site known from spam."),
    ("DBL_", "bad", "Has a link to a site known from spam."),
    ("SURBL", "bad", "Has a link to a site known from spam."),
    ("RBL_", "warn", "Its server is known for sending spam."),
    ("RECEIVED_SPAMHAUS", "warn", "Its server is known for sending spam."),
    ("HFILTER_", "warn", "Its server does not say truthfully who it is."),
    ("RDNS_", "warn", "Its server does not say truthfully who it is."),
    ("MISSING_", "warn", "Lacks what every proper mail program puts in."),
    ("INVALID_", "warn", "Is not written as a proper mail program would."),
    ("BROKEN_", "warn", "Is not written as a proper mail program would."),
    ("FAKE_", "warn", "Pretends to be an answer, or from a program it is not from."),
    ("FORGED_", "warn", "Pretends to be an answer, or from a program it is not from."),
    ("SUSPICIOUS_", "warn", "Is not written as a proper mail program would."),
)
# Said although they count no points of their own.
_ALWAYS = frozenset({"THURN_ALLOWED_NOT_PROVEN", "DMARC_POLICY_REJECT", "DMARC_POLICY_QUARANTINE"})


def reasons(
    symbols: Iterable[Mapping[str, Any]], *, header_from: str = "", mail_from: str = "", most: int = 4
) -> list[Reason]:
    """The weightiest reasons, each sentence once; never empty."""
    seen, sent = _domain(header_from) or "somebody else", _domain(mail_from) or "The sender’s domain"
    found: list[Reason] = []
    weighed = sorted(symbols, key=lambda each: (each["name"] not in _ALWAYS, -float(each["score"])))
    for symbol in weighed:
        if symbol["score"] <= 0 and symbol["name"] not in _ALWAYS:
            continue
        sentence = _sentence(str(symbol["name"]))
        if sentence is None:
            continue
        reason = Reason(sentence[0], sentence[1].replace("{seen}", seen).replace("{sent}", sent))
        if reason not in found:
            found.append(reason)
    return found[:most] or [Reason("warn", "Many small things about it look like spam.")]


def _sentence(name: str) -> tuple[Level, str] | None:
    if name in _SENTENCES:
        return _SENTENCES[name]
    return next(((level, text) for prefix, level, text in _FAMILIES if name.startswith(prefix)), None)


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
