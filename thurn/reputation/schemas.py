"""Reputation as the JSON API shows and takes it."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from thurn.web.schemas import In, Out, Text

Secret = Annotated[Text, Field(max_length=20_000)]


class ListingOut(Out):
    """What one block list says about an address or a domain of ours."""

    subject: str
    key: str = Field(description="The list's name in lists.toml.")
    name: str
    listed: bool = Field(description="Also while the list cannot be asked: nothing was cleared.")
    state: str = Field(description="clear, listed or unknown: the last answer.")
    codes: list[str]
    why: str = Field(description="What the answer means, or why nothing can be told.")
    listed_at: datetime | None
    cleared_at: datetime | None
    times: int
    looked_at: datetime
    delist: str = Field(description="Where its removal is asked for.")
    do: str


class RefusalOut(Out):
    """Refusals of one kind by one provider in the last 24 hours."""

    provider: str
    category: str
    n: int
    of: int = Field(description="Mails it answered at all.")
    put_off: int
    egresses: list[str]
    reply: str
    last: datetime
    what: str
    do: str
    form: str = Field(description="The provider's page for senders; empty where none is known.")


class FigureOut(Out):
    """What a provider says about a domain (Google) or an address (Microsoft) on its newest day."""

    provider: str
    subject: str
    day: date
    figures: dict[str, Any]
    level: str
    means: str


class AccessOut(Out):
    """Whether Thurn may ask a provider, and how the last question went."""

    provider: str
    updated_at: datetime
    asked_at: datetime | None
    trouble: str


class ReputationOut(Out):
    """The reputation of this server."""

    listings: list[ListingOut]
    refusals: list[RefusalOut]
    figures: list[FigureOut]
    access: list[AccessOut]


class AccessIn(In):
    """Access to a provider, kept sealed and never shown again.

    Google: `key` is a service account's JSON key; or give the other three, of a user. Microsoft: `key` is the link of
    SNDS' automated data access.
    """

    provider: Literal["google", "microsoft"]
    key: Secret = ""
    client_id: Secret = ""
    client_secret: Secret = ""
    refresh_token: Secret = ""
