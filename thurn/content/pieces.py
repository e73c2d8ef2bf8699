"""Takes the Liquid out of a source and puts it back: in between, HTML and Markdown tools see harmless words.

`{{ … }}` and `{% … %}` become marks like `zq7qz`: lower-case letters and digits only, so that a mark survives as text,
as part of an attribute, as a comment and as a URL. What a mark stands for is kept in a list of pieces.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from thurn.content.errors import TemplateError

_opening = re.compile(r"\{\{|\{%-?\s*([\w#]*)")
_comment = re.compile(r"\{%-?\s*(comment|endcomment)\b")
BLOCKS = ("if", "unless", "for", "case", "comment")
TAGS = frozenset({*BLOCKS, "else", "elsif", "when", "assign", "break", "continue", "#", *(f"end{b}" for b in BLOCKS)})
LONGEST_SOURCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Piece:
    """What a mark stands for. `link`: number of a tracked link; `raw`: markup to be put back as it was."""

    kind: Literal["output", "tag", "link", "open", "raw"]
    text: str
    line: int
    link: int = 0


@dataclass(slots=True)
class Pieces:
    """The pieces of one template; the mark of piece 7 is `zq7qz`, with more q where the source says so itself."""

    prefix: str
    items: list[Piece] = field(default_factory=list)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches a mark; group 1 is the piece's number."""
        return re.compile(rf"{self.prefix}(\d+)qz")

    def add(self, piece: Piece) -> str:
        """Keep `piece`; its mark."""
        self.items.append(piece)
        return f"{self.prefix}{len(self.items) - 1}qz"

    def of(self, mark: re.Match[str]) -> Piece:
        """The piece a match of `pattern` stands for."""
        return self.items[int(mark[1])]


def tidy(source: str) -> str:
    """The source with line ends as `\\n` and without control characters, which no mail may hold."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]", "", lines)


def take_out(source: str) -> tuple[str, str, Pieces]:
    """The source with a mark for each piece of Liquid, the source without Liquid comments, and the pieces.

    Raises TemplateError for tags that Thurn does not know and blocks that do not close.
    """
    if len(source) > LONGEST_SOURCE:
        raise TemplateError(f"The template is longer than {LONGEST_SOURCE:,} characters. Gmail cuts mails at 102,000.")
    prefix = "zq"
    while re.search(rf"{prefix}\d", source.lower()):
        prefix += "q"
    pieces, masked, plain = Pieces(prefix), [], []
    position, line = 0, 1
    open_blocks: list[tuple[str, int]] = []
    hidden = False  # inside a Liquid comment, where nothing else counts
    while opening := (_comment if hidden else _opening).search(source, position):
        before, tag = source[position : opening.start()], opening[1]
        line += before.count("\n")
        closing = "}}" if tag is None else "%}"
        end = source.find(closing, opening.end()) + 2
        if end < 2:
            raise TemplateError(
                f"{opening[0][:2]} is opened here and never closed. Write {closing} where it ends.", line
            )
        text = source[opening.start() : end]
        if not hidden:
            masked.append(before)
            plain.append(before)
        if tag is not None:
            follow(tag, open_blocks, line)
        if hidden or tag in ("comment", "endcomment", "#"):
            plain.append("\n" * (before.count("\n") * hidden + text.count("\n")))
        else:
            masked.append(pieces.add(Piece("output" if tag is None else "tag", text, line)))
            plain.append(text)
        line += text.count("\n")
        position = end
        hidden = bool(open_blocks) and open_blocks[-1][0] == "comment"
    if open_blocks:
        name, opened = open_blocks[-1]
        raise TemplateError(f"{{% {name} %}} is never closed. Write {{% end{name} %}} where it ends.", opened)
    return "".join([*masked, source[position:]]), "".join([*plain, source[position:]]), pieces


def follow(tag: str, open_blocks: list[tuple[str, int]], line: int) -> None:
    """Open or close a block; raises where blocks cross or a tag is not known."""
    if tag not in TAGS:
        known = "if, unless, case, for, assign and comment"
        what = f"There is no tag {{% {tag} %}}" if tag else "This tag has no name"
        raise TemplateError(f"{what}. Thurn knows {known}.", line)
    if tag in BLOCKS:
        open_blocks.append((tag, line))
    elif tag.startswith("end"):
        if not open_blocks:
            raise TemplateError(f"{{% {tag} %}} closes nothing: no {{% {tag[3:]} %}} is open here.", line)
        name, opened = open_blocks.pop()
        if name != tag[3:]:
            raise TemplateError(
                f"{{% {tag} %}} stands where {{% end{name} %}} is expected, for {{% {name} %}} of line {opened}.", line
            )
