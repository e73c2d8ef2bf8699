"""Reading CSV as the world writes it: any usual delimiter, UTF-8 or UTF-16, and never more than a row in memory.

A row that cannot be read is refused on its own and reading goes on with the next line: a quotation mark that is never
closed costs one row, not the rest of the file.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from thurn.problems import Problem

LONGEST_ROW = 128 * 1024  # bytes; also the most csv takes as one cell
_MOST_LINES = 200  # lines one row may span
_SAMPLE = 64 * 1024
_DELIMITERS = ",;\t|"
_FOREIGN = {
    b"PK\x03\x04": "This is a spreadsheet or a ZIP file. Open it and save it as CSV (UTF-8), then import that.",
    b"\xd0\xcf\x11\xe0": "This is an Excel file. Open it and save it as CSV (UTF-8), then import that.",
    b"%PDF": "This is a PDF. Import a CSV file.",
    b"\x1f\x8b": "This file is compressed. Unpack it, then import the CSV file that is in it.",
}


class NotCsv(Problem):
    """The file as a whole cannot be imported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row: its first line (from 1), its cells, and the text it was read from."""

    number: int
    cells: list[str]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not read, and why."""

    number: int
    reason: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class _Line:
    number: int
    text: str  # undecodable bytes as lone surrogates
    trouble: str = ""


class _Endless(Exception):
    """A row goes on for longer than a row can be."""


class _Recoded(io.RawIOBase):
    """A file as UTF-8 with \\n at line ends, whatever it was."""

    def __init__(self, raw: io.FileIO, encoding: str, *, old_mac: bool) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if encoding != "utf-8" else "strict")
        self._decode = encoding != "utf-8"
        self._old_mac = old_mac
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._left:
            data = self._raw.read(_SAMPLE)
            if self._decode:
                try:
                    text = self._decoder.decode(data, final=not data)
                except UnicodeDecodeError:  # cut off in the middle of a character
                    text = "\ufffd"
                    self._decoder.reset()
                self._left = text.encode("utf-8", "surrogatepass")
            else:
                self._left = data
            if self._old_mac:
                self._left = self._left.replace(b"\r", b"\n")
            if not data and not self._left:
                return 0
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


class CsvFile:
    """A CSV file opened for one pass. `NotCsv` if it is none. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._raw = io.FileIO(path)
        try:
            self._file, self.delimiter = self._open()
        except BaseException:
            self._raw.close()
            raise
        self.size = path.stat().st_size
        self._number = 0
        self._again: deque[_Line] = deque()  # lines read, but not yet part of a row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    @property
    def position(self) -> int:
        """Bytes of the file read so far, about."""
        return min(self._raw.tell(), self.size)

    def _open(self) -> "tuple[io.BufferedReader[Any], str]":
        sample = self._raw.read(_SAMPLE)
        encoding, skip = "utf-8", 0
        if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding = "utf-16"
        elif sample.startswith(codecs.BOM_UTF8):
            skip = len(codecs.BOM_UTF8)
        else:
            _refuse_foreign(sample)
        text = sample.decode(encoding, "replace")[bool(skip) :]
        if not text.strip():
            raise NotCsv("The file is empty.")
        old_mac = "\r" in text and "\n" not in text
        self._raw.seek(skip)
        raw: io.RawIOBase = _Recoded(self._raw, encoding, old_mac=old_mac)
        file: io.BufferedReader[Any] = io.BufferedReader(raw, _SAMPLE)
        hint = re.match(r"sep=([,;\t|])\r?\n", text)
        if hint:  # a line for Excel
            file.readline()
        return file, hint[1] if hint else sniff_delimiter(text)

    def _read_line(self) -> _Line | None:
        data = self._file.readline(LONGEST_ROW + 1)
        if not data:
            return None
        self._number += 1
        trouble = ""
        if len(data) > LONGEST_ROW:
            trouble = f"The row is longer than {LONGEST_ROW // 1024} KB."
            rest = data
            while rest and not rest.endswith(b"\n"):
                rest = self._file.readline(LONGEST_ROW)
            data = data[:1000]
        try:
            return _Line(self._number, data.decode(), trouble)
        except UnicodeDecodeError as error:
            text = data.decode("utf-8", "surrogateescape")
            found = data[error.start]
            return _Line(self._number, text, trouble or f"The row is not UTF-8: it holds the byte 0x{found:02X}.")

    def _feed(self, taken: list[_Line]) -> Iterator[str]:
        """Lines for the csv module; what it takes is noted in `taken`."""
        size = 0
        while line := (self._again.popleft() if self._again else self._read_line()):
            if not taken:
                size = 0
            size += len(line.text)
            taken.append(line)
            if len(taken) > _MOST_LINES or size > LONGEST_ROW:
                raise _Endless
            yield line.text

    def records(self) -> Iterator[Record | Refused]:
        """Every row that is not blank, in order; the header is one of them."""
        taken: list[_Line] = []
        reader = self._reader(taken)
        while True:
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _Endless) as error:
                yield self._give_up(taken, error)
                reader = self._reader(taken)
                continue
            trouble = next((line.trouble for line in taken if line.trouble), "")
            lines = tuple(line.text for line in taken)
            if trouble:
                yield Refused(taken[0].number, trouble, lines)
            elif any("\0" in text for text in lines):
                yield Refused(taken[0].number, "The row holds a NUL byte.", lines)
            elif any(cell.strip() for cell in cells):
                yield Record(taken[0].number, cells, lines)

    def _reader(self, taken: list[_Line]) -> Iterator[list[str]]:
        feed = self._feed(taken)
        return csv.reader(feed, delimiter=self.delimiter, strict=True, skipinitialspace=self.delimiter != "\t")

    def _give_up(self, taken: list[_Line], error: Exception) -> Refused:
        """Refuse the first line of what was taken and put the others back."""
        first, *others = taken
        self._again.extendleft(reversed(others))
        endless = isinstance(error, _Endless) or "unexpected end" in str(error)
        reason = "A quotation mark is opened and never closed." if endless else "The quotation marks are not in order."
        if "new-line" in str(error):
            reason = "The row holds a bare carriage return."
        return Refused(first.number, first.trouble or reason, (first.text,))


def sniff_delimiter(text: str) -> str:
    """The delimiter that splits the first line into the most cells; a comma when there is nothing to split."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"(?:[^"]|"")*"', "", first)
    return max(_DELIMITERS, key=bare.count)


def _refuse_foreign(sample: bytes) -> None:
    for magic, message in _FOREIGN.items():
        if sample.startswith(magic):
            raise NotCsv(message)
    control = sum(sample.count(byte) for byte in range(32) if byte not in (9, 10, 11, 12, 13, 27))
    if control * 20 > len(sample):
        raise NotCsv("This is not a text file. Save the table as CSV (UTF-8), then import that.")
