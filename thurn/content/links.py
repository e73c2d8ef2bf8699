"""The finished page: links numbered, each mark's place known, the open pixel set."""

import html as entities
import re
from dataclasses import dataclass

from thurn.content.inline import HELD_STYLE
from thurn.content.markup import Item, scan
from thurn.content.pieces import Piece, Pieces
from thurn.content.safety import Place

URLS = frozenset({
    "href", "src", "background", "action", "formaction", "cite", "poster", "srcset", "data", "longdesc",
    "xlink:href",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """Masked HTML; `links` from number 1; `places`: for each piece number, how its value must be made safe."""

    html: str
    links: tuple[str, ...]
    places: dict[int, Place]


def finish(inlined: str, pieces: Pieces, *, tracked: bool) -> Page:
    """Replace constant http(s) targets of <a> by links, put held styles back, note places, add the pixel."""
    links: dict[str, int] = {}
    places: dict[int, Place] = {}
    marks, out, position = pieces.pattern, [], 0
    for item in scan(inlined):
        if item.kind == "start" and item.attributes:
            out.append(inlined[position : item.start])
            out.append(_tag(inlined, item, pieces, links, places))
            position = item.end
        elif item.kind == "end" and item.name == "body" and tracked:
            out.append(inlined[position : item.start])
            pixel = pieces.add(Piece("open", "", 0))
            out.append(f'<img src="{pixel}" width="1" height="1" alt="">')
            position = item.start
        elif item.kind == "raw" or (
            item.kind == "comment" and not marks.fullmatch(inlined, item.start + 4, item.end - 3)
        ):
            for mark in marks.finditer(inlined, item.start, item.end):
                places[int(mark[1])] = "text"
    out.append(inlined[position:])
    return Page("".join(out), tuple(links), places)


def _tag(html: str, item: Item, pieces: Pieces, links: dict[str, int], places: dict[int, Place]) -> str:
    """One start tag as it goes out."""
    held, style = item.get(HELD_STYLE), item.get("style")
    out, position = [], item.start
    for attribute in item.attributes:
        out.append(html[position : attribute.start])
        position = attribute.end
        value = attribute.value
        for mark in pieces.pattern.finditer(value):
            places[int(mark[1])] = _place(attribute.name, value[: mark.start()], pieces)
        if attribute is held:
            both = ";".join(part for part in (style.value.strip("; ") if style else "", value) if part)
            out.append(f'style="{both}"')
        elif attribute is style and held:
            out[-1] = out[-1].rstrip()
        elif item.name == "a" and attribute.name == "href" and _is_constant_link(value, pieces):
            out.append(f'href="{_link(value, pieces, links)}"')
        else:
            out.append(html[attribute.start : attribute.end])
    out.append(html[position : item.end])
    return "".join(out)


def _is_constant_link(value: str, pieces: Pieces) -> bool:
    """Whether a target is for the web and the same for everybody."""
    return re.match(r"\s*https?://", value, re.IGNORECASE) is not None and not pieces.pattern.search(value)


def _link(value: str, pieces: Pieces, links: dict[str, int]) -> str:
    """The mark of a tracked link; the same target has the same number."""
    target = entities.unescape(value).strip()
    number = links.setdefault(target, len(links) + 1)
    return pieces.add(Piece("link", target, 0, number))


def _place(name: str, before: str, pieces: Pieces) -> Place:
    """How a value in attribute `name` after the text `before` has to be made safe."""
    if name in URLS:
        return "url-part" if pieces.pattern.sub("", before).strip() else "url"
    return "css" if name in ("style", HELD_STYLE) else "html"
