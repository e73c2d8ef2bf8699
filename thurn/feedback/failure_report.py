"""DMARC failure reports (RFC 6591; RFC 7489, 7.3) without what names a person: no address, subject or text is kept."""

import ipaddress
import re
from dataclasses import dataclass

from thurn.feedback.archive import Refused
from thurn.feedback.dmarc_report import domain_in
from thurn.feedback.mime import NOTHING, fields_of, parts


@dataclass(frozen=True, slots=True)
class FailureReport:
    """One mail that failed. `failed`: Auth-Failure; `done`: Delivery-Result; `spf`: the host or domain looked at."""

    domain: str
    source: str
    failed: str
    done: str
    header_from: str
    dkim_domain: str
    dkim_selector: str
    spf: str


def parse(raw: bytes) -> FailureReport | None:
    """Read a mail; None if it is no failure report, `Refused` if it is one that says too little."""
    found = parts(raw)
    report = next((part for part in found if part.kind == "message/feedback-report"), None)
    if report is None:
        return None
    said = fields_of(report.body)
    if said.get("feedback-type").lower() != "auth-failure":
        return None
    original = NOTHING
    for part in found:
        if part.kind == "message/rfc822":
            original = part.fields
        elif part.kind in ("text/rfc822-headers", "message/rfc822-headers"):
            original = fields_of(part.body)
    header_from = _domain(original.get("from"))
    domain = _domain(said.get("reported-domain")) or header_from or _domain(said.get("dkim-domain"))
    if not domain:
        raise Refused("It does not say which domain it is about.")
    return FailureReport(
        domain,
        _address(said.get("source-ip")),
        _word(said.get("auth-failure")),
        _word(said.get("delivery-result")),
        header_from,
        _domain(said.get("dkim-domain")),
        re.sub(r"[^\w.-]", "", said.get("dkim-selector"))[:100],
        _domain(said.get("spf-dns").removeprefix("txt : ").split(":")[0]),
    )


def _domain(text: str) -> str:
    """The domain of an address or the name itself: who it was stays out."""
    return domain_in(text.rpartition("@")[2].strip("<>\"' ;"))


def _word(text: str) -> str:
    word = text.strip().lower()
    return word if re.fullmatch(r"[a-z-]{1,40}", word) else ""


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[] ").removeprefix("IPv6:"))).partition("%")[0]
    except ValueError:
        return ""
