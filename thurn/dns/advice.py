"""Verdicts on what campaigns can do without: encryption, mail programs, the tracking host, the logo. Pure."""

from collections.abc import Callable

from thurn.dns import spf
from thurn.dns.findings import Answers, Check, missing, quoted, tags_of
from thurn.dns.records import AUTHORITIES, Record


def _host(record: Record, answers: Answers) -> Check:
    """A name that has to lead here, by CNAME or by the very addresses of the server's name."""
    target, found = record.values[0], answers.values
    if {value.rstrip(".").lower() for value in found} == {target}:
        return Check(record, "ok", f"{record.name} leads to this server.", found)
    here = set(answers.leads_to)
    if here and set(found) <= here:
        return Check(record, "ok", f"{record.name} leads to this server.", found)
    what = f"{record.name} leads to {', '.join(found)}, not to this server."
    return Check(record, "bad", what, found, "Replace it by this record.", record.values)


def _mta_sts(record: Record, answers: Answers) -> Check:
    policies = tuple(value for value in answers.values if value.lower().startswith("v=stsv1"))
    if not policies:
        return quoted(record, answers, "v=STSv1") or missing(record, answers.values)
    if len(policies) > 1:
        what = f"There are {len(policies)} MTA-STS records; others then take none of them."
        return Check(record, "bad", what, policies, "Delete all but this one.", record.values)
    tags = tags_of(policies[0])
    number = (tags or {}).get("id", "")
    if not (number.isascii() and number.isalnum() and len(number) <= 32):
        what = "The MTA-STS record has no valid id."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    if number != (tags_of(record.values[0]) or {})["id"]:
        what = "MTA-STS announces an older policy; others may not notice the new one."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    return Check(record, "ok", "MTA-STS announces the policy that Thurn serves.", policies)


def _tls_rpt(record: Record, answers: Answers) -> Check:
    policies = tuple(value for value in answers.values if value.lower().startswith("v=tlsrptv1"))
    if not policies:
        return quoted(record, answers, "v=TLSRPTv1") or missing(record, answers.values)
    if len(policies) > 1:
        what = f"There are {len(policies)} TLS reporting records; others then take none of them."
        return Check(record, "bad", what, policies, "Delete all but this one.", record.values)
    targets = (tags_of(policies[0]) or {}).get("rua", "").split(",")
    if not all(target.strip().startswith(("mailto:", "https:")) for target in targets):
        what = "The TLS reporting record names no place for reports (rua=mailto:… or https:…)."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    return Check(record, "ok", "TLS reporting is in place.", policies)


def _srv(record: Record, answers: Answers) -> Check:
    _, _, port, host = _service(record.values[0])
    found = [_service(value) for value in answers.values]
    if any(service[2:] == (port, host) for service in found):
        return Check(record, "ok", f"{record.purpose} names this server.", answers.values)
    if any(service[3] == host for service in found):
        what = f"{record.purpose} names this server with another port than {port}."
    elif all(not service[3] for service in found):
        what = f"{record.purpose} says that there is no such service."
    else:
        what = f"{record.purpose} leads to {', '.join(sorted(s[3] for s in found if s[3]))}, not to this server."
    return Check(record, "bad", what, answers.values, "Replace it by this record.", record.values)


def _no_srv(record: Record, answers: Answers) -> Check:
    hosts = sorted(host for *_, host in map(_service, answers.values) if host)
    if not hosts:
        return Check(record, "ok", f"{record.purpose} says that there is no such service.", answers.values)
    what = f"{record.purpose} leads to {', '.join(hosts)}; this server has no such door."
    return Check(record, "bad", what, answers.values, "Replace it by this record.", record.values)


def _service(value: str) -> tuple[int, int, int, str]:
    """Priority, weight, port and host of an SRV record; an empty host says that there is none."""
    priority, weight, port, *rest = value.split()
    return int(priority), int(weight), int(port), (rest[0] if rest else "").rstrip(".").lower()


