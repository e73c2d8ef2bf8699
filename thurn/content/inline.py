"""HTML as mail programs want it: styles moved from <style> into the elements, Liquid left where it stood."""

import re

import css_inline

from thurn.content.errors import TemplateError
from thurn.content.markup import Item, check_depth, scan
from thurn.content.pieces import Piece, Pieces

HELD_STYLE = "data-held-style"  # a style attribute with Liquid in it: no CSS parser would understand it
PAGE = '<!doctype html><html><head><meta charset="utf-8"></head><body>{}</body></html>'

# Nothing is fetched and no file is read, whatever a <link> says.
_inliner = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
_revealed = re.compile(r"<!\[(?:if\s[^\]>]*|endif)\]>")


def inline(masked: str, pieces: Pieces) -> str:
    """The page with its styles inlined. Marks in text come back as comments, marks in attributes as they were.

    Raises TemplateError where Liquid stands in a place that cannot hold it, and where the styles cannot be read.
    """
    check_depth(masked)
    page = _hold_rows(_as_page(_prepare(masked, pieces)), pieces)
    try:
        inlined = _inliner.inline(page)
    except (css_inline.InlineError, ValueError) as fault:
        raise TemplateError(
            f"The styles cannot be read: {fault}. Look at the <style> blocks and style attributes."
        ) from fault
    marks = pieces.pattern
    kept = {int(mark[1]) for mark in marks.finditer(inlined)}
    for mark in marks.finditer(page):
        piece = pieces.of(mark)
        if int(mark[1]) not in kept and piece.kind in ("output", "tag"):
            raise TemplateError(
                f"{piece.text} stands where the page ends or is broken. Is there an unclosed tag or quote above it?",
                piece.line,
            )
    return inlined


def _as_page(html: str) -> str:
    """With <html> and <body> where the source has none, so that Liquid before the first text stays inside."""
    if re.search(r"<body[\s>]", html, re.IGNORECASE):
        return html
    for before in (r"</head\s*>", r"<html(?:\s[^>]*)?>"):
        if found := re.search(before, html, re.IGNORECASE):
            return html[: found.end()] + "<body>" + html[found.end() :]
    return PAGE.format(html)


def _hold_rows(html: str, pieces: Pieces) -> str:
    """With <tbody> before Liquid that comes before a table's first row: the parser would set it behind."""
    return re.sub(
        rf"(<table\b[^>]*>)((?:\s|<!--{pieces.pattern.pattern}-->)+)(?=<tr\b)",
        r"\1<tbody>\2",
        html,
        flags=re.IGNORECASE,
    )


def _prepare(masked: str, pieces: Pieces) -> str:
    """Marks in text wrapped as comments, which tables keep in place; style attributes put in order or held back."""
    marks, out, position = pieces.pattern, [], 0
    for item in scan(masked):
        stretch = masked[item.start : item.end]
        if item.kind == "text":
            stretch = marks.sub(lambda mark: f"<!--{mark[0]}-->", stretch)
        elif item.kind == "start":
            stretch = _prepare_tag(masked, item, pieces)
        elif item.kind == "raw" and item.name in ("style", "script"):
            _refuse(stretch, pieces, f"cannot stand inside <{item.name}>: mail programs would not read it the same way")
        elif item.kind == "other" and _revealed.fullmatch(stretch):
            stretch = f"<!--{pieces.add(Piece('raw', stretch, 0))}-->"
        elif item.kind in ("other", "end"):
            _refuse(stretch, pieces, "stands inside a tag that is not complete. Is a quote or a > missing?")
        out.append(masked[position : item.start])
        out.append(stretch)
        position = item.end
    return "".join(out)


def _prepare_tag(masked: str, item: Item, pieces: Pieces) -> str:
    """One start tag; refuses Liquid that is not inside an attribute's value, and in places that would run it."""
    marks, out, position = pieces.pattern, [], item.start
    for attribute in item.attributes:
        between, name = masked[position : attribute.start], attribute.name
        _refuse(between + name, pieces, 'may stand inside a tag only in an attribute\'s value, as in alt="{{ … }}"')
        if name.startswith("on") or name == "srcdoc" or (item.name, name) == ("meta", "content"):
            _refuse(attribute.value, pieces, f"cannot stand in the attribute {name}")
        out.append(between)
        written = masked[attribute.start : attribute.end]
        if name == "style":
            held = marks.search(attribute.value) is not None
            value = attribute.value if held else _declarations(attribute.value)
            quoted = value.replace('"', "&quot;")
            written = f'{HELD_STYLE if held else "style"}="{quoted}"'
        out.append(written)
        position = attribute.end
    _refuse(masked[position : item.end], pieces, "may stand inside a tag only in an attribute's value")
    out.append(masked[position : item.end])
    return "".join(out)


def _declarations(style: str) -> str:
    """The declarations of a style attribute; scraps without a colon would stop the CSS parser."""
    if "(" in style or '"' in style or "'" in style or "&" in style:
        return style.strip().strip(";")
    return ";".join(part.strip() for part in style.split(";") if ":" in part)


def _refuse(stretch: str, pieces: Pieces, why: str) -> None:
    """Raise for the first mark in `stretch`."""
    if mark := pieces.pattern.search(stretch):
        piece = pieces.of(mark)
        raise TemplateError(f"{piece.text} {why}.", piece.line)
