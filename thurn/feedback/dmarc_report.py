"""DMARC aggregate reports (RFC 7489, appendix C; RFC 9990) as values. Pure; any bytes give an answer in bounded time.

Read as a stream by expat with document types refused, so that there are no entities to expand. Reporters get details
wrong: what has one sensible meaning is taken, what has none is refused with the reason.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.parsers import expat

from thurn.feedback.archive import Refused

ROWS = 50_000
_DEPTH = 12
_VALUES = 60  # different elements in one row, or beside the rows
_TEXT = 500  # characters of one value
_RESULTS = 20  # signatures or SPF results of one row
_LATEST = 4_102_444_800  # 2100: later is no time but a mistake
_STEP = 64 * 1024
_LISTS = (
    ["record", "auth_results", "dkim"],
    ["record", "auth_results", "spf"],
    ["record", "row", "policy_evaluated", "reason"],
)
_DOMAIN = re.compile(r"(?=.{3,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62}\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_RESULT = frozenset(
    {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror", "softfail", "unknown", "error"}
)


@dataclass(frozen=True, slots=True)
class Dkim:
    """A signature the receiver looked at."""

    domain: str
    selector: str
    result: str


@dataclass(frozen=True, slots=True)
class Spf:
    """An SPF check of the receiver."""

    domain: str
    result: str


@dataclass(frozen=True, slots=True)
class Row:
    """Mails from one address with one outcome. `dkim`, `spf`: passed *and* aligned, as the reporter judged."""

    source: str
    count: int
    disposition: str  # none | quarantine | reject; what was done
    dkim: bool
    spf: bool
    overrides: tuple[str, ...]  # why the policy was not followed: forwarded, mailing_list, local_policy …
    header_from: str
    envelope_from: str
    signatures: tuple[Dkim, ...]
    spf_checks: tuple[Spf, ...]

    @property
    def passed(self) -> bool:
        """Whether DMARC passed."""
        return self.dkim or self.spf


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A report. `policy`: p, sp, np, adkim, aspf, pct, testing, as far as given; `skipped`: rows nobody could use."""

    org: str
    contact: str
    report_id: str
    begins: datetime
    ends: datetime
    domain: str
    policy: dict[str, str]
    rows: tuple[Row, ...]
    skipped: int = 0

    @property
    def mails(self) -> int:
        """How many it speaks of."""
        return sum(row.count for row in self.rows)

    @property
    def passed(self) -> int:
        """How many passed DMARC."""
        return sum(row.count for row in self.rows if row.passed)


def parse(data: bytes) -> Aggregate:
    """Read a report; raises `Refused`."""
    reader = _read(data)
    if not reader.rooted:
        raise Refused("It is XML, but no DMARC report: its first element is not “feedback”.")
    meta = reader.meta
    domain = domain_in(meta.get("policy_published/domain", ""))
    if not domain:
        raise Refused("It does not say which domain it is about.")
    begins, ends = _time(meta, "begin"), _time(meta, "end")
    if begins > ends:
        raise Refused("It ends before it begins.")
    contact = meta.get("report_metadata/email", "")
    org = meta.get("report_metadata/org_name", "") or contact.rpartition("@")[2]
    report_id = meta.get("report_metadata/report_id", "")
    if not org or not report_id:
        raise Refused("It does not say who wrote it, or has no number, so it cannot be told from another.")
    names = ("p", "sp", "np", "adkim", "aspf", "pct", "testing", "fo")
    policy = {name: value for name in names if (value := meta.get(f"policy_published/{name}", "").lower()[:20])}
    return Aggregate(org, contact, report_id, begins, ends, domain, policy, tuple(reader.rows), reader.skipped)


def _read(data: bytes) -> "_Reader":
    reader = _Reader()
    try:
        reader.feed(data)
    except expat.ExpatError as error:
        # A byte that is none of UTF-8 spoils one name; the rest is as good as ever.
        if error.code == expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN] and not _is_utf8(data):
            reader = _Reader()
            try:
                reader.feed(data.decode("utf-8", "replace").encode())
            except expat.ExpatError as again:
                raise Refused(_malformed(again)) from again
            return reader
        raise Refused(_malformed(error)) from error
    except (LookupError, ValueError) as error:  # an encoding that is none
        raise Refused("It says that it is written in an encoding nobody knows.") from error
    return reader


def _malformed(error: expat.ExpatError) -> str:
    what = expat.ErrorString(error.code)
    return f"It is no well-formed XML: {what} in line {error.lineno}, column {error.offset + 1}."


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _time(meta: dict[str, str], which: str) -> datetime:
    text = meta.get(f"report_metadata/date_range/{which}", "")
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text) or float(text) > _LATEST:
        raise Refused(f"It does not say when it {which}s.")
    return datetime.fromtimestamp(int(float(text)), UTC)


