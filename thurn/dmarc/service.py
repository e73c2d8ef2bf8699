"""Figures from DMARC and TLS reports of a domain, and what people decide about its senders.

Functions of a connection that sees the workspace; figures are of the last 30 days with their reports counted by the
day they begin, UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.dmarc.advice import Advice, advise
from thurn.dmarc.sources import Source, group
from thurn.dmarc.tlsfailures import Meaning, meaning
from thurn.problems import Invalid, NotFound

DAYS = 30
Verdict = Literal["ours", "foreign", ""]
_LINES = 5000  # addresses that are looked at, largest first


@dataclass(frozen=True, slots=True)
class Day:
    """Mails or sessions of one day."""

    day: date
    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything a domain's DMARC page says."""

    sources: list[Source]
    trend: list[Day]
    advice: Advice
    published: str  # policy in the newest report
    reporters: int
    reports: int
    left_out: int  # reports that do not count

    @property
    def mails(self) -> int:
        """How many reports speak of."""
        return sum(day.good + day.bad for day in self.trend)

    @property
    def passed(self) -> int:
        """How many of them passed."""
        return sum(day.good for day in self.trend)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """The trend as a chart takes it."""
        return [(day.good, day.bad) for day in self.trend]


def today() -> date:
    """By the clock that days of reports go by."""
    return datetime.now(UTC).date()


async def overview(db: Connection, domain_id: int) -> Overview:
    """The DMARC figures of a domain."""
    since = today() - timedelta(days=DAYS)
    sources = await sources_of(db, domain_id)
    trend = await rows(
        db,
        """SELECT day, coalesce(sum(n) FILTER (WHERE dkim_aligned OR spf_aligned), 0)::bigint AS good,
                  coalesce(sum(n) FILTER (WHERE NOT (dkim_aligned OR spf_aligned)), 0)::bigint AS bad
           FROM dmarc_row WHERE domain_id = %s AND counted AND day >= %s GROUP BY day ORDER BY day""",
        [domain_id, since],
    )
    newest = await maybe(
        db,
        """SELECT coalesce(policy->>'p', 'none') AS p FROM auth_report
           WHERE domain_id = %s AND kind = 'dmarc' AND counted ORDER BY begins DESC, id DESC LIMIT 1""",
        [domain_id],
    )
    published = newest["p"] if newest else ""
    reports = await one(
        db,
        """SELECT count(*) FILTER (WHERE counted) AS reports, count(DISTINCT org) FILTER (WHERE counted) AS reporters,
                  count(*) FILTER (WHERE NOT counted) AS left_out,
                  count(DISTINCT begins::date) FILTER (WHERE counted AND policy->>'p' = %s) AS days_at_policy
           FROM auth_report WHERE domain_id = %s AND kind = 'dmarc' AND begins >= %s""",
        [published, domain_id, since],
    )
    if published not in ("", "none", "quarantine", "reject"):
        published = "none"
    advice = advise(published, len(trend), sources, days_at_policy=reports["days_at_policy"])
    days = {row["day"]: Day(row["day"], row["good"], row["bad"]) for row in trend}
    return Overview(
        sources, _filled(days), advice, published, reports["reporters"], reports["reports"], reports["left_out"]
    )


def _filled(days: dict[date, Day]) -> list[Day]:
    """Every day of the window; those without a report are empty."""
    every = [today() - timedelta(days=back) for back in range(DAYS, -1, -1)]
    return [days.get(day, Day(day, 0, 0)) for day in every]


async def sources_of(db: Connection, domain_id: int) -> list[Source]:
    """Who sent as the domain, largest first."""
    sums = await rows(
        db,
        """SELECT host(r.source) AS source, r.sender, coalesce(s.org, '') AS org, coalesce(s.name, '') AS host,
                  sum(n) AS mails,
                  coalesce(sum(n) FILTER (WHERE dkim_aligned OR spf_aligned), 0) AS passed,
                  coalesce(sum(n) FILTER (WHERE dkim_aligned), 0) AS dkim,
                  coalesce(sum(n) FILTER (WHERE spf_aligned), 0) AS spf,
                  coalesce(sum(n) FILTER (WHERE NOT dkim_aligned AND NOT spf_aligned
                           AND overrides && '{forwarded,mailing_list,trusted_forwarder}'), 0) AS forwarded,
                  coalesce(sum(n) FILTER (WHERE disposition IN ('quarantine', 'reject')), 0) AS stopped,
                  max(day) AS last
           FROM dmarc_row r LEFT JOIN source_name s ON s.ip = r.source
           WHERE r.domain_id = %s AND r.counted AND r.day >= %s
           GROUP BY 1, 2, 3, 4 ORDER BY sum(n) DESC LIMIT %s""",
        [domain_id, today() - timedelta(days=DAYS), _LINES],
    )
    said = await rows(db, "SELECT source, verdict FROM dmarc_source WHERE domain_id = %s", [domain_id])
    return group(sums, {row["source"]: row["verdict"] for row in said})


