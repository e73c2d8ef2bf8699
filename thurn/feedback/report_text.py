"""Reading the human part of a bounce: where the original begins, which addresses failed, which words say why. Pure."""

import re

from thurn.feedback.classify import classify, codes

_TEXT = 20_000  # characters that are looked at
_LINE = 600

# Where a report ends and the mail it is about begins.
_ORIGINAL = re.compile(
    r"(?im)^[ \t>]*(?:"
    r"[-=_*]{2,}+.{0,20}(original|copy of (the|your)|below this line|unsent message|returned message|"
    r"message header|"
    r"header of the|headers? of|following is a copy|message follows|undelivered message|ursprüngliche|"
    r"mensaje original|"
    r"message text follows|transcript of message|included is a copy|enclosed is).{0,80}"
    r"|(original message|your original message|the (text|first|header).{0,60} of (the|"
    r"your) (original )?message|"
    r"message headers? (follow|are)|a copy of (the|your) (original )?message|"
    r"received: ?(from|by) .{5,}|return-path: ?<.*|dkim-signature: .*|\*+ ?original.*|"
    r"included is a copy of the message header.*|the rejected message.*|unsent message.*)[^\n]{0,120}"
    r")$|^(?:x-(?!failed)[\w-]+|mime-version|arc-[\w-]+|authentication-results): .*$"
)
_REPLY = re.compile(
    r"(?<![\w.\-/@:])[45]\d\d[ \-]|(?<![\w.])[45]\.\d{1,3}\.\d{1,3}(?![\w.])|\bsaid:|^\s*(<<<|>>>)|\breason:|"
    r"diagnostic[- ]code|#[45]\.\d|smtp error",
    re.IGNORECASE,
)
_SENT = re.compile(r"(?i)^\s*>>>\s*(rcpt|mail|data|helo|ehlo|quit|rset)\b|(?<![\w])250[ \-]")
# Lines that every report has and that say nothing.
_EMPTY = re.compile(
    r"(?i)^[ \t]*(-{2,}.*-{2,}|hi\.? this is|this is (the|an? )|i.m (afraid|sorry)|sorry\W*$|"
    r"this message (was|is) (created|generated)|a message that you|"
    r"recipients?\.? ?this is a permanent|your (message|mail) *$|subject:|to:|date:|sent:|from:|"
    r"for (further|more)|please|if you|"
    r"delivery to the following recipients? (failed|has been)|technical details|the following (recipient|"
    r"address)|could not be delivered to one|"
    r"unable to deliver (your )?message to the following|was not delivered to|because:?$|"
    r"the original message was|the mail system|message from)"
)
_ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:=]{1,100}@[A-Za-z0-9][A-Za-z0-9.-]{1,200}\.[A-Za-z0-9-]{2,40}""")


def cut(text: str) -> tuple[str, str]:
    """(the report, the original mail) of a text that may hold both."""
    text = text[: 4 * _TEXT]
    found = _ORIGINAL.search(text)
    if found is None:
        return text[:_TEXT], ""
    start = found.start() if re.match(r"(?i)[ \t>]*(received|return-path|dkim-signature):", found[0]) else found.end()
    return text[: found.start()][:_TEXT], text[start:]


def _without_element(html: str, name: str) -> str:
    """Drop an element and what is in it; one that never ends, to the end."""
    kept, position, lower = [], 0, html.lower()
    while (start := lower.find(f"<{name}", position)) >= 0:
        kept.append(html[position:start])
        end = lower.find(f"</{name}>", start)
        if end < 0:
            return " ".join(kept)
        position = end + len(name) + 3
    return " ".join([*kept, html[position:]])


def without_markup(html: str) -> str:
    """The words of an HTML part, roughly: enough to find a reply in."""
    html = _without_element(_without_element(html[: 4 * _TEXT], "style"), "script")
    html = re.sub(r"(?i)<(br|/p|/div|/tr|/h\d|/li)[^>]{0,200}>", "\n", html)
    text = re.sub(r"<[^>]{0,2000}>", " ", html)
    for entity, char in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ):
        text = text.replace(entity, char)
    return text


# How reports name the command that was refused: Postfix, Exim, X6, X3, Yahoo, qmail, and a dialogue as it is shown.
_COMMAND = re.compile(
    r"(?i:in\s+reply\s+to)\s+(?i:(?:the\s+)?(?P<postfix>(?:end\s+of\s+)?[a-z]{4}(?:\s+(?:from|to))?)\s+command)|"
    r"\b(?i:after|following|during|sending|(?:in\s+)?response\s+to|in\s+reply\s+to|most\s+progress\s+was|command:?)\s+"
    r"(?P<named>RCPT|MAIL|EHLO|HELO|DATA)\b|\bSMTP:(?P<host>RCPT|MAIL|EHLO|HELO|DATA)\s+host\b|\[(?P<yahoo>RCPT)_TO\]|"
    r"\b(?:after|following|sending)\s+(?P<exim>end\s+of\s+data|initial\s+connection)\b|"
    r"(?P<recipient>does\s+not\s+like\s+recipient)|(?P<sender>but\s+sender\s+was\s+rejected)|"
    r"(?P<name>but\s+my\s+name\s+was\s+rejected)|(?P<message>failed\s+(?:on\s+DATA\s+command|after\s+I\s+sent\s+the\s+message))|"
    r"^[ \t]*>>> ?(?P<said>(?i:rcpt|mail|helo|ehlo))\b[^\n]*\n[ \t]*<<< ?[45]\d\d",
    re.MULTILINE,
)
_NAMES = {
    "rcpt": "rcpt to", "mail": "mail from", "recipient": "rcpt to", "sender": "mail from", "name": "helo",
    "message": "end of data", "initial connection": "ehlo",
}  # fmt: skip


def command(report: str) -> str:
    """The SMTP command that was refused, in lower case, if the report says so: `rcpt to`, `end of data` …

    Not `data` from a dialogue: sendmail pipelines, and shows the answer to RCPT TO below DATA.
    """
    found = _COMMAND.search(report[:_TEXT].replace("\r", ""))
    if found is None or found.lastgroup is None:
        return ""
    said = " ".join(found[found.lastgroup].lower().split())
    return _NAMES.get(found.lastgroup, _NAMES.get(said, said))


_OWN_WORDS = re.compile(
    r"(?i)^Your message to [^\n]{1,300} was automatically rejected:\s*\n([^\n]{3,600})", re.MULTILINE
)


def own_words(report: str) -> str:
    """Why the server that reports refused a mail itself, in Dovecot's form; empty for other reports."""
    found = _OWN_WORDS.search(report[:_TEXT].replace("\r", ""))
    return f"automatically rejected: {found[1].strip()}" if found else ""


