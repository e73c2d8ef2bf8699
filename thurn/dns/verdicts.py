"""Whether DNS says what it should: a record and what was found, made into a verdict with its reason and fix. Pure."""

from collections.abc import Callable
from dataclasses import replace

import dns.name
import dns.reversename

from thurn.dns import advice, spf
from thurn.dns.findings import Answers, Check, Level, Status, missing, quoted, tags_of
from thurn.dns.records import Record

__all__ = ["Answers", "Check", "Level", "Status", "judge"]

# Not needed by campaigns, yet worse than nothing when they are wrong: others refuse, or certificates are not issued.
_HARMFUL = ("caa", "tlsa", "mta-sts-host", "dkim-old")


def judge(record: Record, answers: Answers) -> Check:
    """The verdict. What DNS could not tell is `unknown`; what campaigns do not need is mostly `warn` at worst.

    Where name servers disagree, it is `unknown` while one of them is right: the others may only be slow.
    """
    check = _judge(record, answers)
    if not answers.others or answers.status in ("failed", "timeout"):
        return check
    others = [(server, _judge(record, theirs)) for server, theirs in answers.others]
    told = ", ".join(f"{server} has {'; '.join(c.found) or 'nothing'}" for server, c in others)
    levels = {check.level, *(c.level for _, c in others)}
    what = f"{record.purpose} is not the same at all name servers: {told}."
    fix = "Wait some minutes: they may be copying. If it stays so, mend the one that lags behind."
    return replace(check, level="unknown" if "ok" in levels else check.level, what=what, fix=fix)


def _judge(record: Record, answers: Answers) -> Check:
    if answers.status in ("failed", "timeout"):
        return _unknown(record, answers.status)
    check = _JUDGES[record.kind](record, answers) if answers.values else _missing(record, answers)
    harms = record.kind in _HARMFUL and check.found
    if check.level == "bad" and not record.required and not harms:
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
    return missing(record, found)


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
    _, ours, *further, end = record.values[0].split()
    if not policies:
        return quoted(record, answers, "v=spf1") or _missing(record, answers)
    missing = spf.not_named(" ".join(policies), further)
    better = (spf.merged(policies, ours, end, missing),)
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
    if missing:
        return _not_all(record, policies, [term[4:] for term in missing], better)
    return Check(record, "ok", f"{record.purpose} names this server.", policies)


def _not_all(record: Record, policies: tuple[str, ...], missing: list[str], better: tuple[str, ...]) -> Check:
    """Sending goes on: what leaves by the server's own address is right, and DKIM holds for all of it."""
    one = len(missing) == 1
    what = f"{record.purpose} does not name {', '.join(missing)}, from which your mail leaves, too."
    fix = f"Replace its value: else what leaves from {'there' if one else 'them'} passes by its signature alone."
    if spf.refers(policies[0]):
        fix += f" If something that it includes names {'it' if one else 'them'}, all is well, and this may stay."
    return Check(record, "warn", what, policies, fix, better)


# ---------------------------------------------------------------- DKIM


def _judge_dkim(record: Record, answers: Answers) -> Check:
    values = answers.values
    wanted = tags_of(record.values[0])

    def bad(what: str, fix: str = "Replace its value.") -> Check:
        return Check(record, "bad", f"{record.purpose} {what}", values, fix, record.values)

    if len(values) > 1:
        if any(_same(wanted, tags_of("".join(parts))) for parts in (values, values[::-1])):
            return bad("is split over two records.", "Delete both and publish one record with the whole value.")
        return bad(f"has {len(values)} records under one name.", "Delete all but this one.")
    if typed := quoted(record, answers, "v=DKIM1", "p="):
        return typed
    found = tags_of(values[0])
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
        return quoted(record, answers, "v=DMARC1") or _missing(record, answers, answers.values)
    if len(policies) > 1:
        what = f"There are {len(policies)} DMARC records; receivers then take none of them."
        return Check(record, "bad", what, policies, "Keep one and delete the others.")
    tags = tags_of(policies[0])
    policy = (tags or {}).get("p", "").lower()
    if tags is None or tags.get("v") != "DMARC1" or policy not in ("none", "quarantine", "reject"):
        what = "The DMARC record has no valid policy (p=none, p=quarantine or p=reject)."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    if tags.get("aspf", "r").lower() == "s":
        return Check(
            record, "warn", "DMARC asks for the very same name in SPF, which the bounce host is not.", policies,
            "Take aspf=s out: mail passes by DKIM alone until then.",
        )  # fmt: skip
    chosen = (tags_of(record.values[0]) or {}).get("p", "none")
    if _STRICT.index(policy) < _STRICT.index(chosen):
        return Check(
            record, "warn", f"DMARC says p={policy}, but p={chosen} is chosen in the settings.", policies,
            "Replace its value.", record.values,
        )  # fmt: skip
    hint = "It only watches. When the reports look clean, p=quarantine protects your name." if policy == "none" else ""
    return Check(record, "ok", "DMARC is in place.", policies, hint)


_STRICT = ("none", "quarantine", "reject")


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
    if record.values[0] not in names:
        what = f"The server's address points to {', '.join(sorted(names))}, not to {record.values[0]}."
        fix = "Set reverse DNS where the server is rented."
        return Check(record, "bad", what, answers.values, fix, record.values)
    address = pointed_from(record.name)
    if answers.leads_to and address not in answers.leads_to:
        what = f"{address} points to {record.values[0]}, but that name leads to {', '.join(answers.leads_to)}."
        fix = f"Give {record.values[0]} the address {address}: receivers look both ways."
        return Check(record, "bad", what, answers.values, fix)
    return Check(record, "ok", "The server's address points back to its name.", answers.values)


def pointed_from(name: str) -> str:
    """The address that a name in in-addr.arpa or ip6.arpa stands for."""
    return dns.reversename.to_address(dns.name.from_text(name))


_JUDGES: dict[str, Callable[[Record, Answers], Check]] = {
    "spf": _judge_spf,
    "bounce-spf": _judge_spf,
    "dkim": _judge_dkim,
    "dmarc": _judge_dmarc,
    "mx": _judge_mx,
    "bounce-mx": _judge_mx,
    "address": _judge_address,
    "ptr": _judge_ptr,
    "dkim-next": _judge_dkim,
    "dkim-old": _judge_dkim,
    **advice.JUDGES,
}
