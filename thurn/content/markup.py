"""Reads HTML as a row of tags, texts and comments with their positions. Nothing is built and nothing is repaired."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from thurn.content.errors import TemplateError

VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
})  # fmt: skip
CLOSES_ITSELF = frozenset({
    "p", "li", "td", "th", "tr", "tbody", "thead", "tfoot", "dd", "dt", "option", "optgroup", "colgroup", "rt",
    "rp", "html", "head", "body",
})  # fmt: skip
RAW = frozenset({"style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
DEEPEST = 250  # far past any mail; the parser that inlines styles has a stack of its own to lose

_tag = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_between = re.compile(r"[\s/]*")
_attribute = re.compile(r"""([^\s/>=][^\s/>=]*)(\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")


@dataclass(frozen=True, slots=True)
class Attribute:
    """`name` in lower case, `value` as written (entities not resolved); `start` to `end` spans the whole attribute."""

    name: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Item:
    """A stretch of HTML. `raw`: what stands inside <style>, <title> and the like; `other`: doctypes and oddities."""

    kind: Literal["text", "start", "end", "comment", "raw", "other"]
    start: int
    end: int
    name: str = ""
    attributes: tuple[Attribute, ...] = ()

    def get(self, name: str) -> Attribute | None:
        """The first attribute of that name."""
        return next((a for a in self.attributes if a.name == name), None)


def scan(html: str) -> Iterator[Item]:
    """The items of `html`, in order and without gaps. A tag that never ends is `other`, up to the end."""
    position, length = 0, len(html)
    while position < length:
        opening = html.find("<", position)
        if opening < 0:
            yield Item("text", position, length)
            return
        item = _markup(html, opening)
        if item is None:  # a lone "<"
            following = html.find("<", opening + 1)
            opening = length if following < 0 else following
            yield Item("text", position, opening)
            position = opening
            continue
        if opening > position:
            yield Item("text", position, opening)
        yield item
        position = item.end
        if item.kind == "start" and item.name in RAW:
            closing = re.compile(rf"</{re.escape(item.name)}(?=[\s/>])", re.IGNORECASE).search(html, position)
            end = closing.start() if closing else length
            if end > position:
                yield Item("raw", position, end, item.name)
            position = end


def _markup(html: str, start: int) -> Item | None:
    """The tag, comment or declaration that begins at `start`."""
    if html.startswith("<!--", start):
        end = html.find("-->", start + 2)
        return Item("comment", start, len(html) if end < 0 else end + 3)
    if html.startswith(("<!", "<?"), start):
        end = html.find(">", start)
        return Item("other", start, len(html) if end < 0 else end + 1)
    opened = _tag.match(html, start)
    if opened is None:
        return None
    attributes, position = [], opened.end()
    while position < len(html):
        if gap := _between.match(html, position):
            position = gap.end()
        if found := _attribute.match(html, position):
            value = next((group for group in found.group(3, 4, 5) if group is not None), "")
            attributes.append(Attribute(found[1].lower(), value, found.start(1), found.end()))
            position = found.end()
        elif html.startswith(">", position):
            kind: Literal["start", "end"] = "end" if opened[1] else "start"
            return Item(kind, start, position + 1, opened[2].lower(), tuple(attributes))
        else:
            position += 1
    return Item("other", start, len(html))


def check_depth(html: str) -> None:
    """Refuse HTML that nests deeper than any mail does."""
    opened: Counter[str] = Counter()
    for item in scan(html):
        if item.name in VOID or item.name in CLOSES_ITSELF:
            continue
        if item.kind == "start":
            opened[item.name] += 1
            if opened.total() > DEEPEST:
                line = html.count("\n", 0, item.start) + 1
                raise TemplateError(
                    f"The HTML is nested deeper than {DEEPEST} elements. Is a closing tag missing?", line
                )
        elif item.kind == "end" and opened[item.name]:
            opened[item.name] -= 1
