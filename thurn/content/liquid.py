"""Our Liquid: python-liquid with a short list of tags and filters, hard limits, and errors in plain words."""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, cast

from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError, LoopIterationLimitError
from liquid.expression import Expression

from thurn.content.errors import TemplateError
from thurn.content.pieces import TAGS, Piece, Pieces
from thurn.content.safety import clean, css, html, url, url_part

LOOPS = 10_000  # iterations of all loops of a mail together
LONGEST = 1_000_000  # characters of a block's output, of a value in between
FILTERS = frozenset({
    "abs", "append", "at_least", "at_most", "capitalize", "ceil", "date", "default", "divided_by", "downcase",
    "escape", "escape_once", "first", "floor", "join", "last", "lstrip", "minus", "modulo", "plus", "prepend",
    "remove", "remove_first", "replace", "replace_first", "round", "rstrip", "size", "slice", "split", "squish",
    "strip", "strip_html", "strip_newlines", "times", "truncate", "truncatewords", "upcase", "url_encode",
})  # fmt: skip
VARIABLES = ("contact", "unsubscribe_url")
# Behind every output of a compiled template, so that a value fits its place; sources cannot name them.
INNER = {"_clean": clean, "_html": html, "_url": url, "_url_part": url_part, "_css": css}


class Context(RenderContext):
    """Counts loop iterations of the whole mail: many small loops are one big one."""

    __slots__ = ("iterations",)
    iterations: int

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.iterations = getattr(self, "iterations", 0) + length
        if self.iterations > LOOPS:
            raise LoopIterationLimitError("loop iteration limit reached", token=None)

    def get_item(self, obj: Any, key: Any) -> Any:
        """A field of the contact may be called size, first or last."""
        return obj[key] if isinstance(obj, Mapping) else super().get_item(obj, key)


class Template(BoundTemplate):
    context_class = Context


class Liquid(Environment):
    """The language of templates. Nothing is loaded from anywhere: there is no include and no render."""

    template_class = Template
    output_stream_limit = LONGEST
    local_namespace_limit = LONGEST
    suppress_blank_control_flow_blocks = False

    def __init__(self, inner: bool = False) -> None:
        super().__init__()
        for name in set(self.tags) - TAGS - {"illegal", "output", "content"}:
            del self.tags[name]
        for name in set(self.filters) - FILTERS:
            del self.filters[name]
        for name in FILTERS:
            self.filters[name] = _bounded(name, self.filters[name])
        # Every value is escaped where it stands; a second time would show &amp;amp; to people.
        self.filters["escape"] = self.filters["escape_once"] = lambda value: value
        if inner:
            self.filters.update(INNER)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that cannot be made to fill the memory, and a date that cannot be read stays as it is."""

    @wraps(function)
    def bounded(value: object, *arguments: object, **keywords: object) -> object:
        if name in ("replace", "replace_first", "join", "split"):
            size = max(len(part) if isinstance(part, (str, list)) else 1 for part in (value, *arguments))
            count = len(value) if isinstance(value, (str, list)) else 1
            if count * max(1, max((len(str(a)) for a in arguments), default=1)) > LONGEST or size > LONGEST:
                raise LiquidError(f"{name}: the result would be too long", token=None)
        if name == "date":
            if not re.fullmatch(r"[^\d]{0,100}", str(arguments[0] if arguments else "")):
                raise LiquidError("date: a format holds letters after %, no numbers", token=None)
            try:
                return function(value, *arguments, **keywords)
            except (LiquidError, ValueError, OverflowError):
                return value
        result = function(value, *arguments, **keywords)
        if (isinstance(result, str) and len(result) > LONGEST) or (isinstance(result, int) and abs(result) > 10**100):
            raise LiquidError(f"{name}: the result is too long", token=None)
        return result

    return bounded


SOURCE = Liquid()
COMPILED = Liquid(inner=True)


def parse(source: str, pieces: Pieces) -> BoundTemplate:
    """Parse and check a source as its author wrote it. Raises TemplateError with the line."""
    try:
        template = SOURCE.parse(source)
        _check_names(source, template)
    except LiquidError as fault:
        raise TemplateError(_plain_words(fault), _line(fault, pieces)) from fault
    except RecursionError as fault:
        raise TemplateError("An expression or a block is nested too deeply.") from fault
    return template


def _check_names(source: str, template: BoundTemplate) -> None:
    """Refuse unknown filters and variables and unbounded ranges: a typo must not become an empty place in a mail."""
    seen = template.analyze(include_partials=False)
    for name, spans in seen.filters.items():
        if name not in SOURCE.filters:
            raise TemplateError(f"There is no filter “{name}”. {_near(name)}", _line_at(source, spans[0].index))
    for local in seen.locals:
        if local in VARIABLES:
            raise TemplateError(f"“{local}” is taken: choose another name for {{% assign %}}.", 0)
    for name, variables in seen.globals.items():
        for variable in variables:
            line = _line_at(source, variable.span.index)
            if name not in VARIABLES:
                raise TemplateError(
                    f"There is no variable “{name}”. Did you mean contact.{name}? "
                    "There are contact.<field> and unsubscribe_url.",
                    line,
                )
            if name == "contact" and (len(variable.segments) < 2 or not isinstance(variable.segments[1], str)):
                raise TemplateError(
                    "Say which field of the contact, as in contact.email or contact['First name'].", line
                )
    for node in walk(template.nodes, template):
        for expression in _expressions(node):
            if isinstance(expression, RangeLiteral):
                _check_range(expression, _line_at(source, node.token.start_index))


def _near(name: str) -> str:
    """A filter with a name like this one, or the ones that are used most."""
    if close := get_close_matches(name, FILTERS, 1):
        return f"Did you mean {close[0]}?"
    return "Often used: default, upcase, downcase, capitalize, date, truncate, replace, split, join."


def _check_range(expression: RangeLiteral, line: int) -> None:
    """A range is built before it is looped over, so its ends must be known and near."""
    ends = [getattr(end, "value", None) for end in (expression.start, expression.stop)]
    if not all(isinstance(end, int) for end in ends):
        raise TemplateError("The ends of a range must be numbers, as in (1..5).", line)
    first, last = cast("list[int]", ends)
    if last - first > LOOPS:
        raise TemplateError(f"A range may count at most {LOOPS:,} steps.", line)


def fields(template: BoundTemplate) -> Iterator[str]:
    """The contact's fields that a checked template uses."""
    for variable in template.analyze(include_partials=False).globals.get("contact", []):
        yield str(variable.segments[1])


