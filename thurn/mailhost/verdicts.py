"""Whether DNS says what it should: a record and what was found, made into a verdict with its reason and fix. Pure."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from thurn.mailhost import spf
from thurn.mailhost.records import LONGEST_STRING, Record, text_strings

Level = Literal["ok", "warn", "bad", "unknown"]
Status = Literal["found", "nothing", "no-name", "failed", "timeout"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What DNS said. `nothing`: the name is there, the record is not; `no-name`: NXDOMAIN.

    `failed` (SERVFAIL, REFUSED, no resolver) and `timeout` say nothing about the record. TXT strings are joined.
    """

    status: Status
    values: tuple[str, ...] = ()


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
            return "Missing"
        return "Broken" if self.record.required else "Optional"

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


def judge(record: Record, answers: Answers) -> Check:
    """The verdict. What DNS could not tell is `unknown`; what campaigns do not need is `warn` at worst."""
    if answers.status in ("failed", "timeout"):
        return _unknown(record, answers.status)
    check = _JUDGES[record.kind](record, answers) if answers.values else _missing(record, answers)
    if check.level == "bad" and not record.required:
        check = replace(check, level="warn")
    return check


def _unknown(record: Record, status: Status) -> Check:
    what = "The name servers did not answer in time" if status == "timeout" else "The name servers reported a failure"
    return Check(record, "unknown", f"{what}.", fix="Thurn asks again in ten minutes.")


def _missing(record: Record, answers: Answers, found: tuple[str, ...] = ()) -> Check:
    if record.kind == "address":
        return _no_address(record)
    if answers.status == "no-name" and record.kind in ("spf", "mx"):  # the domain itself
        fix = "Register the domain or give it name servers, then add this record there."
        return Check(record, "bad", f"{record.name} is not in DNS at all.", fix=fix, publish=record.values)
    fix = "Set it where the server is rented." if record.kind == "ptr" else f"Add this {record.type} record."
    return Check(record, "bad", f"{record.purpose} is missing.", found, fix, record.values)


def _no_address(record: Record) -> Check:
    if "." not in record.name:
        return Check(
            record, "bad", f"This server calls itself {record.name}, a name nobody else can look up.",
            fix="Set `hostname` in thurn.toml to a full name such as mail.brotzeit.example, and restart Thurn.",
        )  # fmt: skip
    return Check(
        record, "bad", f"{record.name} has no address.", fix=f"Add an {record.type} record with this server's address.",
        publish=record.values,
    )  # fmt: skip


# ---------------------------------------------------------------- SPF


def _judge_spf(record: Record, answers: Answers) -> Check:
    policies = tuple(value for value in answers.values if spf.is_policy(value))
    ours = record.values[0].split()[1]
    if not policies:
        return _quoted(record, answers, "v=spf1") or _missing(record, answers)
    better = (spf.merged(policies, ours, record.values[0].split()[-1]),)
    if len(policies) > 1:
        what = f"There are {len(policies)} SPF records; receivers then take none of them."
        return Check(record, "bad", what, policies, "Delete them all and publish this one instead.", better)
    policy = policies[0]
    problem = spf.error(policy)
    if problem:
        return Check(record, "bad", f"The SPF record has a mistake: {problem}.", policies, "Replace its value.", better)
    if spf.lookups(policy) > spf.MOST_LOOKUPS:
        return Check(
            record, "bad", f"The SPF record needs more than {spf.MOST_LOOKUPS} look-ups; receivers give up on it.",
            policies, "Take out what you no longer send with, or name addresses (ip4:) instead of names.",
        )  # fmt: skip
    qualifier = spf.qualifier_of(policy, ours)
    if qualifier is None:
        return Check(record, "bad", "The SPF record does not name this server.", policies, "Replace its value.", better)
    if qualifier != "+":
        return Check(
            record, "bad", "The SPF record says this server may not send.", policies, "Replace its value.", better
        )
    if spf.allows_everybody(policy):
        return Check(
            record, "bad", "The SPF record lets everybody send as you.", policies,
            "Replace +all at its end by ~all.", better,
        )  # fmt: skip
    return Check(record, "ok", f"{record.purpose} names this server.", policies)


# ---------------------------------------------------------------- DKIM


def _judge_dkim(record: Record, answers: Answers) -> Check:
    values = answers.values
    wanted = _tags(record.values[0])

    def bad(what: str, fix: str = "Replace its value.") -> Check:
        return Check(record, "bad", f"{record.purpose} {what}", values, fix, record.values)

    if len(values) > 1:
        if any(_same(wanted, _tags("".join(parts))) for parts in (values, values[::-1])):
            return bad("is split over two records.", "Delete both and publish one record with the whole value.")
        return bad(f"has {len(values)} records under one name.", "Delete all but this one.")
    if quoted := _quoted(record, answers, "v=DKIM1", "p="):
        return quoted
    found = _tags(values[0])
    if found is None or "p" not in found:
        return bad("is not a DKIM key.")
    key, wanted_key = _key(found), _key(wanted)
    if key == wanted_key and _same(wanted, found):
        if "y" in found.get("t", "").split(":"):
            return Check(
                record, "warn", f"{record.purpose} is marked as a test; receivers may ignore it.", values,
                "Take t=y out of the value.", record.values,
            )  # fmt: skip
        return Check(record, "ok", f"{record.purpose} is in place.", values)
    if not key:
        return bad("is empty, which means revoked.")
    if key != wanted_key and wanted_key.startswith(key):
        missing = len(wanted_key) - len(key)
        return bad(f"is cut off; {missing} characters are missing.")
    if key != wanted_key:
        return bad("is another key than the one Thurn signs with.")
    return bad("has the right key, but a wrong tag beside it.")


