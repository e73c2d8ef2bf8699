"""JSON API of the queue, for keys of the workspace `main`."""

from datetime import datetime
from typing import Annotated

from fastapi import Response
from pydantic import Field

from thurn.queue import service
from thurn.web.edge import HouseDb
from thurn.web.schemas import HOUSE_ONLY, Id, In, Out, Text, api_router

router = api_router("queue")
router.responses |= HOUSE_ONLY

Provider = Annotated[Text, Field(min_length=1, max_length=20, description="As it is listed; null: all.")]


class WaitingOut(Out):
    """What of a campaign waits for a provider, in our own queue."""

    campaign_id: int
    campaign: str
    workspace_id: int
    workspace: str
    state: str
    priority: str
    provider: str
    waiting: int
    since: datetime | None
    held: bool


class QueueReason(Out):
    """Why mails are retried."""

    category: str
    mails: int
    oldest: datetime | None
    reply: str = Field(description="A server's words, as they came.")


class LaneOut(Out):
    """A sending address at a provider: what Postfix has of it."""

    egress: str
    provider: str
    on_the_way: int = Field(description="Handed to Postfix and not answered yet.")
    retrying: int
    per_minute: int = Field(description="Delivered in the last minute.")
    oldest: datetime | None = Field(description="When the oldest that is retried was handed over.")
    reasons: list[QueueReason]


class HoldOut(Out):
    """Something held back; null means all."""

    id: int
    workspace_id: int | None
    workspace: str | None
    provider: str | None
    reason: str
    since: datetime


class QueueOut(Out):
    """Everything that waits."""

    waiting: list[WaitingOut]
    lanes: list[LaneOut]
    holds: list[HoldOut]


class HoldIn(In):
    """What to hold; null means all."""

    workspace_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    provider: Provider | None = None
    reason: Annotated[Text, Field(max_length=500)] = ""


class RetryIn(In):
    """What to try again now."""

    provider: Provider | None = None


@router.get("/queue")
async def get_queue(db: HouseDb) -> QueueOut:
    """What waits, where and why, over all workspaces."""
    return QueueOut.model_validate(await service.look(db))


@router.post("/queue/holds", status_code=201)
async def hold(db: HouseDb, new: HoldIn) -> HoldOut:
    """Hand over nothing of it, and put aside what Postfix has of it, within seconds."""
    made = await service.hold(db, workspace=new.workspace_id, provider=new.provider, reason=new.reason)
    return next(HoldOut.model_validate(each) for each in await service.holds_of(db) if each.id == made)


@router.delete("/queue/holds/{hold_id}", status_code=204)
async def release(db: HouseDb, hold_id: Id) -> Response:
    """Let it go on."""
    await service.release(db, hold_id)
    return Response(status_code=204)


@router.post("/queue/retry", status_code=202)
async def retry(db: HouseDb, asked: RetryIn) -> RetryIn:
    """Try what providers put off again now, instead of when its time comes. Held mail stays where it is."""
    await service.retry(db, provider=asked.provider)
    return asked
