"""Spam as the JSON API shows and takes it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.web.schemas import In, Out, Text

Points = Annotated[int, Field(ge=1, le=1000)]
Hour = Annotated[int, Field(ge=0, le=23)]


class WishIn(In):
    """Own wishes. null: as the domain says, or Thurn where it says nothing. 1000 points: never."""

    junk_at: Points | None = None
    refuse_at: Points | None = None
    greylist: bool | None = None
    digest: bool | None = None
    digest_hour: Hour | None = None


class EffectiveOut(Out):
    """What is true with the wishes of domain and installation."""

    junk_at: int
    refuse_at: int
    greylist: bool
    digest: bool
    digest_hour: int


class WishOut(Out):
    """Own wishes, and what comes of them."""

    own: WishIn
    effective: EffectiveOut
    outcome: list[str] = Field(description="What would happen, in words.")


class SenderIn(In):
    """Somebody to always or never take mail from."""

    sender: Annotated[Text, Field(min_length=1, max_length=320, examples=["*.shop.example"])]
    verdict: Literal["allow", "block"]


class SenderOut(Out):
    """An entry. `allow` counts only for mail that is proven to be theirs, by DMARC, SPF or DKIM."""

    sender: str
    verdict: str
    created_at: datetime


class Senders(Out):
    """A list, by sender."""

    items: list[SenderOut]


class SymbolOut(Out):
    """What one rule of the filter said."""

    name: str
    score: float
    options: list[str]


class HeldOut(Out):
    """A mail that was refused as spam and is held. `required`: from so many points it was refused."""

    id: int
    at: datetime
    address: str
    mail_from: str
    header_from: str
    subject: str
    score: float
    required: float
    size: int
    reasons: list[str]


class HeldFull(HeldOut):
    """A held mail with its text; files are named, not shown."""

    symbols: list[SymbolOut]
    text: str
    shortened: bool
    files: list[str]


class HeldPage(Out):
    """Held mail, newest first."""

    items: list[HeldOut]
    next: str | None


class Released(Out):
    """Where a mail was put that was let through."""

    address: str
