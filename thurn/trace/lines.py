"""What a line of `mx`'s mail log says of a message: pure, no files, no database.

Lines of interest (Postfix 3.7):

    Nov 24 20:30:01 mail postfix/smtpd[12]: NOQUEUE: info: RCPT from x[192.0.2.7]: taken; from=<…> to=<…> proto=…
    Nov 24 20:30:01 mail postfix/smtpd[12]: 4XyZ: client=mx.post.example[192.0.2.7], sasl_method=…, sasl_username=…
    Nov 24 20:30:01 mail postfix/cleanup[13]: 4XyZ: message-id=<1@post.example>
    Nov 24 20:30:01 mail postfix/qmgr[14]: 4XyZ: from=<a@post.example>, size=7012, nrcpt=1 (queue active)
    Nov 24 20:30:02 mail postfix/lmtp[15]: 4XyZ: to=<a@b>, orig_to=<c@b>, relay=…, …, dsn=2.0.0, status=sent (250 …)
    Nov 24 20:30:02 mail postfix/qmgr[14]: 4XyZ: removed
    Nov 24 20:30:02 mail postfix/cleanup[13]: 4XyZ: info: header X-Sieve-Redirected-From: a@b from x[127.0.0.1]; …
    Nov 24 20:30:02 mail postfix/smtpd[12]: NOQUEUE: reject: RCPT from x[192.0.2.7]: 554 …; from=<…> to=<…> proto=…
    Nov 24 20:30:02 mail postfix/cleanup[13]: 4XyZ: milter-reject: END-OF-MESSAGE from x[192.0.2.7]: 5.7.1 …; from=<…> …

The queue id comes with the first recipient that is taken, right behind it, from the same process. What is refused after
the data is refused for all that were taken, and names one of them, or none.

A stranger chooses HELO, addresses, Message-ID and replies. None of them can begin a line, and the process in front is
Postfix's own word; what a stranger wrote is only ever shown, and cut to a bearable length. After `from=` and `to=`
Postfix quotes an address, and of whatever could end a HELO it makes `?`. In the text of a refusal it quotes nothing:
there a recipient may look like the rest of a line, so a refusal is read from its end.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from thurn.feedback.postfix_log import QUEUE_ID, reply_of

LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3, without the brackets
LONGEST_TEXT = 1000

What = Literal["client", "message-id", "filtered", "taken", "from", "to", "refused", "told", "expired", "removed"]
State = Literal["delivered", "deferred", "bounced", "refused", "postponed"]

_LINE = re.compile(
    rb"^\w{3} [ \d]\d [\d:]{8} \S+ ([\w./-]+)/(\w+)\[(\d+)\]: (?:" + QUEUE_ID + rb"|NOQUEUE): (.*)$", re.DOTALL
)
# A stranger's text must never meet two patterns that could each end anywhere: one such line would keep us for minutes.
_CLIENT = re.compile(
    r"client=([^\[]*)\[([0-9A-Fa-f.:]+|unknown)\](?::\d+)?(?:, sasl_method=[^,]*, sasl_username=(.*))?$"
)
_FROM = re.compile(r"from=<(.*)>, size=(\d+), nrcpt=\d+ ")
_SENT_TO = re.compile(
    r"relay=([^,]*), (?:conn_use=\d+, )?delay=([\d.]+), delays=[\d./]+, dsn=([245]\.\d+\.\d+), "
    r"status=(sent|deferred|bounced) \((.*)\)$",
    re.DOTALL,
)
_REFUSED = re.compile(r"(?:milter-)?reject: (\S+) from ([^\[]*)\[([0-9A-Fa-f.:]+|unknown)\](?::\d+)?: ")
_TAKEN = re.compile(r"info: RCPT from [^\[]*\[(?:[0-9A-Fa-f.:]+|unknown)\](?::\d+)?: taken")
_FOR_ALL = frozenset({"DATA", "BDAT", "END-OF-MESSAGE"})  # stages that follow the recipients
# An address as Postfix logs it: what could be taken for the end of it stands in quotes, and those begin with it.
_ADDRESS = r'<((?:"(?:[^"\\]|\\.)*")?[^"<>\\; ]*)>'
_WHOM = re.compile(rf"to={_ADDRESS}(?:, orig_to={_ADDRESS})?, ")
_RECIPIENT = re.compile(rf"; from={_ADDRESS} to={_ADDRESS} proto=")
_ENVELOPE = re.compile(rf"; from={_ADDRESS}(?: to={_ADDRESS})? proto=\w+(?: helo=<([^\"<>\\; ]*)>)?$")
_CUT_BY_POSTFIX = 2000  # octets: it logs so much of a text, which may then end where a stranger wants
_TOLD = re.compile(r"(?:sender|postmaster) (non-delivery|delay|delivery status) notification: (\w+)$")
# What the door `filters` notes (thurn/stack/postfix_forward.py). Dovecot puts the first of these in front of all other
# headers, and names the mailbox as sender of what it answers.
_SENT_ON = re.compile(r"info: header X-Sieve-Redirected-From: (\S{1,254}) from .*: sent on$")
_ANSWERED = re.compile(
    r"info: header Auto-Submitted: .*; from=<([^<>]{1,254})> to=<[^<>]*> proto=\S+ helo=<[^<>]*>: answered$"
)
_CODE = re.compile(r"([245])(?:\d\d |\.\d)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line that says something of a message. `queue_id` is empty for what was refused before there was one."""

    queue_id: str
    what: What
    process: str = ""  # number of the smtpd, where it takes a recipient or gives a queue id
    service: str = ""  # of whose process: `postfix`, `postfix/submission`
    client_ip: str = ""
    client_name: str = ""
    login: str = ""
    helo: str = ""
    message_id: str = ""
    sender: str = ""
    size: int | None = None
    recipient: str = ""
    original: str = ""  # what it was written to, where an alias led elsewhere
    relay: str = ""
    delay: float | None = None  # seconds since it came
    state: State | None = None
    reply: str = ""
    for_all: bool = False  # refused for everybody who was taken; `recipient` may be empty


