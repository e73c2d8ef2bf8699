"""What was found in DNS about a record, and the verdict on it. Pure."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from thurn.dns.records import LONGEST_STRING, Record, text_strings

Level = Literal["ok", "warn", "bad", "unknown"]
Status = Literal["found", "nothing", "no-name", "failed", "timeout"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What DNS said. `nothing`: the name is there, the record is not; `no-name`: NXDOMAIN.

    `failed` (SERVFAIL, REFUSED, no resolver) and `timeout` say nothing about the record. TXT strings are joined.
    `leads_to`: the addresses that a name found, or the server's own name, has. `others`: name servers that say
    something else, and what.
    """

    status: Status
    values: tuple[str, ...] = ()
    leads_to: tuple[str, ...] = ()
    others: tuple[tuple[str, "Answers"], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one record. `publish`: the values to put in place, empty when nothing is to be done."""

    record: Record
    level: Level
    what: str
    found: tuple[str, ...] = ()
    fix: str = ""
    publish: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why the record is wanted."""
        return self.record.why

    @property
    def word(self) -> str:
        """The state in a word of the interface's vocabulary."""
        if self.level in ("ok", "unknown"):
            return {"ok": "Correct", "unknown": "Unknown"}[self.level]
        if not self.found:
            return "Missing" if self.record.required or self.record.kind == "dkim-next" else "Optional"
        return "Broken" if self.level == "bad" else "Optional"

    @property
    def quoted(self) -> str:
        """A long TXT value in quoted parts, for panels that cut it off otherwise; empty where that cannot happen."""
        long = self.record.type == "TXT" and self.publish and len(self.publish[0]) > LONGEST_STRING
        return text_strings(self.publish[0]) if long else ""

    def as_json(self) -> dict[str, Any]:
        """Flat, for the database and for programs."""
        return {
            **asdict(self.record), "values": list(self.record.values), "level": self.level, "what": self.what,
            "found": list(self.found), "fix": self.fix, "publish": list(self.publish),
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Check":
        """Undo `as_json`."""
        record = Record(
            stored["kind"], stored["name"], stored["type"], tuple(stored["values"]), stored["purpose"], stored["why"],
            stored["required"], stored["ttl"],
        )  # fmt: skip
        return cls(
            record, stored["level"], stored["what"], tuple(stored["found"]), stored["fix"], tuple(stored["publish"])
        )


def missing(record: Record, found: tuple[str, ...] = ()) -> Check:
    """The plain case: it is not there."""
    fix = "Set it where the server is rented." if record.kind == "ptr" else f"Add this {record.type} record."
    return Check(record, "bad", f"{record.purpose} is missing.", found, fix, record.values)


def quoted(record: Record, answers: Answers, *starts: str) -> Check | None:
    """A value whose quotes or backslashes were typed into a panel that adds its own."""
    for value in answers.values:
        bare = value.replace("\\", "").replace('"', "").strip().lower()
        if bare != value.strip().lower() and bare.startswith(tuple(start.lower() for start in starts)):
            what = f"{record.purpose} has quotes or backslashes in its value."
            return Check(record, "bad", what, answers.values, "Enter the value without them.", record.values)
    return None


def tags_of(text: str) -> dict[str, str] | None:
    """A tag=value list (RFC 6376, 3.2); None if it is not one."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not part.strip():
            continue
        if not equals or name.strip() in tags:
            return None
        tags[name.strip()] = value.strip()
    return tags
