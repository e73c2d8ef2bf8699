"""What administrators see and change of a mailbox's portal, as the JSON API shows and takes it."""

from datetime import date, datetime
from typing import Annotated

from pydantic import Field

from thurn.portal import sieve
from thurn.web.schemas import In, Out, Text


class AbsenceIn(In):
    """The absence reply from now on."""

    active: bool
    first_day: date | None = Field(None, description="Null: at once.")
    last_day: date | None = Field(None, description="Null: until it is turned off.")
    subject: Annotated[Text, Field(max_length=200)] = ""
    body: Annotated[Text, Field(max_length=10_000)] = ""
    every_days: Annotated[int, Field(ge=1, le=30, description="The same sender is answered again after so many.")] = 7


class AbsenceOut(Out):
    """The absence reply. `in_force` is false while the mail server has yet to take what was changed."""

    active: bool
    first_day: date | None
    last_day: date | None
    subject: str
    body: str
    every_days: int
    in_force: bool


class RuleIn(In):
    """A sorting rule: mail whose `field` contains the text."""

    field: sieve.Field
    contains: Annotated[Text, Field(min_length=1, max_length=200)]
    action: sieve.Action
    argument: Annotated[Text, Field(max_length=320, description="The folder, or the address to send a copy to.")] = ""
    active: bool = True


class RuleOut(Out):
    """A sorting rule."""

    id: int
    field: sieve.Field
    contains: str
    action: sieve.Action
    argument: str
    active: bool


class Rules(Out):
    """Rules in the order in which they are tried."""

    items: list[RuleOut]
    in_force: bool = Field(description="False while the mail server has yet to take what was changed.")


class SessionOut(Out):
    """A browser that is signed in to the portal."""

    created_at: datetime
    ip: str
    device: str


class Sessions(Out):
    """Who is signed in to the portal as this mailbox, newest first."""

    items: list[SessionOut]


class TwoFactorOut(Out):
    """Whether the portal asks for a code, and how many recovery codes are left."""

    on: bool
    recovery_codes: int