def _caa(record: Record, answers: Answers) -> Check:
    issuers = [_issuer(value) for value in answers.values]
    named = [issuer for tag, issuer in issuers if tag == "issue"]
    if not named or any(issuer in AUTHORITIES for issuer in named):
        return Check(record, "ok", "Thurn may get certificates for your names.", answers.values)
    who = ", ".join(sorted({issuer for issuer in named if issuer})) or "nobody"
    what = f"CAA lets {who} issue certificates, but not {AUTHORITIES[0]}: Thurn gets none for your names."
    return Check(record, "bad", what, answers.values, "Add this record beside the others.", record.values)


def _issuer(value: str) -> tuple[str, str]:
    """Tag and issuer of a CAA record: `0 issue "letsencrypt.org; accounturi=…"`."""
    _, tag, rest = (*value.split(None, 2), "", "")[:3]
    return tag.lower(), rest.strip('"').partition(";")[0].strip().lower()


def _tlsa(record: Record, answers: Answers) -> Check:
    found = {"".join(value.lower().split()) for value in answers.values}
    absent = tuple(value for value in record.values if "".join(value.lower().split()) not in found)
    if not absent:
        return Check(record, "ok", "TLSA names the key that the mail server shows.", answers.values)
    if record.values[0] not in absent:
        return Check(
            record, "warn", "A renewed certificate with another key waits until TLSA names it.",
            answers.values, "Publish both values; Thurn changes over two hours later.", record.values,
        )  # fmt: skip
    return Check(
        record, "bad", "TLSA names another key than the mail server shows: who checks DANE sends you no mail.",
        answers.values, "Replace its value, or delete the record.", record.values,
    )  # fmt: skip


def _server_spf(record: Record, answers: Answers) -> Check:
    """Of the server's own name: by `a`, or by what else people name it with."""
    policies = tuple(value for value in answers.values if spf.is_policy(value))
    if not policies:
        return quoted(record, answers, "v=spf1") or missing(record, answers.values)
    better = (spf.merged(policies, "a", "-all"),)
    if len(policies) > 1:
        what = f"There are {len(policies)} SPF records at {record.name}; receivers then take none of them."
        return Check(record, "bad", what, policies, "Delete them all and publish this one instead.", better)
    policy = policies[0]
    if problem := spf.error(policy):
        what = f"The SPF record of {record.name} has a mistake: {problem}."
        return Check(record, "bad", what, policies, "Replace its value.", better)
    qualifiers = {spf.qualifier_of(policy, name) for name in ("a", f"a:{record.name}")} - {None}
    if "+" in qualifiers:
        return Check(record, "ok", "The server’s own name may send from this server.", policies)
    if not qualifiers and spf.names_others(policy):  # perhaps this server's address: nothing here tells
        fix = "See that it allows this server’s address."
        return Check(record, "ok", "The server’s own name has an SPF record.", policies, fix)
    what = f"The SPF record of {record.name} does not let this server send."
    return Check(record, "bad", what, policies, "Replace its value.", better)


def _bimi(record: Record, answers: Answers) -> Check:
    policies = tuple(value for value in answers.values if value.lower().startswith("v=bimi1"))
    if not policies:
        return quoted(record, answers, "v=BIMI1") or missing(record, answers.values)
    tags = tags_of(policies[0]) if len(policies) == 1 else None
    if tags is None:
        what = "The BIMI record cannot be read, or there are several."
        return Check(record, "bad", what, policies, "Keep only this one.", record.values)
    if tags.get("l") != (tags_of(record.values[0]) or {})["l"]:
        what = f"BIMI shows the logo {tags.get('l') or 'of nobody'}, not the one in the settings."
        return Check(record, "bad", what, policies, "Replace its value.", record.values)
    return Check(record, "ok", "BIMI names your logo.", policies)


JUDGES: dict[str, Callable[[Record, Answers], Check]] = {
    "autoconfig": _host,
    "tracking": _host,
    "webmail": _host,
    "mta-sts-host": _host,
    "mta-sts": _mta_sts,
    "tls-rpt": _tls_rpt,
    "srv": _srv,
    "no-srv": _no_srv,
    "caa": _caa,
    "tlsa": _tlsa,
    "bimi": _bimi,
    "server-spf": _server_spf,
}
