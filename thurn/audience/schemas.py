"""Contacts, lists and imports as the JSON API shows and takes them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from thurn.audience.barring import Reason
from thurn.audience.columns import LONGEST_VALUE, MOST
from thurn.web.schemas import In, Out, Text

FieldName = Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,60}$")]
FieldValue = Annotated[Text, Field(max_length=LONGEST_VALUE)]
Fields = Annotated[
    dict[FieldName, FieldValue],
    Field(max_length=MOST, description="Personal values for templates, such as first_name."),
]
ListName = Annotated[Text, Field(min_length=1, max_length=200)]
State = Literal["subscribed", "unsubscribed", "suppressed"]
RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
SmallId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ListRef(Out):
    """A list by name."""

    id: int
    name: str


class ContactOut(Out):
    """Somebody who may get mail. `suppressed` says why an address gets none at all."""

    id: int
    email: str
    fields: dict[str, str]
    state: State
    suppressed_for: Reason | None
    suppressed_everywhere: bool = Field(description="Whoever runs the installation has suppressed it for everybody.")
    unsubscribed_at: datetime | None
    created_at: datetime


class ContactFull(ContactOut):
    """A contact with its lists."""

    updated_at: datetime
    lists: list[ListRef]


class Contacts(Out):
    """A page of contacts, newest first. `total` is null when there are more than 10,000."""

    items: list[ContactOut]
    next: str | None
    total: int | None


class ContactIn(In):
    """A contact to add, or to add fields to."""

    email: Annotated[Text, Field(min_length=3, max_length=1000, examples=["theresa@post.example"])]
    fields: Fields = Field(default_factory=dict)
    lists: list[SmallId] = Field(default_factory=list, max_length=100, description="Lists to put the contact on.")


class ContactPatch(In):
    """The fields a contact has from now on."""

    fields: Fields


class ContactEvent(Out):
    """Something that happened with a contact."""

    at: datetime
    kind: str
    actor: str = Field(description="`human` or `machine` for opens and clicks, else empty.")
    campaign_id: int | None
    campaign: str | None
    detail: dict[str, Any]


class ContactEvents(Out):
    """What happened, newest first."""

    items: list[ContactEvent]


class ListIn(In):
    """A list to make, or its new name."""

    name: ListName


class ListOut(Out):
    """A list and how many contacts are on it."""

    id: int
    name: str
    contacts: int
    created_at: datetime


class Lists(Out):
    """All lists by name."""

    items: list[ListOut]


class MembersIn(In):
    """Contacts to put on a list."""

    contacts: Annotated[list[RowId], Field(min_length=1, max_length=1000)]


class Added(Out):
    """How many contacts were not on the list before."""

    added: int


class ImportOut(Out):
    """How far an import is. `rejects` of it are rows that were refused, each with its reason."""

    id: int
    list_id: int | None
    list: str | None
    filename: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    bytes_total: int
    bytes_read: int
    rows_added: int
    rows_updated: int
    rows_refused: int
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class Imports(Out):
    """A page of imports, newest first."""

    items: list[ImportOut]
    next: str | None


class Reject(Out):
    """A row that was refused."""

    row_number: int = Field(description="The line of the file the row starts on, from 1.")
    reason: str
    raw: str = Field(description="The row as it came; bytes that are no UTF-8 as U+FFFD.")


class Rejects(Out):
    """A page of refused rows, in the order of the file."""

    items: list[Reject]
    next: str | None
