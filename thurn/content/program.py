"""A template compiled to a program that makes mails: constants encoded once, slots filled per recipient.

source -> Liquid taken out -> Markdown -> styles inlined -> links numbered -> plain text derived
       -> Liquid put back, each value made safe for its place -> constants and slots, quoted-printable
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from thurn.content import liquid, markdown, quoted, safety
from thurn.content.errors import RenderError, TemplateError
from thurn.content.inline import inline
from thurn.content.links import Page, finish
from thurn.content.pieces import Piece, Pieces, take_out, tidy
from thurn.content.slots import Form, Mail, Part, Slot, Urls, parts_of
from thurn.content.text import to_text

__all__ = ["Kind", "Preview", "Program", "RenderError", "Rendered", "TemplateError", "Urls", "compile_mail", "preview"]

Kind = Literal["markdown", "html"]
_FILTERS: dict[Callable[[object], str], str] = {
    safety.clean: "_clean",
    safety.html: "_html",
    safety.url: "_url",
    safety.url_part: "_url_part",
    safety.css: "_css",
}


class Rendered(NamedTuple):
    """A mail's own parts. `subject` is one line of text; `text` and `html` are whole quoted-printable bodies, CRLF."""

    subject: str
    text: bytes
    html: bytes


class Preview(NamedTuple):
    """A mail to look at: nothing encoded, links as written, nothing tracked."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled mail before it is encoded."""

    subject: list[Part]
    html: list[Part]
    text: list[Part]
    links: tuple[str, ...]
    fields: frozenset[str]
    has_unsubscribe: bool


class Program:
    """Makes mails from one template. Keeps no state between mails; may be used from several threads."""

    __slots__ = ("_html", "_subject", "_text", "fields", "has_unsubscribe", "links")

    def __init__(self, plan: Plan) -> None:
        self.links = plan.links
        """Targets of the tracked links, in order; number 1 first."""
        self.has_unsubscribe = plan.has_unsubscribe
        """Whether the page offers {{ unsubscribe_url }}."""
        self.fields = plan.fields
        """The contact's fields that the template uses."""
        self._subject = plan.subject
        self._text = _Body(plan.text)
        self._html = _Body(plan.html)

    def render(self, contact: Mapping[str, str], urls: Urls) -> Rendered:
        """The mail for `contact` (`email` and its fields). Raises RenderError if it cannot be made for this one."""
        mail = Mail(contact, urls)
        return Rendered(_subject(self._subject, mail), self._text.fill(mail), self._html.fill(mail))


class _Body:
    """Encoded constants with holes; equal slots are filled once."""

    __slots__ = ("_order", "_pattern", "_slots")

    def __init__(self, parts: list[Part]) -> None:
        numbers: dict[Slot, int] = {}
        self._order: list[int] = []
        pattern = []
        for position, part in enumerate(parts):
            if isinstance(part, str):
                encode = quoted.encode_last if position == len(parts) - 1 else quoted.encode
                pattern.append(encode(part).replace(b"%", b"%%"))
            else:
                pattern.append(b"%b")
                self._order.append(numbers.setdefault(part, len(numbers)))
        self._pattern = b"".join(pattern)
        self._slots = tuple(numbers)

    def fill(self, mail: Mail) -> bytes:
        """The body of one mail."""
        filled = []
        for slot in self._slots:
            value = slot(mail)
            if not value:
                filled.append(b"")
            elif quoted.is_plain(value):
                filled.append(value.encode() + quoted.SOFT)
            else:
                filled.append(quoted.encode(value))
        return self._pattern % tuple([filled[number] for number in self._order])


def compile_mail(kind: Kind, subject: str, source: str) -> Program:
    """Compile a template. Raises TemplateError with what is wrong, in plain words, and the line."""
    return Program(_checked(_plan(kind, subject, source, tracked=True)))


def preview(kind: Kind, subject: str, source: str, contact: Mapping[str, str]) -> Preview:
    """The mail as `contact` would see it. Raises TemplateError, and RenderError for this contact."""
    plan = _plan(kind, subject, source, tracked=False)
    mail = Mail(contact, _NoUrls(plan.links))
    html, text = ("".join([p if isinstance(p, str) else p(mail) for p in parts]) for parts in (plan.html, plan.text))
    return Preview(_subject(plan.subject, mail), html, text)