def domain_in(text: str) -> str:
    """A domain name in lower case, without the dot at its end; empty for what is none."""
    name = text.strip().rstrip(".").lower()
    return name if _DOMAIN.fullmatch(name) else ""


class _Reader:
    """Takes the elements as they come; holds a row at a time."""

    def __init__(self) -> None:
        self.rooted = False
        self.meta: dict[str, str] = {}
        self.rows: list[Row] = []
        self.skipped = 0
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._row: dict[str, str] = {}
        self._lists: dict[str, list[dict[str, str]]] = {}

    def feed(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.buffer_text = True
        for start in range(0, len(data), _STEP):
            parser.Parse(data[start : start + _STEP], False)
        parser.Parse(b"", True)

    def _doctype(self, *_: object) -> None:
        raise Refused("It declares a document type, which reports have no use for and attacks have.")

    def _start(self, name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2].lower()
        self._path.append(name)
        self._text, self._length = [], 0
        if len(self._path) == 1:
            self.rooted = name == "feedback"
        if len(self._path) > _DEPTH:
            raise Refused("Its elements are nested deeper than any report's.")
        if self._path == ["feedback", "record"]:
            if len(self.rows) >= ROWS:
                raise Refused(f"It has more than {ROWS:,} rows.")
            self._row, self._lists = {}, {"dkim": [], "spf": [], "reason": []}
        elif self._path[1:] in _LISTS and len(self._lists[name]) <= _RESULTS:  # one too many takes what nobody reads
            self._lists[name].append({})

    def _characters(self, text: str) -> None:
        if self._length < _TEXT:
            self._text.append(text[:_TEXT])
            self._length += len(text)

    def _end(self, _: str) -> None:
        value = _clean("".join(self._text))
        self._text, self._length = [], 0
        path, self._path = self._path, self._path[:-1]
        if not self.rooted:
            return
        if path == ["feedback", "record"]:
            self._finish()
        elif path[1:2] == ["record"]:
            self._value(path[2:], value)
        elif len(path) in (3, 4) and value and len(self.meta) < _VALUES:
            self.meta.setdefault("/".join(path[1:]), value)

    def _value(self, path: list[str], value: str) -> None:
        match path:
            case ["auth_results", ("dkim" | "spf") as group, name] | [
                "row",
                "policy_evaluated",
                "reason" as group,
                name,
            ]:
                last = self._lists[group][-1]
                if len(last) < _VALUES:
                    last.setdefault(name, value)
            case _ if len(path) <= 3 and value and len(self._row) < _VALUES:
                self._row.setdefault("/".join(path), value)

    def _finish(self) -> None:
        row = self._row
        try:
            source = str(ipaddress.ip_address(row.get("row/source_ip", "").strip("[]")))
        except ValueError:
            self.skipped += 1
            return
        count = row.get("row/count", "")
        if not re.fullmatch(r"\d{1,12}", count) or count.strip("0") == "":
            self.skipped += 1
            return
        result = {name: row.get(f"row/policy_evaluated/{name}", "").lower() for name in ("disposition", "dkim", "spf")}
        done = result["disposition"]
        self.rows.append(
            Row(
                source.partition("%")[0],
                int(count),
                done if done in ("quarantine", "reject") else "none",  # RFC 9990 says `pass` where nothing was done
                result["dkim"] == "pass",
                result["spf"] == "pass",
                tuple(word for each in self._lists["reason"] if (word := _word(each.get("type", "")))),
                _name(row.get("identifiers/header_from", "")),
                _name(row.get("identifiers/envelope_from", "")),
                tuple(
                    Dkim(_name(each.get("domain", "")), each.get("selector", "")[:100], _result(each))
                    for each in self._lists["dkim"][:_RESULTS]
                    if each.get("domain")
                ),
                tuple(
                    Spf(_name(each.get("domain", "")), _result(each))
                    for each in self._lists["spf"][:_RESULTS]
                    if each.get("domain")
                ),
            )
        )


def _result(of: dict[str, str]) -> str:
    word = of.get("result", "").lower()
    return word if word in _RESULT else "unknown"


def _word(text: str) -> str:
    word = text.lower()[:40]
    return word if re.fullmatch(r"[a-z_-]+", word) else ""


def _name(text: str) -> str:
    """A domain, of an address its domain: who wrote is nobody's business here. Kept even if it is none: as evidence."""
    return text.rpartition("@")[2].strip("<>. ").lower()[:253]


def _clean(text: str) -> str:
    return " ".join(text.replace("\0", "").split())[:_TEXT]
