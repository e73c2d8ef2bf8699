"""Markdown as a mail: our own page around it, one column, tables for Outlook, styles that mail programs keep."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from thurn.content.pieces import Pieces

_markdown = MarkdownIt("commonmark", {"html": True, "typographer": False}).enable(["table", "strikethrough"])

FOOTER = (
    "You get this mail because you are on one of our lists.<br>"
    '<a href="{mark}">Unsubscribe</a>: one click, and you get no more of them.'
)

PAGE = (Path(__file__).parent / "layout.html").read_text(encoding="utf-8")

_FOOT = """<table role="presentation" class="small" cellpadding="0" cellspacing="0" border="0"><tr><td class="foot">
%s
</td></tr></table>
"""


def to_page(masked: str, pieces: Pieces, unsubscribe: str | None) -> str:
    """A whole page for masked Markdown. `unsubscribe`: a mark for the footer's link; None: the text has its own."""
    words = _markdown.render(masked)
    # A tag alone on its line is no paragraph.
    mark = rf"{pieces.prefix}\d+qz"
    words = re.sub(rf"<p>((?:\s*{mark})+\s*)</p>", lambda found: _tags_only(found, pieces), words)
    foot = _FOOT % FOOTER.format(mark=unsubscribe) if unsubscribe else ""
    return PAGE.replace("[foot]", foot).replace("[words]", words, 1)


def _tags_only(found: re.Match[str], pieces: Pieces) -> str:
    kinds = {pieces.of(mark).kind for mark in pieces.pattern.finditer(found[1])}
    return found[1] if kinds == {"tag"} else found[0]
