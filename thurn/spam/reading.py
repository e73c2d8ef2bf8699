"""A held mail as text to look at: no markup of the sender's, nothing loaded, nothing run, within bounds. Pure."""

import re
from dataclasses import dataclass

from thurn.content.pieces import Pieces
from thurn.content.text import to_text
from thurn.feedback import mime

_LONGEST = 20_000  # characters shown
_HTML = 200_000  # characters of HTML looked at
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What can be shown of a mail."""

    text: str
    shortened: bool
    files: list[str]  # names of what is attached
    to: str
    subject: str


def read(message: bytes) -> Reading:
    """The mail's text, from its HTML where it has no other; never fails."""
    found = mime.parts(message)
    head = found[0].fields if found else mime.NOTHING
    plain = [part for part in found if part.kind == "text/plain" and not _file(part)]
    html = [part for part in found if part.kind == "text/html" and not _file(part)]
    text = "\n\n".join(part.text() for part in plain).strip()
    if not text and html:
        text = "\n\n".join(_from_html(part.text()[:_HTML]) for part in html)
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    shown = re.sub(r"\n{4,}", "\n\n\n", text[: _LONGEST * 2])[:_LONGEST]
    return Reading(
        text=shown,
        shortened=len(text) > len(shown) or len(message) > mime.LONGEST,
        files=[name for part in found[1:] if (name := _file(part))][:20],
        to=_line(head.get("to")),
        subject=_line(head.get("subject")),
    )


def _from_html(html: str) -> str:
    return to_text(html, Pieces("zq")).replace("\r\n", "\n")


def _file(part: mime.Part) -> str:
    """The name of an attached file; empty for what is read in the mail itself."""
    disposition = part.fields.get("content-disposition")
    named = re.search(r"""filename\*?\s*=\s*"?([^";]{1,300})""", disposition, re.IGNORECASE)
    name = named[1] if named else part.parameters.get("name", "")
    if name or disposition.lower().startswith("attachment"):
        return _line(name) or part.kind
    return "" if part.kind.startswith(("text/", "message")) else part.kind


def _line(value: str) -> str:
    return " ".join(_CONTROL.sub(" ", mime.words(value[:4000])).split())[:300]
