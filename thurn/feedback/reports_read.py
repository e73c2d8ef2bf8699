"""DMARC and TLS reports in whatever they came: read, or refused with the reason. Pure; no database."""

from dataclasses import asdict, dataclass
from typing import Any

from thurn.feedback import dmarc_report, failure_report, tls_report
from thurn.feedback.archive import Document, Refused, documents, is_mail
from thurn.feedback.dmarc_report import Aggregate
from thurn.feedback.failure_report import FailureReport
from thurn.feedback.tls_report import TlsReport

Report = Aggregate | TlsReport | FailureReport


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one document: a report, or the reason why not."""

    name: str
    report: Report | None
    why: str = ""


def read(raw: bytes, name: str = "") -> list[Reading]:
    """Every report in a file or mail; never empty, never raises."""
    try:
        if is_mail(raw) and (failure := failure_report.parse(raw)):
            return [Reading(name, failure)]
        found = documents(raw, name)
    except Refused as refused:
        return [Reading(name, None, str(refused))]
    if not found:
        return [Reading(name, None, "There is no report in it: no XML, no JSON, and nothing packed that holds any.")]
    return [_document(each) for each in found]


def _document(document: Document) -> Reading:
    start = document.data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    try:
        if not start:
            raise Refused("It is empty.")
        if start.startswith((b"{", b"[")):
            return Reading(document.name, tls_report.parse(document.data))
        if start.startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
            return Reading(document.name, dmarc_report.parse(document.data))
    except Refused as refused:
        return Reading(document.name, None, str(refused))
    return Reading(document.name, None, "It is neither XML (as DMARC reports are) nor JSON (as TLS reports are).")


def as_json(reading: Reading) -> dict[str, Any]:
    """For programs: `kind` is dmarc, tls, dmarc-failure or refused."""
    report = reading.report
    if report is None:
        return {"document": reading.name, "kind": "refused", "why": reading.why}
    kind = {Aggregate: "dmarc", TlsReport: "tls", FailureReport: "dmarc-failure"}[type(report)]
    said: dict[str, Any] = {"document": reading.name, "kind": kind, "domain": report.domain, **asdict(report)}
    if isinstance(report, Aggregate):
        said |= {"mails": report.mails, "passed": report.passed}
    return said
