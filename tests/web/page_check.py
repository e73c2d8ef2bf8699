"""What must hold for every page: the rules of the house that a parser can see."""

import re
from html.parser import HTMLParser

VOID = frozenset({"input", "meta", "link", "br", "hr", "img", "wbr", "rect", "path", "circle", "line", "polyline"})
FIELDS = frozenset({"input", "select", "textarea"})
TARGETS = ("for", "aria-describedby", "aria-labelledby", "aria-controls", "popovertarget", "data-open")


class Page(HTMLParser):
    """The elements of a page, in order, with what encloses them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self._buttons: list[list[str]] = []
        self.nameless: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("a", "button"):
            self._buttons.append([dict(attrs).get("aria-label") or ""])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()
        if tag in ("a", "button") and not "".join(self._buttons.pop()).strip():
            self.nameless.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        for names in self._buttons:
            names.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of the elements of a kind."""
        return [attrs for name, attrs, _ in self.elements if name == tag]

    def words(self) -> str:
        """The text, with single spaces."""
        return " ".join(" ".join(self.text).split())


def check(html: str) -> Page:
    """Parse a page and hold it against the rules; returns it for more questions."""
    page = Page(html)
    assert not page._open, f"never closed: {page._open}"
    assert len(page.all("h1")) == 1, "a page has one h1"
    assert len(page.all("main")) == 1
    assert page.all("html")[0].get("lang")
    _no_inline(page)
    _labelled(page)
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)), f"ids twice: {sorted(i for i in ids if ids.count(i) > 1)}"
    for tag, attrs, _ in page.elements:
        for target in TARGETS:
            for name in attrs.get(target, "").split():
                assert name in ids, f"<{tag} {target}={name}> points nowhere"
        if tag == "form" and attrs.get("method") == "post":
            assert attrs.get("action", "").startswith("/")
    tokens = [a for a in page.all("input") if a.get("name") == "csrf"]
    posts = [a for a in page.all("form") if a.get("method") == "post"]
    assert len(tokens) == len(posts), "every form that changes something carries the token"
    assert all(a["value"] for a in tokens)
    assert not page.nameless, f"without a name: {page.nameless}"
    return page


def _no_inline(page: Page) -> None:
    for tag, attrs, _ in page.elements:
        assert tag != "style", "no style in a page"
        assert "style" not in attrs, f"<{tag} style>"
        assert not [name for name in attrs if name.startswith(("on", "hx-on"))], f"<{tag}> has an inline handler"
        assert not attrs.get("href", "").lower().startswith("javascript:")
        if tag == "script":
            assert attrs.get("src", "").startswith("/static/"), "scripts come from a file of ours"
        for name in ("src", "action", "formaction"):
            assert not attrs.get(name, "").startswith(("http:", "https:", "//")), f"<{tag} {name}> leaves the house"


def _labelled(page: Page) -> None:
    labels = {attrs.get("for") for attrs in page.all("label")}
    for tag, attrs, inside in page.elements:
        if tag in FIELDS and attrs.get("type") != "hidden":
            named = attrs.get("id") in labels or "label" in inside or attrs.get("aria-label")
            assert named, f"<{tag} name={attrs.get('name')}> has no label"
        if tag == "iframe":
            assert attrs.get("title")
            assert "sandbox" in attrs, "a mail is foreign markup"
        if tag == "svg" and attrs.get("role") == "img":
            assert attrs.get("aria-label"), "a bar says its sentence"


def csrf_of(html: str) -> str:
    """The token in a page's form."""
    found = re.search(r'name="csrf"[^>]*value="([^"]+)"', html)
    assert found is not None, "the form carries no CSRF token"
    return found[1]