async def results(db: Connection, domain_id: int, addresses: Sequence[str]) -> list[Row]:
    """What receivers found in mail from these addresses, most first: at most 50 lines."""
    return await rows(
        db,
        """SELECT host(source) AS source, header_from, dkim, spf, dkim_aligned, spf_aligned, disposition, overrides,
                  sum(n)::bigint AS n, max(day) AS last
           FROM dmarc_row WHERE domain_id = %s AND counted AND day >= %s AND source = ANY(%s::inet[])
           GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY sum(n) DESC LIMIT 50""",
        [domain_id, today() - timedelta(days=DAYS), list(addresses)],
    )


async def decide(db: Connection, domain: Row, *, source: str, verdict: Verdict) -> None:
    """Say whose a source is: `ours`, `foreign`, or '' for not known. `NotFound` for a source that never sent."""
    if not source or len(source) > 255 or not source.isprintable():
        raise Invalid("source", "Give the name of a sender as it is listed.")
    known = await maybe(db, "SELECT 1 FROM dmarc_source WHERE domain_id = %s AND source = %s", [domain["id"], source])
    if not known and source not in {each.key for each in await sources_of(db, domain["id"])}:
        raise NotFound(f"No mail from {source} was reported in the last {DAYS} days.")
    await db.execute(
        """INSERT INTO dmarc_source (workspace_id, domain_id, source, verdict) VALUES (%s, %s, %s, %s)
           ON CONFLICT (domain_id, source) DO UPDATE SET verdict = excluded.verdict""",
        [domain["workspace_id"], domain["id"], source, verdict],
    )


async def reports(
    db: Connection, domain_id: int, *, kind: str = "", before: int | None = None, limit: int = 25
) -> list[Row]:
    """Reports, newest first; those with an id below `before`."""
    return await rows(
        db,
        """SELECT id, kind, received_at, org, contact, report_id, submitter, counted, begins, ends, about, policy, good,
                  bad FROM auth_report
           WHERE domain_id = %s AND (%s = '' OR kind = %s) AND id < %s ORDER BY id DESC LIMIT %s""",
        [domain_id, kind, kind, before or 2**62, limit],
    )


async def failures(db: Connection, domain_id: int, *, before: int | None = None, limit: int = 25) -> list[Row]:
    """Single mails that failed, from failure reports, newest first."""
    return await rows(
        db,
        """SELECT id, received_at, about, host(source) AS source, failed, done, header_from, dkim_domain, dkim_selector,
                  spf, counted FROM dmarc_failure WHERE domain_id = %s AND id < %s ORDER BY id DESC LIMIT %s""",
        [domain_id, before or 2**62, limit],
    )


# ---------------------------------------------------------------- TLS


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Sessions that failed in one way, at one server of ours."""

    policy: str
    result: str
    mx: str
    n: int
    orgs: list[str]
    detail: str
    last: date

    @property
    def meaning(self) -> Meaning:
        """In words."""
        return meaning(self.result)


@dataclass(frozen=True, slots=True)
class Tls:
    """Everything a domain's TLS page says."""

    trend: list[Day]
    policies: list[Row]  # policy, good, bad
    failures: list[TlsFailure]
    reporters: int

    @property
    def good(self) -> int:
        """Encrypted sessions."""
        return sum(day.good for day in self.trend)

    @property
    def bad(self) -> int:
        """Failed ones."""
        return sum(day.bad for day in self.trend)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """The trend as a chart takes it."""
        return [(day.good, day.bad) for day in self.trend]


async def tls(db: Connection, domain_id: int) -> Tls:
    """The TLS figures of a domain."""
    values = [domain_id, today() - timedelta(days=DAYS)]
    trend = await rows(
        db,
        """SELECT day, sum(good)::bigint AS good, sum(bad)::bigint AS bad FROM tls_row
           WHERE domain_id = %s AND counted AND day >= %s AND failed_with = '' GROUP BY day ORDER BY day""",
        values,
    )
    policies = await rows(
        db,
        """SELECT policy, sum(good)::bigint AS good, sum(bad)::bigint AS bad FROM tls_row
           WHERE domain_id = %s AND counted AND day >= %s AND failed_with = '' GROUP BY policy ORDER BY policy""",
        values,
    )
    failed = await rows(
        db,
        """SELECT t.policy, failed_with AS result, mx, sum(t.bad)::bigint AS n, max(day) AS last, max(detail) AS detail,
                  array_agg(DISTINCT org) AS orgs
           FROM tls_row t JOIN auth_report a ON a.id = t.report_id
           WHERE t.domain_id = %s AND t.counted AND day >= %s AND failed_with <> ''
           GROUP BY t.policy, failed_with, mx ORDER BY n DESC, failed_with, mx LIMIT 100""",
        values,
    )
    by = await one(
        db,
        """SELECT count(DISTINCT org) AS n FROM auth_report
           WHERE domain_id = %s AND kind = 'tls' AND counted AND begins >= %s""",
        values,
    )
    days = {row["day"]: Day(row["day"], row["good"], row["bad"]) for row in trend}
    return Tls(_filled(days), policies, [TlsFailure(**row) for row in failed], by["n"])
