"""Why mail was put off or refused, in words: the categories of feedback/classify.py for people."""

from dataclasses import dataclass

# category -> (what happened, what Thurn does while it is retried, what Thurn did after it bounced)
_WORDS: dict[str, tuple[str, str, str]] = {
    "unknown-address": ("Address does not exist", "Tried again until the provider is sure.", "Suppressed"),
    "moved": ("Mailbox was moved or closed", "Tried again until the provider is sure.", "Suppressed"),
    "host-unknown": ("Domain takes no mail", "Tried again, DNS may have failed for a moment.", "Suppressed"),
    "mailbox-full": ("Mailbox is full", "Tried again; the address stays on the list.", "Kept, tried next time"),
    "inactive": ("Mailbox is not used", "Tried again; the address stays on the list.", "Kept, tried next time"),
    "policy-block": ("Blocked by a rule of the provider", "Tried again more slowly.", "Kept: our problem, not theirs"),
    "reputation-block": (
        "The provider does not trust this sender yet",
        "Tried again more slowly.",
        "Kept: our problem, not theirs",
    ),
    "auth-failure": (
        "SPF, DKIM or DMARC did not pass",
        "Look at the domain’s records.",
        "Kept: our problem, not theirs",
    ),
    "rate-limited": ("The provider asks to slow down", "Tried again at a lower pace.", "Kept, tried next time"),
    "spam-refused": ("Taken for spam", "Tried again more slowly.", "Kept: our problem, not theirs"),
    "content-refused": ("Something in the mail was refused", "Tried again.", "Kept: our problem, not theirs"),
    "too-large": ("The mail is too large", "Tried again.", "Kept: our problem, not theirs"),
    "protocol-error": ("The servers did not understand each other", "Tried again.", "Kept, tried next time"),
    "greylisted": (
        "Greylisting: a first contact is put off",
        "The second try is usually taken.",
        "Kept, tried next time",
    ),
    "relay-refused": ("The server does not feel responsible", "Tried again.", "Kept, tried next time"),
    "tls-failure": ("No encrypted connection came about", "Tried again.", "Kept, tried next time"),
    "network": ("Server did not answer", "Tried again.", "Kept, tried next time"),
    "expired": ("Tried for days without success", "Tried again.", "Kept, tried next time"),
    "system-error": ("Fault at the provider", "Tried again.", "Kept, tried next time"),
    "other": ("A reason of its own", "Tried again.", "Kept, tried next time"),
}


@dataclass(frozen=True, slots=True)
class Why:
    """A category in words."""

    what: str
    then: str  # what Thurn does about it


def why(category: str, state: str) -> Why:
    """Words for a category of `deferred`, `bounced` or `failed` deliveries; an unknown one stands for itself."""
    what, retried, bounced = _WORDS.get(category, (category.replace("-", " ").capitalize(), *_WORDS["other"][1:]))
    if state == "failed":
        return Why(what if category != "other" else "The mail could not be made", "Not sent")
    return Why(what, retried if state == "deferred" else bounced)
