"""What differs from mail to mail: each slot fills itself from a contact and the contact's URLs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from liquid import BoundTemplate
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path, StringLiteral
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError, LiquidInterrupt
from liquid.output import LimitedStringIO

from thurn.content.errors import RenderError
from thurn.content.liquid import INNER, LONGEST, Context
from thurn.content.safety import clean

Form = Literal["html", "text"]


class Urls(Protocol):
    """The addresses of one mail, as plain text."""

    @property
    def open(self) -> str:
        """The pixel."""

    @property
    def unsubscribe(self) -> str:
        """The page and one-click target."""

    def click(self, number: int) -> str:
        """Link `number`, counted from 1."""


class Mail:
    """One mail while it is made. Liquid blocks share a scope per part, so that {% assign %} reaches later slots."""

    __slots__ = ("contact", "contexts", "urls")

    def __init__(self, contact: Mapping[str, str], urls: Urls) -> None:
        self.contact, self.urls = contact, urls
        self.contexts: dict[int, Context] = {}

    def context(self, template: BoundTemplate) -> Context:
        """The scope of one part."""
        context = self.contexts.get(id(template))
        if context is None:
            context = Context(template, globals={"contact": self.contact, "_urls": _Addresses(self.urls)})
            context.scope.push(_Addresses(self.urls))
            self.contexts[id(template)] = context
        return context


class _Addresses(Mapping[str, str]):
    """`Urls` as Liquid sees them: `unsubscribe_url`, `_urls.open`, `_urls.c3`; made only when asked for."""

    def __init__(self, urls: Urls) -> None:
        self.urls = urls

    def __getitem__(self, key: str) -> str:
        if key == "unsubscribe_url":
            return self.urls.unsubscribe
        if key == "open":
            return self.urls.open
        if isinstance(key, str) and key[:1] == "c" and key[1:].isdigit():
            return self.urls.click(int(key[1:]))
        raise KeyError(key)

    def __iter__(self) -> "Iterable[str]":  # type: ignore[override]  # never listed: Mapping only asks for it
        return iter(())

    def __len__(self) -> int:
        return 0


Slot = Callable[[Mail], str]
Part = str | Slot


@dataclass(frozen=True, slots=True)
class Field:
    """`{{ contact.name | default: "…" }}`, safe for its place: the way most slots are."""

    name: str
    default: str | None
    safe: tuple[Callable[[object], str], ...]

    def __call__(self, mail: Mail) -> str:
        value: object = mail.contact.get(self.name, "")
        if self.default is not None and not value:
            value = self.default
        for step in self.safe:
            value = step(value)
        return value  # type: ignore[return-value]  # every chain ends in text


@dataclass(frozen=True, slots=True)
class Link:
    """A tracked link."""

    number: int
    safe: Callable[[object], str]

    def __call__(self, mail: Mail) -> str:
        return self.safe(mail.urls.click(self.number))


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The way out."""

    safe: Callable[[object], str]

    def __call__(self, mail: Mail) -> str:
        return self.safe(mail.urls.unsubscribe)


@dataclass(frozen=True, slots=True)
class Open:
    """The pixel's address."""

    safe: Callable[[object], str]

    def __call__(self, mail: Mail) -> str:
        return self.safe(mail.urls.open)


@dataclass(frozen=True, slots=True)
class Block:
    """Anything else Liquid can say."""

    node: Node
    template: BoundTemplate

    def __call__(self, mail: Mail) -> str:
        buffer = LimitedStringIO(limit=LONGEST)
        try:
            self.node.render(mail.context(self.template), buffer)
        except LiquidError as fault:
            raise RenderError(str(fault.message)) from fault
        except LiquidInterrupt as fault:
            raise RenderError(f"unexpected '{fault}'") from fault
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as fault:
            raise RenderError(f"a filter met a value that it cannot use ({fault})") from fault
        return buffer.getvalue()


def parts_of(template: BoundTemplate) -> list[Part]:
    """A parsed template as constants and slots; constants are merged."""
    parts: list[Part] = []
    for node in template.nodes:
        part = _part(node, template)
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def _part(node: Node, template: BoundTemplate) -> Part:
    """The quickest thing that renders `node`."""
    if isinstance(node, ContentNode):
        return node.text
    if isinstance(node, OutputNode) and isinstance(node.expression, FilteredExpression):
        return _output(node.expression) or Block(node, template)
    return Block(node, template)


def _output(expression: FilteredExpression) -> Slot | None:
    """A slot without Liquid at run time, if the output is as simple as most are."""
    if not isinstance(expression.left, Path):
        return None
    path, default = expression.left.path, None
    filters = list(expression.filters or [])
    if filters and filters[0].name == "default" and len(filters[0].args) == 1:
        literal = getattr(filters[0].args[0], "value", None)
        if not isinstance(literal, StringLiteral):
            return None
        default = literal.value
        filters = filters[1:]
    if any(step.name not in INNER for step in filters):
        return None
    safe = tuple(INNER[step.name] for step in filters)
    last = safe[-1] if safe else clean
    match path:
        case ["contact", str(name)]:
            return Field(name, default, safe or (clean,))
        case ["unsubscribe_url"]:
            return Unsubscribe(last)
        case ["_urls", "open"]:
            return Open(last)
        case ["_urls", str(link)] if link[1:].isdigit():
            return Link(int(link[1:]), last)
    return None