def parse(raw: bytes) -> Entry | None:
    """Read one line; None for what says nothing of a message. Never raises."""
    found = _LINE.match(raw)
    if found is None:
        return None
    service, process = found[1].decode("ascii", "replace"), found[2].decode("ascii", "replace")
    number, queue_id = found[3].decode("ascii"), (found[4] or b"").decode("ascii")
    text = found[5].decode("utf-8", "replace").replace("\0", "\ufffd").rstrip("\r\n")
    whole = len(raw.rstrip(b"\r\n")) - found.end(3) - len("]: ") < _CUT_BY_POSTFIX
    if process == "smtpd" and text.startswith("info: RCPT "):
        return _taken(queue_id, text, number)
    if not queue_id:
        return _refused("", text, service) if whole else None
    match process:
        case "smtpd" if text.startswith("client="):
            return replace(_client(queue_id, text, service), process=number)
        case "pickup":
            return Entry(queue_id, "client", service=service, client_name="this server")
        case "cleanup" if text.startswith(("message-id=", "resent-message-id=")):
            return Entry(queue_id, "message-id", message_id=_cut(text.partition("=")[2]))
        case "cleanup" if text.startswith("info: header "):
            by = _SENT_ON.match(text) or _ANSWERED.match(text)
            return Entry(queue_id, "filtered", login=_address(by[1])) if by else None
        case "qmgr" if text == "removed":
            return Entry(queue_id, "removed")
        case "qmgr" if text.startswith("from=<"):
            return _from(queue_id, text)
        case "postsuper" if text == "removed":
            return Entry(queue_id, "removed", reply="An administrator removed it from the queue")
        case "bounce":
            told = _TOLD.match(text)
            return Entry(queue_id, "told", reply=f"{told[1]} {told[2]}") if told else None
        case "smtpd" | "cleanup":
            return _refused(queue_id, text, service) if whole else None
        case _:
            return _to(queue_id, text)


def _client(queue_id: str, text: str, service: str) -> Entry:
    found = _CLIENT.match(text)
    if found is None:
        return Entry(queue_id, "client", service=service)
    login = (found[3] or "").split(", ")[0]
    return Entry(
        queue_id, "client", service=service, client_ip=found[2], client_name=_cut(found[1]), login=_address(login)
    )  # fmt: skip


def _from(queue_id: str, text: str) -> Entry | None:
    end = text.rfind(">")
    if text[end:].startswith((">, status=expired", ">, status=force-expired")):
        return Entry(queue_id, "expired", reply="4.4.7 expired: not delivered within the time allowed")
    found = _FROM.match(text)
    return Entry(queue_id, "from", sender=_address(found[1]), size=int(found[2][:15])) if found else None


def _to(queue_id: str, text: str) -> Entry | None:
    who = _WHOM.match(text)
    found = _SENT_TO.match(text, who.end()) if who else None
    if who is None or found is None:
        return None
    relay, delay, dsn, status, said = found.groups()
    state: State = "delivered" if status == "sent" else "deferred" if status == "deferred" else "bounced"
    return Entry(
        queue_id, "to", recipient=_address(who[1]), original=_address(who[2] or ""), relay=_cut(relay),
        delay=float(delay) if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", delay) else None, state=state,
        reply=_cut(reply_of(dsn, status, said)[0]),
    )  # fmt: skip


def _refused(queue_id: str, text: str, service: str) -> Entry | None:
    found = _REFUSED.match(text)
    if found is None:
        return None
    end, parts = len(text), None
    while parts is None and (end := text.rfind("; from=<", found.end(), end)) >= 0:
        parts = _ENVELOPE.match(text, end)
    for_all = bool(queue_id) and found[1] in _FOR_ALL
    if parts is None or not (parts[2] or for_all):
        return None
    reply = text[found.end() : end]
    code = _CODE.match(reply)
    return Entry(
        queue_id, "refused", service=service, client_ip=found[3], client_name=_cut(found[2]),
        helo=_cut(parts[3] or "", 255), sender=_address(parts[1]), recipient=_address(parts[2] or ""),
        reply=_cut(reply), state="postponed" if code and code[1] == "4" else "refused", for_all=for_all,
    )  # fmt: skip


def _taken(queue_id: str, text: str, process: str) -> Entry | None:
    found = _TAKEN.match(text)
    parts = _RECIPIENT.match(text, found.end()) if found else None
    return Entry(queue_id, "taken", process, recipient=_address(parts[2])) if parts and parts[2] else None


def _address(text: str) -> str:
    """As it is looked up: lower case, and no longer than an address can be."""
    return text.lower()[:LONGEST_ADDRESS]


def _cut(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
