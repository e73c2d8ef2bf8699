"""Who wrote a mail that is no report: a program for a person who is away, one that challenges, or a person. Pure."""

import re

from thurn.feedback.mime import Fields, words

_AWAY = re.compile(
    r"(?i)^(re: ?)?(\[?(auto(matic|matische|matisch)?[ -]?(reply|response|responder|antwort)|"
    r"out of (the )?office|away from|"
    r"abwesen|réponse automatique|absence|respuesta automática|risposta automatica|自動返信|自动回复|i am (away|on)|"
    r"on (vacation|holiday|leave)|vacation|urlaub|fuera de (la )?oficina|ferie|automatisch antwoord))"
)
REFUSED = re.compile(
    r"(?i)undeliver|returned mail|failure notice|delivery (status|fail|report|problem|notif)|"
    r"mail delivery|not? (be )?deliver|"
    r"mail (system )?error|non.?remis|unzustellbar|rückläufer|delivery failure|could ?n.t|"
    r"unable to deliver|failed|nondeliver|"
    r"error sending|returned to sender|mail could not|rejected|bounce|undelivered|配信|送信|не доставлен|"
    r"mail failure|"
    r"message status|service unavailable|host unknown|user unknown"
)
DAEMON = re.compile(
    r"(?i)mailer[-_. ]?daemon|post[-_]?master|mail (delivery|system)|system administrator|mailadm|^<>$|"
    r"mdaemon|\bmta\b"
)


# Whoever writes has to prove something first; what challenges in our name is no bounce either.
_CHALLENGE = re.compile(
    r"(?i)(please|must|to) (confirm|verify|validate) (that you|you are|your|delivery|this|the) .{0,60}"
    r"(human|sen[dt]|message|e-?mail|address|delivery|identity)|"
    r"(message|mail)\b.{0,40}(requires|awaiting|needs|pending) (your )?(confirm|verif|approv|authoriz)|"
    r"spam ?arrest|boxtrapper|\btmda\b|challenge.?response|spamblocker|"
    r"not (yet )?(on|in) my (list|address book|white ?list)|"
    r"one-?time (confirmation|verification)|confirm(ation)? (required|request)"
)
_CHALLENGERS = ("x-boxtrapper", "x-tmda-fingerprint", "x-spamarrest-noexpire", "x-delivery-agent-challenge")


def _challenges(fields: Fields, subject: str, report: str) -> bool:
    if any(name in fields for name in _CHALLENGERS):
        return True
    return bool(_CHALLENGE.search(subject) or _CHALLENGE.search(report[:1500]))


def answers(fields: Fields, subject: str) -> bool:
    """Whether a person answers: it refers to another mail, and nothing says that a program or a list wrote it."""
    if "list-id" in fields or fields.get("precedence").lower() in ("bulk", "list", "junk"):
        return False
    if fields.get("auto-submitted").lower() not in ("", "no") or DAEMON.search(words(fields.get("from"))):
        return False
    return (
        "in-reply-to" in fields
        or "references" in fields
        or bool(re.match(r"(?i)(re|aw|sv|antw|rif|odp|ynt|回复|答复|返信)\s?[:：]", subject))
    )


def automatic(fields: Fields, subject: str, report: str, *, returned: bool) -> bool:
    """Whether a program answers for a person: an absence (RFC 3834), a challenge. `returned`: it holds a mail."""
    if "x-failed-recipients" in fields or DAEMON.search(words(fields.get("from"))):
        return False
    submitted = fields.get("auto-submitted").lower()
    replied = (
        submitted.startswith(("auto-replied", "auto-generated"))
        or any(name in fields for name in ("x-autoreply", "x-autorespond", "x-autoreply-from", "x-auto-reply"))
        or "auto_reply" in fields.get("precedence").lower()
        or fields.get("x-precedence").lower() == "auto_reply"
        or "oof" in fields.get("x-auto-response-suppress").lower().split(", ")
        or bool(_AWAY.match(subject))
        or _challenges(fields, subject, report)
    )
    return replied and not (returned and REFUSED.search(subject))
