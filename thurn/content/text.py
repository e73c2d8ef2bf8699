"""The plain-text part, derived from the finished page: headings, lists, tables, links as `text (target)`."""

import html as entities
import re
from dataclasses import dataclass, field

from thurn.content.markup import Item, scan
from thurn.content.pieces import Pieces

PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr"])
LINES = frozenset({
    "div", "section", "article", "header", "footer", "main", "nav", "aside", "address", "center", "form",
    "fieldset", "figure", "figcaption", "li", "dt", "dd", "tr", "thead", "tbody", "tfoot", "caption", "body",
})  # fmt: skip
SILENT = frozenset({"style", "script", "title", "iframe", "xmp", "noembed", "noframes", "textarea"})
_spaces = re.compile(r"[ \t\n\r\f\u00a0]+")
_hidden = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_invisible = re.compile("[\u00ad\u034f\u200b-\u200d\u2060\ufeff]+")  # fillers after a preheader


@dataclass(slots=True)
class _Link:
    target: str
    start: int


@dataclass(slots=True)
class _Writer:
    """Collects text; breaks and blanks wait until something visible follows."""

    out: list[str] = field(default_factory=list)
    wanted: int = 0  # line breaks
    separator: str = ""  # between words or cells on a line
    margin: str = ""
    started: bool = False
    glued: bool = False  # behind a list marker: its paragraph starts on the same line

    def say(self, text: str) -> None:
        """Visible text."""
        if self.started and self.wanted:
            self.out.append("\n" * self.wanted + self.margin)
        elif self.started:
            self.out.append(self.separator)
        else:
            self.out.append(self.margin)
        self.out.append(text)
        self.started, self.wanted, self.separator, self.glued = True, 0, "", False

    def mark(self, text: str) -> None:
        """A Liquid tag: shows nothing itself and takes no break with it."""
        self.out.append(text)

    def lines(self, count: int) -> None:
        """At least `count` line breaks before what follows."""
        if not self.glued:
            self.wanted, self.separator = max(self.wanted, count), ""


def to_text(html: str, pieces: Pieces) -> str:
    """Masked plain text of masked, finished HTML; ends with one line break."""
    derived = _Derived(html, pieces)
    for item in scan(html):
        derived.take(item)
    return "".join(derived.writer.out).rstrip("\n") + "\n"


