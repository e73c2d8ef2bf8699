"""A mail's way as stops of a route, in words for people: pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from thurn.campaigns.why import why
from thurn.feedback.classify import classify
from thurn.spam.reasons import reasons

# state of a recipient -> word of the vocabulary
WORDS = {
    "delivered": "Delivered", "deferred": "Retrying", "bounced": "Bounced", "refused": "Refused",
    "postponed": "Put off",
}  # fmt: skip
# state of a campaign's delivery -> word of the vocabulary
CAMPAIGN_WORDS = {
    "queued": "Waiting", "leased": "Waiting", "handed_over": "Sending", "delivered": "Delivered",
    "deferred": "Retrying", "bounced": "Bounced", "failed": "Failed", "suppressed": "Suppressed",
    "cancelled": "Cancelled", "unknown": "Unknown",
}  # fmt: skip
_KINDS = {"delivered": "ok", "deferred": "warn", "bounced": "bad", "refused": "bad", "postponed": "warn"}
_ICONS = {
    "delivered": "mail-check", "deferred": "hourglass", "bounced": "problem", "refused": "person-off",
    "postponed": "hourglass",
}  # fmt: skip
_VERDICTS = {
    "reject": ("bad", "Refused as spam"),
    "soft reject": ("warn", "Put off by the spam filter"),
    "greylist": ("warn", "Put off once: greylisting"),
    "add header": ("warn", "Taken for spam, put into Junk"),
    "rewrite subject": ("warn", "Taken for spam, put into Junk"),
}


# Codes in front of our own words, and the address that Postfix repeats.
_CODES = re.compile(r"^(?:[245]\d\d )?(?:[245]\.\d+\.\d+ )?(?:<[^>]*>: )?")


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop. `reply` is what a server said, word for word; `facts` are lines of name and value."""

    at: datetime
    kind: str
    icon: str
    title: str
    text: str = ""
    reply: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)


def route(mail: Mapping[str, Any]) -> list[Stop]:
    """The stops of a traced mail (search.message), in order."""
    stops = [_received(mail)] if mail["queue_id"] else []
    if mail["verdict"]:
        stops.append(_judged(mail["verdict"]))
    several = len(mail["recipients"]) > 1
    later = [
        _step(step, recipient, several=several) for recipient in mail["recipients"] for step in recipient["steps"]
    ]  # fmt: skip
    later += [_for_all(step) for step in mail["steps"]]
    return stops + sorted(later, key=lambda stop: stop.at)


def state_of(mail: Mapping[str, Any]) -> str:
    """The word beside the title: of its only state, else none."""
    states = {recipient["state"] for recipient in mail["recipients"]}
    return WORDS[states.pop()] if len(states) == 1 else ""


def reason(state: str, reply: str) -> str:
    """Why it was not delivered: by what the other server said, or as we said it at our own door."""
    if state in ("refused", "postponed"):
        said = _CODES.sub("", reply)
        return said if len(said) <= 120 else said[:119] + "…"
    return why(classify(reply).category, "bounced").what


def _received(mail: Mapping[str, Any]) -> Stop:
    who = f"{mail['client_name']} [{mail['client_ip']}]" if mail["client_ip"] else mail["client_name"]
    if mail["login"]:
        return Stop(mail["at"], "done", "send", f"Sent by {mail['login']}", f"Signed in, from {who}.")
    return Stop(mail["at"], "done", "inbox", "Taken in", f"From {who}." if who else "")


def _judged(verdict: Mapping[str, Any]) -> Stop:
    kind, title = _VERDICTS.get(verdict["action"], ("done", "Not taken for spam"))
    text = f"{verdict['score']:.1f} points; refused from {verdict['required']:.0f}."
    if kind != "done":
        said = reasons(
            [symbol | {"score": float(symbol.get("score") or 0)} for symbol in verdict["symbols"] if "name" in symbol],
            header_from=verdict["header_from"],
            mail_from=verdict["mail_from"],
        )
        text += " " + " ".join(each.text for each in said)
    checks = [(name.upper(), verdict[name] or "none") for name in ("spf", "dkim", "dmarc", "arc")]
    symbols = [
        (f"{float(symbol.get('score') or 0):+.1f}", str(symbol.get("name", ""))) for symbol in verdict["symbols"][:12]
    ]
    return Stop(verdict["at"], kind, "shield", title, text, facts=checks + symbols)


def _step(step: Mapping[str, Any], recipient: Mapping[str, Any], *, several: bool) -> Stop:
    what = step["what"]
    who = f" {'to' if what == 'delivered' else 'for'} {recipient['recipient']}" if several else ""
    title = f"{WORDS[what] if what != 'deferred' else 'Put off'}{who}"
    text = [] if what == "delivered" else [f"{reason(what, step['reply'])}."]
    if what in ("deferred", "postponed"):
        text.append("Thurn tries again by itself." if what == "deferred" else "Its server tries again by itself.")
    if step["relay"] not in ("", "none"):
        text.append(f"By {'the mailbox store' if 'dovecot-lmtp' in step['relay'] else step['relay']}.")
    if recipient["original"]:
        text.append(f"Written to {recipient['original']}.")
    return Stop(step["at"], _KINDS[what], _ICONS[what], title, " ".join(text), step["reply"])


def _for_all(step: Mapping[str, Any]) -> Stop:
    match step["what"]:
        case "told":
            kind, _, number = step["reply"].rpartition(" ")
            return Stop(step["at"], "", "mail", "Its sender was told", f"By a notice of {kind}, {number}.")
        case "expired":
            return Stop(step["at"], "bad", "clock", "Given up", "Tried for days without success.", step["reply"])
        case _:
            return Stop(step["at"], "bad", "trash", "Removed from the queue", step["reply"])
