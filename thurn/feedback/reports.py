"""DMARC and TLS reports into the database: each once, each with the domain it is about, and only believed where who
sent it is proven.

Anybody can write to the address that a DMARC record names. So a report counts where the mail's DMARC or DKIM passed for
a domain that fits whom the report says it is from, or where somebody of the workspace uploaded it. Everything else is
kept and shown, and changes no figure.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.dmarc.senders import organisational, sender_of
from thurn.feedback.dmarc_report import Aggregate
from thurn.feedback.failure_report import FailureReport
from thurn.feedback.mime import fields_of
from thurn.feedback.reports_read import Reading, read
from thurn.feedback.tls_report import TlsReport

UPLOAD = "upload"
_METHODS = ("dmarc", "dkim", "spf")
_OUTCOME = re.compile(r"(?:^|;)\s*(dmarc|dkim|spf)=pass\b([^;]*)")
_NAMED = {
    "dmarc": re.compile(r"\sheader\.from=([A-Za-z0-9.-]+)"),
    "dkim": re.compile(r"\sheader\.[di]=(?:[^\s;@]*@)?([A-Za-z0-9.-]+)"),
    "spf": re.compile(r"\ssmtp\.mailfrom=(?:[^\s;@]*@)?([A-Za-z0-9.-]+)"),
}
_QUOTED, _COMMENT = re.compile(r'"[^"]*"'), re.compile(r"\([^()]*\)")  # RFC 8601, 2.2


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one document. `new`: it was not here before; `counted`: it goes into the figures."""

    name: str
    summary: str
    new: bool = False
    counted: bool = False


async def store(db: Connection, raw: bytes, *, address: str) -> str:
    """Store what a mail to `address` holds, in the transaction of `db`; returns what became of it, in words."""
    behind = proofs(raw)
    found = await asyncio.to_thread(read, raw)
    return "; ".join([(await put(db, each, submitter=_submitter(behind, each))).summary for each in found])[:1000]


def _submitter(behind: list[str], reading: Reading) -> str:
    """Of the domains behind a mail, the one that fits its report; a service that mails for others signs, too."""
    report = reading.report
    if isinstance(report, Aggregate | TlsReport):
        fitting = [domain for domain in behind if believable(domain, report.org, report.contact)]
        return next(iter(fitting or behind), "")
    return next(iter(behind), "")


async def upload(db: Connection, raw: bytes, *, name: str = "") -> list[Stored]:
    """Store what somebody of the workspace uploaded."""
    found = await asyncio.to_thread(read, raw, name)
    return [await put(db, each, submitter=UPLOAD) for each in found]


def proven(raw: bytes) -> str:
    """The domain our own `mx` found to have sent a mail; empty if none."""
    return next(iter(proofs(raw)), "")


def proofs(raw: bytes) -> list[str]:
    """Every domain our own `mx` found to stand behind a mail: by DMARC, by DKIM, by SPF (of the envelope sender).

    Rspamd takes away every Authentication-Results that was there and puts its own on top. For our own addresses it is
    told not to judge by DMARC, as whatever it says there must not have a report refused: DKIM and SPF say enough.
    """
    said = fields_of(raw[: 64 * 1024].replace(b"\r\n", b"\n").partition(b"\n\n")[0]).get("authentication-results")
    # Quoted strings hold the sender's own words, also within comments. A backslash means a quote in them, and Rspamd
    # escapes those in a way that can be broken out of: then nothing here is believed.
    if "\\" in said:
        return []
    said = _COMMENT.sub("", _QUOTED.sub("", said))
    if '"' in said or "(" in said:  # an end is missing: what follows may be anybody's words
        return []
    found = [(_METHODS.index(method), named[1].lower()) for method, rest in _OUTCOME.findall(said)
             if (named := _NAMED[method].search(rest))]  # fmt: skip
    return list(dict.fromkeys(domain for _, domain in sorted(found, key=lambda each: each[0])))


def believable(submitter: str, org: str, contact: str) -> bool:
    """Whether a report by `org` (`contact` its address) may have come from the domain that was proven."""
    if submitter == UPLOAD:
        return True
    if not submitter:
        return False
    home = organisational(submitter)
    names = {organisational(contact.rpartition("@")[2]), organisational(org)}
    return home in names or home.partition(".")[0] in re.split(r"[^a-z0-9]+", org.lower())


async def put(db: Connection, reading: Reading, *, submitter: str) -> Stored:
    """Store one document."""
    report = reading.report
    if report is None:
        return Stored(reading.name, f"not taken: {reading.why}")
    domain = await _domain(db, report.domain)
    if domain is None:
        return Stored(reading.name, f"not taken: it is about {report.domain}, which is not one of the domains here.")
    if isinstance(report, FailureReport):
        await _failure(db, domain, report, counted=bool(submitter))
        return Stored(reading.name, f"one mail from {report.source or 'somewhere'} failed", True, bool(submitter))
    return await _report(db, reading.name, domain, report, submitter)


async def _domain(db: Connection, name: str) -> Row | None:
    """The domain here that a name is, or is below."""
    labels = name.split(".")
    above = [".".join(labels[n:]) for n in range(len(labels) - 1)]
    return await maybe(
        db,
        """SELECT id, workspace_id, name, bounce_host,
                  (SELECT coalesce(array_agg(selector), '{}') FROM dkim_key WHERE domain_id = domain.id) AS selectors
           FROM domain WHERE name = ANY(%s) ORDER BY length(name) DESC LIMIT 1""",
        [above],
    )