def walk(nodes: list[Node], template: BoundTemplate) -> Iterator[Node]:
    """Every node of a parse tree."""
    context = Context(template)
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children(context))


def _expressions(node: Node) -> Iterator[Expression]:
    """Every expression in a node's own tag."""
    waiting = list(node.expressions())
    while waiting:
        expression = waiting.pop()
        yield expression
        waiting.extend(expression.children())


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1 if index >= 0 else 0


def _line(fault: LiquidError, pieces: Pieces) -> int:
    """The line a fault is on; where the parser lost it, the first piece that does not parse by itself."""
    if fault.token is not None and fault.token.start_index >= 0:
        return _line_at(fault.token.source, fault.token.start_index)
    return next((piece.line for piece in pieces.items if not _parses(piece)), 0)


def _parses(piece: Piece) -> bool:
    """Whether one output or tag is right by itself, inside the block it belongs to."""
    tag = re.match(r"\{%-?\s*(\w*)", piece.text)
    name = tag[1] if tag else ""
    around = {"elsif": ("{% if 1 %}", "{% endif %}"), "when": ("{% case 1 %}", "{% endcase %}")}
    before, after = around.get(name, ("", f"{{% end{name} %}}" if name in ("if", "unless", "for", "case") else ""))
    if name in ("else", "break", "continue") or name.startswith("end"):
        return True
    try:
        SOURCE.parse(before + piece.text + after)
    except LiquidError:
        return False
    return True


def _plain_words(fault: LiquidError) -> str:
    """The parser's complaint, for somebody who is not a programmer."""
    return _translate(str(fault.message or ""))


def _translate(message: str) -> str:
    for pattern, words in (
        (r"block nesting limit", "Blocks are nested more than 30 deep."),
        (r"expected a primitive expression, found end", "Something is missing here: a variable or a value."),
        (r"expected an identifier, found end", "A name is missing after the full stop."),
        (r"missing expression", "The tag is empty: a condition or a variable is missing."),
        (r"unexpected tag '(\w+)'", "{% \\1 %} has no place here."),
        (r"loop iteration limit", f"The loops of a mail may run {LOOPS:,} times in all."),
        (r"output stream limit|local namespace limit", "A block produces too much text."),
        (r"unexpected liquid parsing error", "An expression is too long or nested too deeply."),
        (r"unexpected '(break|continue)'", "{% \\1 %} may stand only inside {% for %}."),
    ):
        if found := re.search(pattern, message):
            return found.expand(words)
    return f"Liquid says: {message or 'this cannot be read'}."


def runtime_words(fault: Exception) -> str:
    """A complaint from making a mail, in plain words."""
    return _translate(str(fault))
