"""Values of contacts made harmless for the place they stand in. A value is data: never markup, never a template."""

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined
from markupsafe import escape

Place = Literal["text", "html", "url", "url-part", "css"]

_control = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_web = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)


def clean(value: object) -> str:
    """Any Liquid value as text: `\\n` for line ends, no other control characters."""
    text = value if isinstance(value, str) else "" if is_undefined(value) else to_liquid_string(value, False)
    if text.isprintable():
        return text
    return _control.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def html(value: object) -> str:
    """Text inside HTML or inside a quoted attribute."""
    return str(escape(clean(value)))


def url(value: object) -> str:
    """A whole link target. Anything but http, https, mailto and tel becomes `#`: a value must not become a script."""
    target = clean(value).strip()
    if not _web.match(target):
        return "#"
    return quote(target, safe="!#$%&'()*+,/:;=?@[]~-._")


def url_part(value: object) -> str:
    """One piece of a link target that the template has begun."""
    return quote(clean(value), safe="")


def css(value: object) -> str:
    """A value inside a style attribute: words, numbers, colours; no functions, no further declarations."""
    return re.sub(r"[^\w #%.,-]", "", clean(value))


CHAINS: dict[tuple[str, Place], tuple[Callable[[object], str], ...]] = {
    ("html", "html"): (html,),
    ("html", "text"): (html,),
    ("html", "url"): (url, html),
    ("html", "url-part"): (url_part, html),
    ("html", "css"): (css, html),
    ("text", "html"): (clean,),
    ("text", "text"): (clean,),
    ("text", "url"): (url,),
    ("text", "url-part"): (url_part,),
    ("text", "css"): (css,),
}