class _Derived:
    """The state of one derivation."""

    def __init__(self, html: str, pieces: Pieces) -> None:
        self.html, self.pieces, self.marks = html, pieces, pieces.pattern
        self.writer = _Writer()
        self.data_tables = _data_tables(html)
        self.tables: list[bool] = []
        self.lists: list[int | None] = []
        self.links: list[_Link] = []
        self.hidden: list[str] = []  # open elements, from the one that is hidden
        self.pre = 0

    def take(self, item: Item) -> None:
        """One item of the page."""
        if item.kind == "text":
            self.text(entities.unescape(self.html[item.start : item.end]))
        elif item.kind == "comment":
            mark = self.marks.fullmatch(self.html, item.start + 4, item.end - 3)
            if mark:
                self.liquid(mark)
        elif item.kind == "start":
            self.start(item)
        elif item.kind == "end":
            self.end(item.name)

    def liquid(self, mark: re.Match[str]) -> None:
        """A mark between texts."""
        kind = self.pieces.of(mark).kind
        if kind == "tag":
            self.writer.mark(mark[0])
        elif kind == "output" and not self.hidden:
            self.writer.say(mark[0])

    def text(self, text: str) -> None:
        """Characters of the page."""
        if self.hidden:
            return
        text = _invisible.sub("", text)
        if self.pre:
            lines = text.split("\n")
            for number, line in enumerate(lines):
                if number:
                    self.writer.wanted += 1
                if line:
                    self.writer.say(line)
            return
        words = _spaces.sub(" ", text)
        visible = words.strip(" ")
        writer = self.writer
        if words.startswith(" ") and not writer.wanted and not writer.separator:
            writer.separator = " "
        if visible:
            writer.say(visible)
            writer.separator = " " if words.endswith(" ") else ""

    def start(self, item: Item) -> None:
        """An element begins."""
        name, writer = item.name, self.writer
        if self.hidden:
            if name not in ("img", "br", "hr", "meta", "link", "input", "col", "wbr", "area"):
                self.hidden.append(name)
            return
        style = item.get("style")
        if style and _hidden.search(style.value) and name not in ("img", "br", "hr", "input"):
            self.hidden.append(name)
            return
        if name in PARAGRAPHS:
            # Tables that only lay out do not set their content apart; neither do lists within lists.
            layout = name == "table" and not self.data_tables.get(item.start)
            writer.lines(1 if layout or (name in ("ul", "ol") and self.lists) else 2)
        elif name in LINES:
            writer.lines(1)
        if name == "br":
            writer.wanted, writer.separator = writer.wanted + 1, ""
        elif name == "hr":
            writer.say("-" * 24)
            writer.lines(2)
        elif name == "img":
            self.image(item)
        elif name == "a":
            href = item.get("href")
            self.links.append(_Link(entities.unescape(href.value).strip() if href else "", len(writer.out)))
        else:
            self.structure(item)

    def structure(self, item: Item) -> None:
        """Lists, tables, quotes and preformatted text."""
        name, writer = item.name, self.writer
        if name in ("ul", "ol"):
            start = item.get("start")
            first = int(start.value) if start and re.fullmatch("[0-9]{1,6}", start.value) else 1
            self.lists.append(first if name == "ol" else None)
        elif name == "li":
            number = self.lists[-1] if self.lists else None
            writer.say("  " * max(len(self.lists) - 1, 0) + ("- " if number is None else f"{number}. "))
            writer.glued = True
            if number is not None:
                self.lists[-1] = number + 1
        elif name == "table":
            self.tables.append(self.data_tables.get(item.start, False))
        elif name in ("td", "th") and not writer.wanted:
            writer.separator = " | " if self.tables and self.tables[-1] else "  "
        elif name == "blockquote":
            writer.margin += "> "
        elif name == "pre":
            self.pre += 1

    def image(self, item: Item) -> None:
        """An image speaks by its alt text."""
        alt = item.get("alt")
        if alt and (text := _spaces.sub(" ", entities.unescape(alt.value)).strip()):
            self.writer.say(text)

    def end(self, name: str) -> None:
        """An element ends."""
        if self.hidden:
            if name in self.hidden:
                while self.hidden.pop() != name:
                    pass
            return
        if name in PARAGRAPHS:
            layout = name == "table" and self.tables and not self.tables[-1]
            self.writer.lines(1 if layout or (name in ("ul", "ol") and len(self.lists) > 1) else 2)
        elif name in LINES:
            self.writer.lines(1)
        if name in ("ul", "ol") and self.lists:
            self.lists.pop()
        elif name == "table" and self.tables:
            self.tables.pop()
        elif name == "blockquote":
            self.writer.margin = self.writer.margin[:-2]
        elif name == "pre":
            self.pre = max(self.pre - 1, 0)
        elif name == "a" and self.links:
            self.link(self.links.pop())

    def link(self, link: _Link) -> None:
        """What follows a link's text: its target, unless the text says it already."""
        if not link.target or link.target.startswith("#"):
            return
        label = "".join(self.writer.out[link.start :]).strip()
        mark = self.marks.fullmatch(link.target)
        shown = self.pieces.of(mark).text if mark and self.pieces.of(mark).kind == "link" else link.target
        if label in (shown, shown.removeprefix("mailto:"), shown.removeprefix("tel:")):
            if mark and self.pieces.of(mark).kind == "link":
                del self.writer.out[link.start + 1 :]
                self.writer.out.append(link.target)
            return
        separator, self.writer.separator = self.writer.separator, ""
        wanted, self.writer.wanted = self.writer.wanted, 0
        if label:
            self.writer.out.append(f" ({link.target})")
        else:
            self.writer.wanted, self.writer.separator = wanted, separator
            self.writer.say(link.target)
            return
        self.writer.wanted, self.writer.separator = wanted, separator


def _data_tables(html: str) -> dict[int, bool]:
    """Start of each table -> whether it has heading cells of its own: then its cells are columns, not layout."""
    found: dict[int, bool] = {}
    stack: list[int] = []
    for item in scan(html):
        if item.name == "table" and item.kind == "start":
            stack.append(item.start)
        elif item.name == "table" and item.kind == "end" and stack:
            stack.pop()
        elif item.name == "th" and item.kind == "start" and stack:
            found[stack[-1]] = True
    return found