async def _report(db: Connection, name: str, domain: Row, report: Aggregate | TlsReport, submitter: str) -> Stored:
    kind = "dmarc" if isinstance(report, Aggregate) else "tls"
    digest = hashlib.sha256(orjson.dumps([kind, report])).digest()
    org, report_id = report.org[:200], report.report_id[:300]
    title = f"report {report_id[:80]} of {org[:80]}"
    # One at a time for a domain: two copies of a report that come together are one.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('auth_report'), %s)", [domain["id"]])
    same = await rows(
        db,
        """SELECT id, submitter, counted, digest FROM auth_report
           WHERE domain_id = %s AND kind = %s AND org = %s AND report_id = %s""",
        [domain["id"], kind, org, report_id],
    )
    counted = believable(submitter, org, report.contact)
    twin = next((row for row in same if row["digest"] == digest), None)
    if twin is not None:
        if counted and not twin["counted"]:
            await _believe(db, twin["id"], kind)
            return Stored(name, f"{title} was here, and counts now that its sender is proven", counted=True)
        return Stored(name, f"{title} was here already", counted=twin["counted"])
    if any(row["submitter"] == submitter for row in same):
        return Stored(name, f"not taken: {title} was here already, with other contents; the first one stays")
    if counted and any(row["counted"] for row in same):
        counted = False  # two that say different things under one name: the one that was there first is counted
    good, bad = _sums(report)
    new = await one(
        db,
        """INSERT INTO auth_report (workspace_id, domain_id, kind, org, contact, report_id, submitter, counted, digest,
                                    begins, ends, about, policy, good, bad)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        [
            domain["workspace_id"], domain["id"], kind, org, report.contact[:300], report_id, submitter, counted,
            digest, report.begins, report.ends, report.domain,
            Jsonb(report.policy if isinstance(report, Aggregate) else {}), good, bad,
        ],
    )  # fmt: skip
    if isinstance(report, Aggregate):
        await _dmarc_rows(db, domain, new["id"], report, counted)
        what = f"{report.mails:,} mails, {report.passed:,} passed"
    else:
        await _tls_rows(db, domain, new["id"], report, counted)
        what = f"{good:,} sessions were encrypted, {bad:,} failed"
    suffix = "" if counted else "; not counted, as nothing proves who sent it"
    return Stored(name, f"{title}: {what}{suffix}", True, counted)


async def _believe(db: Connection, report: int, kind: str) -> None:
    await db.execute("UPDATE auth_report SET counted = true WHERE id = %s", [report])
    if kind == "dmarc":
        await db.execute("UPDATE dmarc_row SET counted = true WHERE report_id = %s", [report])
    else:
        await db.execute("UPDATE tls_row SET counted = true WHERE report_id = %s", [report])


def _sums(report: Aggregate | TlsReport) -> tuple[int, int]:
    if isinstance(report, Aggregate):
        return report.passed, report.mails - report.passed
    return sum(policy.good for policy in report.policies), sum(policy.bad for policy in report.policies)


async def _dmarc_rows(db: Connection, domain: Row, report_id: int, report: Aggregate, counted: bool) -> None:
    selectors = frozenset(domain["selectors"])
    own = {
        row["address"]
        for row in await rows(
            db, "SELECT DISTINCT host(a) AS address FROM egress, unnest(ARRAY[bind4, bind6]) a WHERE a IS NOT NULL", []
        )
    }
    values = [
        (
            domain["workspace_id"], domain["id"], report_id, report.begins.date(), counted, row.source,
            row.count, row.disposition, row.dkim, row.spf, list(row.overrides), row.header_from,
            row.envelope_from, Jsonb([[d.domain, d.selector, d.result] for d in row.signatures]),
            Jsonb([[s.domain, s.result] for s in row.spf_checks]),
            sender_of(
                row, selectors=selectors, bounce_host=domain["bounce_host"], domain=domain["name"], own=own
            ),
        )
        for row in report.rows
    ]  # fmt: skip
    async with db.cursor() as cursor:
        await cursor.executemany(  # COPY knows no row-level security
            """INSERT INTO dmarc_row (workspace_id, domain_id, report_id, day, counted, source, n, disposition,
                 dkim_aligned, spf_aligned, overrides, header_from, envelope_from, dkim, spf, sender)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            values,
        )


def _tls_lines(report: TlsReport) -> Iterator[tuple[str, str, int, int, str, str, str]]:
    for policy in report.policies:
        yield policy.kind, "", policy.good, policy.bad, "", "", ""
        for failure in policy.failures:
            yield policy.kind, failure.result, 0, failure.count, failure.mx, failure.sender_ip, failure.detail


async def _tls_rows(db: Connection, domain: Row, report_id: int, report: TlsReport, counted: bool) -> None:
    head = domain["workspace_id"], domain["id"], report_id, report.begins.date(), counted
    async with db.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO tls_row (workspace_id, domain_id, report_id, day, counted, policy, failed_with, good, bad,
                                    mx, sender_ip, detail) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [(*head, *line) for line in _tls_lines(report)],
        )


async def _failure(db: Connection, domain: Row, report: FailureReport, *, counted: bool) -> None:
    await db.execute(
        """INSERT INTO dmarc_failure (workspace_id, domain_id, about, source, failed, done, header_from, dkim_domain,
                                      dkim_selector, spf, counted)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            domain["workspace_id"], domain["id"], report.domain, report.source or None, report.failed, report.done,
            report.header_from, report.dkim_domain, report.dkim_selector, report.spf, counted,
        ],
    )  # fmt: skip
