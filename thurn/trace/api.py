"""JSON API of the message trace."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import AwareDatetime, Field

from thurn.trace import search
from thurn.web.edge import ApiDb
from thurn.web.schemas import BigId, Cursor, Limit, Out, Text, api_router, text_of

router = api_router("trace")


class TraceOut(Out):
    """A mail to one recipient."""

    trace_id: int = Field(description="Of the mail: what `/trace/{trace_id}` takes.")
    at: datetime = Field(description="When it came.")
    sender: str = Field(description="Envelope sender; empty for a bounce.")
    recipient: str
    original: str = Field(description="What it was written to, where an alias led elsewhere.")
    state: Literal["delivered", "deferred", "bounced", "refused", "postponed"]
    reply: str = Field(description="The last words of the server, or why there was no conversation.")
    attempts: int
    changed_at: datetime
    message_id: str
    queue_id: str
    subject: str = Field(description="Empty if the spam filter was not asked.")
    size: int | None


class CampaignMailOut(Out):
    """A campaign's mail to the address."""

    campaign_id: int
    delivery_id: int
    campaign: str
    recipient: str
    state: str
    reply: str | None
    at: datetime


class Traces(Out):
    """A page of the trace."""

    items: list[TraceOut]
    campaigns: list[CampaignMailOut] = Field(description="With an address as `query`: the newest of campaigns to it.")
    next: str | None


class StepOut(Out):
    """Something that happened."""

    at: datetime
    what: str
    relay: str
    delay: float | None = Field(description="Seconds since the mail came.")
    reply: str


class RecipientOut(Out):
    """A recipient and every attempt."""

    recipient: str
    original: str
    state: str
    reply: str
    attempts: int
    changed_at: datetime
    steps: list[StepOut]


class VerdictOut(Out):
    """What Rspamd said."""

    action: str
    score: float
    required: float
    subject: str
    spf: str
    dkim: str
    dmarc: str
    arc: str
    symbols: list[dict[str, object]]


class ElsewhereOut(Out):
    """The same mail with another queue id."""

    trace_id: int
    recipient: str
    state: str
    client_name: str = Field(description="“the filters of …” where those of a mailbox sent it on.")


class TracedMail(Out):
    """A mail and its route."""

    id: int
    at: datetime
    queue_id: str
    sender: str
    message_id: str
    size: int | None
    client_ip: str
    client_name: str
    helo: str
    login: str
    recipients: list[RecipientOut]
    steps: list[StepOut] = Field(description="What concerns the whole mail.")
    verdict: VerdictOut | None
    elsewhere: list[ElsewhereOut] = Field(description="Recipients of mails with the same Message-ID.")


class EventOut(Out):
    """Something that happened to a campaign's mail."""

    at: datetime
    kind: str
    actor: str
    detail: dict[str, object]


class TracedCampaignMail(Out):
    """A campaign's mail and its route."""

    campaign_id: int
    delivery_id: int
    campaign: str
    recipient: str
    state: str
    category: str | None
    reply: str | None
    events: list[EventOut]


Words = Annotated[Text, Query(max_length=400, description="An address, `@domain`, a Message-ID or a queue id.")]
State = Annotated[Literal["", "delivered", "deferred", "bounced", "refused", "postponed"], Query()]
Moment = Annotated[AwareDatetime | None, Query(description="With its offset, for example `2026-11-24T08:00:00Z`.")]


@router.get("/trace")
async def search_trace(
    db: ApiDb, query: Words = "", state: State = "", since: Moment = None, until: Moment = None,
    limit: Limit = 25, cursor: Cursor = None,
) -> Traces:  # fmt: skip
    """Mails to and from people here, newest first: a row for each recipient."""
    wanted = search.Wanted(query, state, since, until)
    found = await search.find(db, wanted, after=search.Place.of(text_of(cursor)), limit=limit)
    campaigns = await search.campaign_mails(db, query) if cursor is None else []
    return Traces(
        items=[TraceOut(**row) for row in found],
        campaigns=[CampaignMailOut(delivery_id=row["id"], **row) for row in campaigns],
        next=search.place_of(found) if len(found) == limit else None,
    )


@router.get("/trace/{trace_id}")
async def get_traced_mail(db: ApiDb, trace_id: BigId) -> TracedMail:
    """One mail: how it came, how it was judged, and every attempt for each recipient of this workspace."""
    return TracedMail.model_validate(await search.message(db, trace_id))


@router.get("/trace/campaigns/{campaign_id}/{delivery_id}")
async def get_traced_campaign_mail(db: ApiDb, campaign_id: BigId, delivery_id: BigId) -> TracedCampaignMail:
    """One mail of a campaign and what happened to it."""
    found = await search.campaign_mail(db, campaign_id, delivery_id)
    return TracedCampaignMail(delivery_id=found["id"], **found)
