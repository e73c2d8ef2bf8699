"""SMTP TLS reports (RFC 8460) as values. Pure; any bytes give an answer in bounded time."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from thurn.feedback.archive import Refused
from thurn.feedback.dmarc_report import domain_in

_LARGEST = 4 * 1024 * 1024
_POLICIES = 200
_FAILURES = 2000  # of all policies together
_TYPES = frozenset({"sts", "tlsa", "no-policy-found"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Sessions that failed in one way. `result`: RFC 8460, 4.3; `detail`: the reporter's words."""

    result: str
    count: int
    mx: str
    sender_ip: str
    detail: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What was found of one policy. `kind`: sts, tlsa or no-policy-found."""

    kind: str
    domain: str
    good: int
    bad: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class TlsReport:
    """A report: always of one recipient domain, by RFC 8460, 4.4, though of several policies."""

    org: str
    contact: str
    report_id: str
    begins: datetime
    ends: datetime
    policies: tuple[Policy, ...]

    @property
    def domain(self) -> str:
        """The domain it is about."""
        return self.policies[0].domain


def parse(data: bytes) -> TlsReport:
    """Read a report; raises `Refused`."""
    if len(data) > _LARGEST:
        raise Refused(f"It is larger than {_LARGEST // 2**20} MB, which no TLS report is.")
    try:
        said = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise Refused(f"It is no JSON: {str(error)[:100]}.") from error
    if not isinstance(said, dict) or not isinstance(said.get("policies"), list):
        raise Refused("It is JSON, but no TLS report: it names no policies.")
    policies = tuple(_policies(said["policies"]))
    if not policies:
        raise Refused("It does not say which domain it is about.")
    dates = said.get("date-range")
    dates = dates if isinstance(dates, dict) else {}
    begins, ends = _time(dates, "start"), _time(dates, "end")
    if begins > ends:
        raise Refused("It ends before it begins.")
    contact, report_id = _text(said.get("contact-info")), _text(said.get("report-id"))
    org = _text(said.get("organization-name")) or contact.rpartition("@")[2]
    if not org or not report_id:
        raise Refused("It does not say who wrote it, or has no number, so it cannot be told from another.")
    return TlsReport(org, contact, report_id, begins, ends, policies)


def _policies(given: list[Any]) -> list[Policy]:
    found: list[Policy] = []
    room = _FAILURES
    for each in given[:_POLICIES]:
        if not isinstance(each, dict):
            continue
        policy, summary = each.get("policy"), each.get("summary")
        policy = policy if isinstance(policy, dict) else {}
        summary = summary if isinstance(summary, dict) else {}
        domain, kind = domain_in(_text(policy.get("policy-domain"))), _text(policy.get("policy-type"))
        if not domain or (found and domain != found[0].domain):
            continue
        details = each.get("failure-details")
        failures = [_failure(one) for one in (details if isinstance(details, list) else [])[:room]]
        kept = tuple(one for one in failures if one)
        room -= len(kept)
        bad = max(_count(summary, "total-failure-session-count"), 0)
        good = _count(summary, "total-successful-session-count")
        found.append(Policy(kind if kind in _TYPES else "no-policy-found", domain, good, bad, kept))
    return found


def _failure(given: Any) -> Failure | None:
    if not isinstance(given, dict):
        return None
    result = _text(given.get("result-type")).lower()
    words = [_text(given.get(name)) for name in ("failure-reason-code", "additional-information")]
    return Failure(
        result if re.fullmatch(r"[a-z0-9-]{1,60}", result) else "unknown",
        _count(given, "failed-session-count"),
        _text(given.get("receiving-mx-hostname")).rstrip(".").lower()[:253],
        _text(given.get("sending-mta-ip"))[:60],
        "; ".join(word for word in words if word)[:300],
    )


def _count(of: dict[str, Any], name: str) -> int:
    value = of.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return " ".join(value[:600].replace("\0", "").split())[:500]


def _time(dates: dict[str, Any], which: str) -> datetime:
    text = _text(dates.get(f"{which}-datetime"))
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refused(f"It does not say when it {which}s.") from None
    if not 1970 <= at.year < 2100:
        raise Refused(f"It does not say when it {which}s.")
    return at