def refused_command(report: str, address: str, diagnostic: str) -> str:
    """The command a diagnostic answers: as it says, else where the report speaks of the address, else anywhere."""
    start = report.lower().find(address.lower()) if address else -1
    near = report[start : start + 800] if start >= 0 else ""
    return command(diagnostic) or command(near) or command(report)


def addresses(report: str, *own: str) -> list[str]:
    """Addresses that a report names, without those it is from and to, in order, each once."""
    found = dict.fromkeys(match[0].strip(".").lower() for match in _ADDRESS.finditer(report))
    ours = {address.lower() for address in own}
    return [a for a in found if a not in ours and not re.match(r"(mailer-daemon|postmaster|mdaemon|no-?reply)@", a)][
        :20
    ]


def diagnostic(report: str, address: str) -> str:
    """The words that say why: a server's reply if one is quoted, else lines near the address, else any that speak."""
    lines = [line.strip()[:_LINE] for line in report[:_TEXT].splitlines()]
    start = next((n for n, line in enumerate(lines) if address and address.lower() in line.lower()), 0)
    if start and lines[start - 1].startswith("<<<"):  # sendmail shows what the server said, then what it makes of it
        start -= 1
    near, before, after = lines[start : start + 12], lines[:start], lines[start + 12 :]
    said = [*_quoted(lines[start:]), *_quoted(before), *_lines(near), *_lines(before), *_lines(after)]
    ranked = sorted(said, key=_vagueness)  # stable: of equals the nearest
    return ranked[0] if ranked and _vagueness(ranked[0]) < 3 else ""


def _vagueness(said: str) -> int:
    """0 a reply or a sentence with one meaning, 1 a general refusal, 2 codes alone, 3 nothing."""
    verdict = classify(said)
    if verdict.rule in ("policy", "broken-receiver"):
        return 1
    if verdict.rule == "nothing fitted":
        return 3
    return 2 if verdict.rule.startswith("reply") or (verdict.category == "other" and any(codes(said))) else 0


def _quoted(lines: list[str]) -> list[str]:
    """Replies of a server, each with the lines that continue it."""
    replies = []
    for n, line in enumerate(lines):
        if not _REPLY.search(line) or _SENT.search(line):
            continue
        reply = line
        for following in lines[n + 1 : n + 6]:
            if not following or following.startswith(_ENDS) or _ADDRESS.match(following):
                break
            reply = f"{reply} {following}"
        replies.append(reply)
        if len(replies) == 20:
            break
    return replies


_ENDS = ("--", ">>>", "<<<", "Giving up", "I'm not going to try")


def _lines(lines: list[str]) -> list[str]:
    """Lines that say something, and all of them together, as sentences run over lines."""
    kept = [line for line in lines[:60] if line and not _EMPTY.match(line) and not _SENT.search(line)]
    return [*kept, " ".join(kept)] if len(kept) > 1 else kept