def _key(tags: dict[str, str] | None) -> str:
    return "".join((tags or {}).get("p", "").split())


def _same(wanted: dict[str, str] | None, found: dict[str, str] | None) -> bool:
    """Whether two records mean the same key (RFC 6376, 3.6.1: v= and k= may be left out)."""
    if wanted is None or found is None:
        return False
    return (
        _key(wanted) == _key(found)
        and found.get("v", "DKIM1") == "DKIM1"
        and found.get("k", "rsa").lower() == wanted["k"]
        and "sha256" in found.get("h", "sha256").lower().split(":")
    )


# ---------------------------------------------------------------- DMARC


def _judge_dmarc(record: Record, answers: Answers) -> Check:
    policies = tuple(v for v in answers.values if v.replace(" ", "").lower().startswith("v=dmarc1"))
    if not policies:
        return _quoted(record, answers, "v=DMARC1") or _missing(record, answers, answers.values)
    if len(policies) > 1:
        what = f"There are {len(policies)} DMARC records; receivers then take none of them."
        return Check(record, "bad", what, policies, "Keep one and delete the others.")
    tags = _tags(policies[0])
    policy = (tags or {}).get("p", "").lower()
    if tags is None or tags.get("v") != "DMARC1" or policy not in ("none", "quarantine", "reject"):
        what = "The DMARC record has no valid policy (p=none, p=quarantine or p=reject)."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    if tags.get("aspf", "r").lower() == "s":
        return Check(
            record, "warn", "DMARC asks for the very same name in SPF, which the bounce host is not.", policies,
            "Take aspf=s out: mail passes by DKIM alone until then.",
        )  # fmt: skip
    advice = (
        "It only watches. When the reports look clean, p=quarantine protects your name." if policy == "none" else ""
    )
    return Check(record, "ok", "DMARC is in place.", policies, advice)


# ---------------------------------------------------------------- MX and the server


def _judge_mx(record: Record, answers: Answers) -> Check:
    ours = record.values[0].split()[1].lower()
    hosts = sorted(_mx(value) for value in answers.values)
    found = tuple(answers.values)
    mine = [preference for preference, host in hosts if host == ours]
    bounce = record.kind == "bounce-mx"
    if hosts == [(0, "")]:
        what = f"{record.name} says that it takes no mail (an MX of a single dot)."
        return Check(record, "bad", what, found, "Replace it by this record.", record.values)
    if not mine:
        where = ", ".join(host for _, host in hosts)
        what = f"Mail for {record.name} goes to {where}, not to this server."
        fix = "Replace it by this record." if bounce else "Replace it if your mailboxes are to be on this server."
        return Check(record, "bad", what, found, fix, record.values)
    if mine[0] > hosts[0][0] or (bounce and len(hosts) > 1):
        what = f"Mail for {record.name} goes to {hosts[0 if mine[0] > hosts[0][0] else -1][1]} as well."
        fix = "Delete the other MX records." if bounce else "Give this server the lowest number of all."
        return Check(record, "bad" if bounce else "warn", what, found, fix, record.values)
    return Check(record, "ok", f"Mail for {record.name} comes to this server.", found)


def _mx(value: str) -> tuple[int, str]:
    preference, _, host = value.partition(" ")
    return int(preference), host.strip().rstrip(".").lower()


def _judge_address(record: Record, answers: Answers) -> Check:
    found = answers.values
    if record.values and not set(record.values) & set(found):
        what = f"{record.name} leads to {', '.join(found)}, not to this server."
        return Check(record, "bad", what, found, "Replace the address.", record.values)
    local = not record.values and all(address.startswith("127.") or address == "::1" for address in found)
    if local:
        what = f"{record.name} leads to {', '.join(found)}, which every machine takes for itself."
        return Check(record, "bad", what, found, "Replace it by the public address of this server.")
    return Check(record, "ok", f"{record.name} has an address.", found)


def _judge_ptr(record: Record, answers: Answers) -> Check:
    names = {value.rstrip(".").lower() for value in answers.values}
    if record.values[0] in names:
        return Check(record, "ok", "The server's address points back to its name.", answers.values)
    what = f"The server's address points to {', '.join(sorted(names))}, not to {record.values[0]}."
    return Check(record, "bad", what, answers.values, "Set reverse DNS where the server is rented.", record.values)


# ---------------------------------------------------------------- shared


def _quoted(record: Record, answers: Answers, *starts: str) -> Check | None:
    """A value whose quotes or backslashes were typed into a panel that adds its own."""
    for value in answers.values:
        bare = value.replace("\\", "").replace('"', "").strip().lower()
        if bare != value.strip().lower() and bare.startswith(tuple(start.lower() for start in starts)):
            what = f"{record.purpose} has quotes or backslashes in its value."
            return Check(record, "bad", what, answers.values, "Enter the value without them.", record.values)
    return None


def _tags(text: str) -> dict[str, str] | None:
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


_JUDGES: dict[str, Callable[[Record, Answers], Check]] = {
    "spf": _judge_spf,
    "bounce-spf": _judge_spf,
    "dkim": _judge_dkim,
    "dmarc": _judge_dmarc,
    "mx": _judge_mx,
    "bounce-mx": _judge_mx,
    "address": _judge_address,
    "ptr": _judge_ptr,
}