@dataclass(frozen=True, slots=True)
class _NoUrls:
    """Addresses for a look: links go where they say."""

    links: tuple[str, ...] = ()
    open: str = ""
    unsubscribe: str = "https://unsubscribe.invalid/"

    def click(self, number: int) -> str:
        return self.links[number - 1]


def _subject(parts: list[Part], mail: Mail) -> str:
    """One line, whatever the values hold: a header must not be broken by a contact."""
    text = "".join([part if isinstance(part, str) else part(mail) for part in parts])
    return " ".join(text.split())


def _checked(plan: Plan) -> Plan:
    """A plan that has made one mail: what fails for everybody is an error of the template."""
    mail = Mail({}, _NoUrls(plan.links))
    for part in [*plan.subject, *plan.html, *plan.text]:
        if not isinstance(part, str):
            try:
                part(mail)
            except RenderError as fault:
                raise TemplateError(liquid.runtime_words(fault), 0) from fault
    return plan


def _plan(kind: Kind, subject: str, source: str, *, tracked: bool) -> Plan:
    subject_parts, subject_fields = _compile_subject(tidy(subject))
    masked, plain, pieces = take_out(tidy(source))
    parsed = liquid.parse(plain, pieces)
    fields = subject_fields | frozenset(liquid.fields(parsed))
    if kind == "markdown":
        has_own = any(_offers_unsubscribe(piece) for piece in pieces.items)
        footer = None if has_own else pieces.add(Piece("output", "{{ unsubscribe_url }}", 0))
        masked = markdown.to_page(masked, pieces, footer)
    page = finish(inline(masked, pieces), pieces, tracked=tracked)
    text = to_text(page.html, pieces)
    return Plan(
        subject_parts,
        _put_back(page.html, pieces, page, "html"),
        _put_back(text, pieces, page, "text"),
        page.links,
        fields,
        any(_offers_unsubscribe(piece) and page.places.get(n) != "text" for n, piece in enumerate(pieces.items)),
    )


def _compile_subject(subject: str) -> tuple[list[Part], frozenset[str]]:
    """The subject's parts and fields."""
    if not subject.strip():
        raise TemplateError("The subject is empty.", field="subject")
    try:
        masked, plain, pieces = take_out(subject)
        parsed = liquid.parse(plain, pieces)
    except TemplateError as fault:
        raise TemplateError(f"In the subject: {fault.message}", field="subject") from fault
    return _put_back(masked, pieces, Page("", (), {}), "text"), frozenset(liquid.fields(parsed))


def _offers_unsubscribe(piece: Piece) -> bool:
    return piece.kind == "output" and re.match(r"\{\{-?\s*unsubscribe_url\b", piece.text) is not None


def _put_back(masked: str, pieces: Pieces, page: Page, form: Form) -> list[Part]:
    """The parts of masked HTML or text, with each value made safe for its place."""

    def liquid_of(mark: re.Match[str]) -> str:
        piece = pieces.of(mark)
        if piece.kind in ("raw", "tag"):
            return piece.text if piece.kind == "tag" or form == "html" else ""
        if piece.kind == "output":
            return _safe(piece.text, safety.CHAINS[form, page.places.get(int(mark[1]), "html")])
        path = "_urls.open" if piece.kind == "open" else f"_urls.c{piece.link}"
        return _safe(f"{{{{ {path} }}}}", safety.CHAINS[form, "html"])

    marks = pieces.pattern
    source = re.sub(rf"<!--({marks.pattern})-->", lambda found: found[1], masked) if form == "html" else masked
    return parts_of(liquid.COMPILED.parse(marks.sub(liquid_of, source)))


def _safe(output: str, chain: tuple[Callable[[object], str], ...]) -> str:
    """`{{ x }}` as `{{ x | _url | _html }}`."""
    inner = output[:-2]
    dash = "-" if inner.endswith("-") else ""
    steps = "".join(f" | {_FILTERS[step]}" for step in chain)
    return f"{inner.removesuffix('-').rstrip()}{steps} {dash}}}}}"
