"""Quoted-printable (RFC 2045 section 6.7) in pieces that can be joined: each starts and ends at the start of a line.

A piece ends with a soft line break unless it ends with a hard one, so a constant keeps its encoding whatever the value
before it. A full stop at the start of a line is encoded too: it would be doubled under way (RFC 5321 section 4.5.2),
and `F` of a line "From " (RFC 2049 section 3).
"""

import re

SOFT = b"=\r\n"
WIDTH = 73  # of 76: room for the soft break and for a full stop that grows by two

_special = re.compile(rb"[^\t -<>-~]")
_line_start = re.compile(rb"\.|F(?=rom )")
_plain = re.compile(r"(?!\.|From )[ !#-%(-;?-~]{1,75}")  # the same quoted-printable, HTML-escaped and raw


def encode(text: str) -> bytes:
    """`text` encoded, from the start of a line to the start of a line; `\\n` becomes a hard line break."""
    lines = text.encode("utf-8", "replace").split(b"\n")
    encoded = [_line(line) for line in lines]
    if encoded[-1]:
        encoded[-1] += SOFT
    return b"\r\n".join(encoded)


def encode_last(text: str) -> bytes:
    """The same for the end of a body: it ends with a hard line break."""
    return encode(text if text.endswith("\n") else text + "\n")


def is_plain(text: str) -> bool:
    """Whether `text` stands for itself in HTML and in quoted-printable, and fits on a line."""
    return _plain.fullmatch(text) is not None


def _line(line: bytes) -> bytes:
    """One line without its end: escaped, trailing blank protected (rule 3), folded (rule 5)."""
    if not line:
        return line
    quoted = _special.sub(lambda match: b"=%02X" % match[0][0], line)
    if quoted[-1] in b" \t":
        quoted = quoted[:-1] + (b"=20" if quoted.endswith(b" ") else b"=09")
    if len(quoted) <= WIDTH:
        return _start(quoted)
    chunks, position, length = [], 0, len(quoted)
    while position < length:
        end = min(position + WIDTH, length)
        if end < length:
            cut = quoted.rfind(b"=", end - 2, end)
            end = cut if cut > position else end
        chunks.append(_start(quoted[position:end]))
        position = end
    return SOFT.join(chunks)


def _start(line: bytes) -> bytes:
    """A line whose first byte no server takes for something else."""
    return _line_start.sub(lambda match: b"=%02X" % match[0][0], line, count=1) if _line_start.match(line) else line
