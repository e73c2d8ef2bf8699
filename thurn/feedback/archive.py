"""Reports as they come: plain, gzip, zip, base64, or in a mail; unpacked within bounds, whatever a stranger packed.

Nothing is ever held that is larger than `EXPANDED`, and no more work is done than that many bytes cost.
"""

import binascii
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from thurn.feedback.mime import decoded, parts

PACKED = 24 * 1024 * 1024  # bytes of a file or mail
EXPANDED = 32 * 1024 * 1024  # bytes of all documents of one file together
DOCUMENTS = 20
_NESTED = 2  # a gzip in a zip; nobody packs more often
_STEP = 64 * 1024
_BASE64 = re.compile(rb"\A(?:H4sI|UEsDB|PD94|PGZl|77u/PD94|ew[0o])[A-Za-z0-9+/=\s]+\Z")
_MAIL = re.compile(rb"\A(?:From [^\n]+\n)?[!-9;-~]{1,76}[ \t]*:[^\n]*\n(?:[!-9;-~]{1,76}[ \t]*:|[ \t]|\r?\n)")
_TEXTS = frozenset({"text/plain", "text/html", "message"})


class Refused(Exception):
    """Why something cannot be read, in words for a person."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document that was inside: XML or JSON, or anything else."""

    name: str
    data: bytes


def is_mail(raw: bytes) -> bool:
    """Whether the bytes begin as a mail does."""
    return bool(_MAIL.match(raw[:4096]))


def documents(raw: bytes, name: str = "") -> list[Document]:
    """Everything a file holds, unpacked. Raises `Refused`."""
    if len(raw) > PACKED:
        raise Refused(f"It is larger than {PACKED // 2**20} MB, which no report is.")
    budget = _Budget()
    if is_mail(raw):
        return _of_mail(raw, budget)
    return list(_unpack(_without_base64(raw.strip()) or raw, name, budget, 0))


class _Budget:
    """What one file may still cost."""

    def __init__(self) -> None:
        self.bytes, self.documents = EXPANDED, DOCUMENTS

    def take(self, n: int) -> None:
        self.bytes -= n
        if self.bytes < 0:
            raise Refused(f"Unpacked it is larger than {EXPANDED // 2**20} MB: it is built to fill a disk.")

    def next_document(self) -> None:
        self.documents -= 1
        if self.documents < 0:
            raise Refused(f"It holds more than {DOCUMENTS} documents.")


def _of_mail(raw: bytes, budget: _Budget) -> list[Document]:
    """Attachments of a mail; of those that are neither XML nor JSON nor packed, none."""
    found: list[Document] = []
    refused: Refused | None = None
    for part in parts(raw, PACKED):
        if part.kind == "message":
            continue
        data = decoded(part.body, part.fields.get("content-transfer-encoding"))
        data = _without_base64(data.strip()) or data
        if part.kind in _TEXTS and not _packed(data) and not _document(data):
            continue
        name = re.sub(r"[^\w.!@-]", "_", part.parameters.get("name", "") or part.kind)[:200]
        try:
            found += [each for each in _unpack(data, name, budget, 0) if _document(each.data)]
        except Refused as why:
            refused = why
    if not found and refused:
        raise refused
    return found


def _packed(data: bytes) -> bool:
    return data.startswith((b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"))


def _document(data: bytes) -> bool:
    start = data[:200].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return start.startswith((b"<?xml", b"<feedback", b"<\0", b"{")) or b"<feedback" in data[:2000]


def _without_base64(data: bytes) -> bytes:
    """What is in text that is base64 of an archive, XML or JSON; else nothing."""
    if not _BASE64.match(data):
        return b""
    try:
        return binascii.a2b_base64(re.sub(rb"\s", b"", data))
    except binascii.Error:
        return b""


def _unpack(data: bytes, name: str, budget: _Budget, depth: int) -> Iterator[Document]:
    if not _packed(data):
        budget.next_document()
        budget.take(len(data))
        yield Document(name, data)
        return
    if depth >= _NESTED:
        raise Refused("An archive in an archive in an archive is no report.")
    if data.startswith(b"\x1f\x8b"):
        yield from _unpack(_gunzip(data, budget), name.removesuffix(".gz"), budget, depth + 1)
        return
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > DOCUMENTS:
                raise Refused(f"It holds more than {DOCUMENTS} documents.")
            for member in members:
                yield from _unpack(_member(archive, member, budget), member.filename[:200], budget, depth + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise Refused("It is a zip file that cannot be unpacked; it is damaged or was cut off.") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: _Budget) -> bytes:
    if member.flag_bits & 1:
        raise Refused("It is locked with a password, so nobody can read it here.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused("It is packed in a way that reports are not (only deflate is).")
    held = BytesIO()
    with archive.open(member) as opened:
        while chunk := opened.read(_STEP):
            budget.take(len(chunk))
            held.write(chunk)
    budget.bytes += held.tell()  # it is counted again as a document
    return held.getvalue()


def _gunzip(data: bytes, budget: _Budget) -> bytes:
    """All members of a gzip file. What was cut off before its checksum is kept if anything came out."""
    held = BytesIO()
    rest = data
    while rest.startswith(b"\x1f\x8b"):
        inflate = zlib.decompressobj(wbits=31)
        try:
            while not inflate.eof:
                chunk = inflate.decompress(rest, _STEP)
                budget.take(len(chunk))
                held.write(chunk)
                rest = inflate.unconsumed_tail
                if not chunk and not rest:
                    break
            rest = inflate.unused_data.lstrip(b"\0") if inflate.eof else b""
        except zlib.error as error:
            if not held.tell():
                raise Refused("It is a gzip file that cannot be unpacked; it is damaged.") from error
            break
    budget.bytes += held.tell()
    return held.getvalue()
