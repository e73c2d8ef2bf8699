"""Campaigns as the JSON API shows and takes them."""

from datetime import datetime, time
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from thurn.campaigns.pace import MOST
from thurn.web.schemas import In, Out, ShortText, Text

State = Literal["draft", "launching", "sending", "paused", "cancelled", "sent"]
Address = Annotated[Text, Field(max_length=320)]
SmallId = Annotated[int, Field(ge=1, le=2**31 - 1)]
Tallies = dict[str, int]


class CampaignIn(In):
    """A draft. What is missing for sending is found by `preflight`, not here."""

    name: Annotated[Text, Field(min_length=1, max_length=200, pattern=r"\S", description="Readers don't see it.")]
    from_address: Address = Field(description="The sender, in one of your verified domains.")
    from_name: ShortText = ""
    reply_to: Address = ""
    template_id: SmallId | None = None
    list_ids: list[SmallId] = Field(default_factory=list, max_length=100)


class CampaignList(Out):
    """A list a campaign goes to."""

    id: int
    name: str


class CampaignOut(Out):
    """A campaign."""

    id: int
    name: str
    state: State
    state_reason: str = Field(description="Why it is paused or went back to draft, in words.")
    from_name: str
    from_address: str
    reply_to: str
    template_id: int | None
    recipients: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class CampaignFull(CampaignOut):
    """A campaign with the lists it goes to."""

    lists: list[CampaignList]


class CampaignItem(CampaignOut):
    """A campaign with its numbers: people per measure; a measure that is missing is 0."""

    tallies: Tallies


class Campaigns(Out):
    """A page of campaigns, newest first."""

    items: list[CampaignItem]
    next: str | None


class FindingOut(Out):
    """One thing looked at before sending. `bad`: the campaign is not sent until it is mended."""

    level: Literal["ok", "warn", "bad"]
    what: str
    why: str
    fix: str


class Preflight(Out):
    """Everything looked at, worst first."""

    ready: bool
    findings: list[FindingOut]


class ProgressOut(Out):
    """How far a campaign is, in people. `waiting` have not been handed over; `deferred` are being retried."""

    state: State
    state_reason: str
    recipients: int
    waiting: int
    rate_per_minute: float
    seconds_left: float | None = Field(description="null: cannot be told.")
    tallies: Tallies
    by_provider: dict[str, Tallies]


class LinkOut(Out):
    """A link of the mail and how often it was opened."""

    number: int
    url: str
    human: int = Field(description="Hits by people.")
    machine: int = Field(description="Hits by scanners and other machines, not counted as clicks.")


class ReasonOut(Out):
    """Why mails were put off or refused, with a server's reply as it came."""

    category: str
    state: str
    people: int
    reply: str


class ReportOut(Out):
    """What came of a campaign. Opens are an estimate; machines are kept apart."""

    campaign: CampaignFull
    tallies: Tallies
    by_provider: dict[str, Tallies]
    links: list[LinkOut]
    reasons: list[ReasonOut]


class WindowBody(In):
    """Hours of the week. One that ends before it begins goes on after midnight; equal ends mean 24 hours."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    days: list[Annotated[int, Field(ge=1, le=7)]] = Field(
        min_length=1, max_length=7, description="1 is Monday, 7 Sunday."
    )
    opens: time
    closes: time
    zone: Annotated[Text, Field(min_length=1, max_length=60, description="Of the IANA database: `Europe/Berlin`.")]


class PaceBody(In):
    """How fast, when and before whom a campaign sends. null does not limit."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    speed_limit: Annotated[int, Field(ge=1, le=MOST, description="Mails per `speed_unit`.")] | None = None
    speed_unit: Literal["minute", "hour"] = "minute"
    priority: Literal["high", "normal", "low"] = Field(
        default="normal", description="Within the workspace: high has four turns for one of normal, that four of low."
    )
    window: WindowBody | None = Field(default=None, description="When mail may leave; null: always.")
