"""DMARC and TLS reports as the JSON API shows and takes them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.web.schemas import In, Out, Text


class FigureOut(Out):
    """A condition of the advice, and whether it is met."""

    good: bool
    text: str


class AdviceOut(Out):
    """Whether the domain may move to a stricter policy."""

    level: str = Field(description="ok, warn, bad or off.")
    title: str
    why: str
    next: str = Field(description="The policy it is safe to move to; empty if there is none, or not yet.")
    figures: list[FigureOut]


class DayOut(Out):
    """A day in UTC: mails that passed and failed, or connections that were encrypted and failed."""

    day: date
    good: int
    bad: int


class AddressOut(Out):
    """A server. `host`: its name in DNS if that points back."""

    ip: str
    host: str
    mails: int
    passed: int


class SourceOut(Out):
    """A sender. `forwarded`: failed, and the receiver saw that a forwarder was to blame; `stopped`: quarantined or
    refused."""

    key: str = Field(description="What it is called in requests.")
    name: str
    state: str
    verdict: str = Field(description="ours, foreign, or empty while nobody has said.")
    mails: int
    passed: int
    dkim: int
    spf: int
    forwarded: int
    stopped: int
    last: date | None
    addresses: list[AddressOut]


class DmarcOut(Out):
    """The last 30 days of a domain as receivers report them."""

    published: str = Field(description="The policy in the newest report; empty without one.")
    mails: int
    passed: int
    reporters: int
    reports: int
    left_out: int = Field(description="Reports that do not count, as nothing proves who sent them.")
    advice: AdviceOut
    trend: list[DayOut]
    sources: list[SourceOut]


class VerdictIn(In):
    """Whose a sender is."""

    source: Annotated[Text, Field(min_length=1, max_length=255, examples=["mailchimp", "203.0.113.0/24"])]
    whose: Literal["ours", "foreign", "unknown"]


class TlsPolicyOut(Out):
    """Connections under one kind of policy: sts, tlsa, no-policy-found."""

    policy: str
    good: int
    bad: int


class TlsFailureOut(Out):
    """Connections that failed in one way (RFC 8460, 4.3), with what to do."""

    policy: str
    result: str
    mx: str
    n: int
    orgs: list[str]
    detail: str
    last: date
    what: str
    do: str


class TlsOut(Out):
    """The last 30 days of connections to a domain as senders report them."""

    good: int
    bad: int
    reporters: int
    trend: list[DayOut]
    policies: list[TlsPolicyOut]
    failures: list[TlsFailureOut]


class ReportOut(Out):
    """A report. `submitter`: the domain proven to have mailed it, `upload`, or empty where nothing was proven."""

    id: int
    kind: str
    received_at: datetime
    org: str
    contact: str
    report_id: str
    submitter: str
    counted: bool
    begins: datetime
    ends: datetime
    about: str
    policy: dict[str, str]
    good: int
    bad: int


class Reports(Out):
    """Reports, newest first."""

    items: list[ReportOut]
    next: str | None


class FailureOut(Out):
    """A mail that failed, from a failure report; without what names a person."""

    id: int
    received_at: datetime
    about: str
    source: str | None
    failed: str
    done: str
    header_from: str
    dkim_domain: str
    dkim_selector: str
    spf: str
    counted: bool


class Failures(Out):
    """Failed mails, newest first."""

    items: list[FailureOut]
    next: str | None


class StoredOut(Out):
    """What became of one document of an upload."""

    name: str
    summary: str
    new: bool
    counted: bool


class Uploaded(Out):
    """What became of an upload."""

    items: list[StoredOut]
