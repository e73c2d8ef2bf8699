"""The parts of a mail that a stranger's server sent, read within bounds.

The standard library's parser is exact but takes its time and its recursion from the sender; here nothing is looked at
beyond `LONGEST` bytes, `PARTS` parts and `DEPTH` levels, and nothing raises.
"""

import binascii
import codecs
import quopri
import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header

LONGEST = 512 * 1024  # bytes of a mail that are read
PARTS = 200
DEPTH = 8
_HEADER = 64 * 1024  # bytes of one header block
_FIELDS = 500
_VALUE = 4000  # characters of one field

_NOT_CHARSETS = frozenset(
    {"punycode", "idna", "unicode-escape", "unicode_escape", "raw-unicode-escape", "undefined", "utf-7"}
)
_FIELD = re.compile(r"^([!-9;-~]{1,76})[ \t]*:[ \t]*(.*)$", re.DOTALL)
_PARAMETER = re.compile(r""";\s*([\w*-]{1,40})\s*=\s*(?:"([^"]{0,300})"|([^\s;"]{1,300}))""")


@dataclass(frozen=True, slots=True)
class Fields:
    """A header block; names in lower case, values unfolded."""

    items: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The first value of a field, or an empty string."""
        return next((value for field, value in self.items if field == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for field, value in self.items if field == name]

    def __contains__(self, name: str) -> bool:
        return any(field == name for field, _ in self.items)


NOTHING = Fields()


@dataclass(frozen=True, slots=True)
class Part:
    """A part that holds no further parts, or a whole message inside the mail (its header fields, then its parts)."""

    kind: str  # content type in lower case, without parameters
    parameters: dict[str, str]
    fields: Fields
    body: bytes

    @property
    def name(self) -> str:
        """Of the file it holds; may be empty."""
        disposition = _parameters(self.fields.get("content-disposition"))
        return words(disposition.get("filename") or self.parameters.get("name", ""))

    def text(self) -> str:
        """The body as text: transfer encoding undone, charset as declared, else UTF-8, else byte by byte."""
        return to_text(
            decoded(self.body, self.fields.get("content-transfer-encoding")), self.parameters.get("charset", "")
        )


def fields_of(block: bytes) -> Fields:
    """Read a block of header fields; lines that are none are passed over."""
    text = to_text(block[:_HEADER], "")
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text)
    items = []
    for line in unfolded.splitlines()[:_FIELDS]:
        found = _FIELD.match(line[:_VALUE])
        if found:
            items.append((found[1].lower(), found[2].strip()))
    return Fields(tuple(items))


def words(value: str) -> str:
    """A header value with its encoded words (RFC 2047) read."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            to_text(chunk, charset or "") if isinstance(chunk, bytes) else chunk
            for chunk, charset in decode_header(value)
        )
    except (HeaderParseError, ValueError, binascii.Error):
        return value


def split(raw: bytes) -> tuple[Fields, bytes]:
    """(header fields, body) of a message."""
    if raw.startswith((b"\n", b"\r\n")):
        return Fields(), raw.lstrip(b"\r\n")
    found = re.search(rb"\r?\n\r?\n", raw)
    if found is None:
        return fields_of(raw), b""
    return fields_of(raw[: found.start()]), raw[found.end() :]


def content_type(fields: Fields) -> tuple[str, dict[str, str]]:
    """(type, parameters) of RFC 2045, `text/plain` where nothing sensible stands."""
    value = fields.get("content-type")
    kind, *_ = value.lower().partition(";")[0].split(maxsplit=1) or [""]
    return (kind if "/" in kind else "text/plain"), _parameters(value)


def _parameters(value: str) -> dict[str, str]:
    return {name.lower().rstrip("*"): quoted or bare for name, quoted, bare in _PARAMETER.findall(value)}


def parts(raw: bytes, longest: int = LONGEST) -> list[Part]:
    """The mail's parts in order, the mail's own header first as a part of kind `message`."""
    found: list[Part] = []
    _walk(raw[:longest], found, 0)
    return found


def _walk(raw: bytes, found: list[Part], depth: int) -> None:
    fields, body = split(raw)
    kind, parameters = content_type(fields)
    if len(found) >= PARTS:
        return
    if depth == 0:
        found.append(Part("message", {}, fields, b""))
    boundary = parameters.get("boundary", "").encode("latin-1", "replace")
    pieces = _pieces(body, boundary) if kind.startswith("multipart/") and boundary and depth < DEPTH else []
    if pieces:
        for piece in pieces:
            _walk(piece, found, depth + 1)
            if len(found) >= PARTS:
                return
    elif kind in ("message/rfc822", "message/global") and depth < DEPTH:
        inner = decoded(body, fields.get("content-transfer-encoding"))
        found.append(Part("message/rfc822", parameters, split(inner)[0], inner))
    else:
        found.append(Part("text/plain" if kind.startswith("multipart/") else kind, parameters, fields, body))


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """The bodies between delimiter lines (RFC 2046, 5.1.1); a missing last delimiter is forgiven."""
    pattern = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|$)")
    pieces, start = [], -1
    for delimiter in pattern.finditer(body):
        if start >= 0:
            pieces.append(_after_line(body[start : delimiter.start()]))
        if delimiter[1] or len(pieces) >= PARTS:
            start = -1
            break
        start = delimiter.end()
    if start >= 0:
        pieces.append(_after_line(body[start:]))
    return pieces


def _after_line(piece: bytes) -> bytes:
    return piece[2:] if piece.startswith(b"\r\n") else piece[1:] if piece.startswith(b"\n") else piece


def decoded(body: bytes, encoding: str) -> bytes:
    """Undo a content transfer encoding; what cannot be undone stays as it is."""
    match encoding.strip().lower():
        case "quoted-printable":
            return quopri.decodestring(body)
        case "base64":
            try:
                return binascii.a2b_base64(re.sub(rb"[^A-Za-z0-9+/=]", b"", body))
            except binascii.Error:
                return body
    return body


def to_text(data: bytes, charset: str) -> str:
    """Bytes as text; never fails."""
    for name in (charset.strip("\"' "), "utf-8"):
        try:
            if name and codecs.lookup(name).name not in _NOT_CHARSETS:
                return data.decode(name)
        except (LookupError, ValueError):  # bytes.decode refuses codecs that are none of text
            continue
    if b"\x1b$" in data or b"\x1b(" in data:
        return data.decode("iso2022_jp", "replace")
    return data.decode("latin-1")
