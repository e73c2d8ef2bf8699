"""What the JSON API of warm-up takes and gives."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.web.schemas import In, Out, Text

Overflow = Literal["pool", "wait"]
EgressName = Annotated[Text, Field(min_length=1, max_length=20, examples=["out2"])]
Curve = Annotated[
    list[Annotated[int, Field(ge=1, le=10_000_000)]],
    Field(min_length=1, max_length=120, description="Mails on each day; never less than on the day before."),
]
_OVERFLOW = "What is above the cap: `pool`, other addresses and relays of the pool take it; `wait`, no later rank does."


class WarmupIn(In):
    """An address to warm up."""

    egress: EgressName
    providers: Annotated[list[Annotated[Text, Field(max_length=20)]], Field(max_length=50)] | None = Field(
        None, description="Left out: every provider of the book."
    )
    curve: Curve | None = Field(None, description="Left out: what is suggested for each provider.")
    overflow: Overflow = Field("pool", description=_OVERFLOW)


class WarmupPatch(In):
    """What is to change; what is left out stays."""

    curve: Curve | None = None
    step: Annotated[int, Field(ge=1, le=120)] | None = Field(None, description="The day of the curve that counts now.")
    overflow: Overflow | None = Field(None, description=_OVERFLOW)


class WarmupOut(Out):
    """A plan: an address at a provider."""

    egress: str
    provider: str
    state: Literal["running", "paused", "done", "off"] = Field(
        description="`paused`: its cap holds and does not grow. `done` and `off`: no cap."
    )
    curve: list[int]
    step: int = Field(description="The day of the curve that counts, from 1.")
    cap: int = Field(description="Mails a day.")
    sent: int = Field(description="Claimed today (UTC).")
    left: int | None = Field(description="Of today's cap; null: there is none.")
    overflow: Overflow
    by_hand: bool = Field(description="Paused by somebody: does not go on by itself.")
    reason: str
    since: datetime = Field(description="In this state.")
    started_at: datetime


class Warmups(Out):
    """Every plan."""

    items: list[WarmupOut]


class WarmupDay(Out):
    """A day of a plan."""

    day: date
    cap: int | None
    sent: int
    delivered: int
    bounced: int = Field(description="Hard.")
    put_off: int = Field(description="Mails put off for rate or reputation.")
    complained: int


class WarmupDeed(Out):
    """Something that was decided."""

    at: datetime
    day: date
    what: str
    cap: int
    why: str
    who: str = Field(description="Empty: Thurn.")


class WarmupFull(WarmupOut):
    """A plan with its history, the newest first."""

    days: list[WarmupDay]
    deeds: list[WarmupDeed]


class WarmupWhenProvider(Out):
    """When the last one to a provider will have left."""

    provider: str
    recipients: int
    until: datetime | None = Field(description="Null: not within 400 days as things stand.")
    left: int = Field(description="How many would not have left by then.")


class WarmupWhenDay(Out):
    """How many leave on a day (UTC)."""

    day: date
    total: int
    by_provider: dict[str, int]


class WarmupWhen(Out):
    """A forecast: answers stay good, each day is used, nobody else sends."""

    recipients: int
    pool: str
    until: datetime | None
    shares_known: bool = Field(description="False: nothing was sent yet, the shares of providers are assumed.")
    providers: list[WarmupWhenProvider]
    days: list[WarmupWhenDay]
