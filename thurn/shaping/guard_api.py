"""JSON API of the guard over campaigns, for keys of the workspace `main`: limits of each workspace."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field

from thurn.campaigns import guard
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.problems import NotFound
from thurn.web.edge import HouseDb
from thurn.web.schemas import HOUSE_ONLY, In, Out, Text, api_router

router = api_router("shaping")
router.responses |= HOUSE_ONLY

Share = Annotated[float, Field(ge=0.0001, le=1, description="0.05 is 5%.")]
Slug = Annotated[Text, Path(min_length=1, max_length=63, description="Of the workspace.")]


class LimitsIn(In):
    """From which shares on a workspace is warned and its campaigns are paused."""

    enabled: bool = True
    bounce_warn: Share = 0.02
    bounce_pause: Share = 0.05
    complaint_warn: Share = 0.001
    complaint_pause: Share = 0.003
    least_mails: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    least_complaints: Annotated[int, Field(ge=1, le=1000)] = 3


class LimitsOut(Out):
    """A workspace's limits, and whether all of it stands still."""

    workspace: str
    enabled: bool
    bounce_warn: float
    bounce_pause: float
    complaint_warn: float
    complaint_pause: float
    least_mails: int
    least_complaints: int
    paused_at: datetime | None
    paused_why: str


class LimitsList(Out):
    """Every workspace."""

    items: list[LimitsOut]


@router.get("/sending-guard")
async def list_sending_guards(db: HouseDb) -> LimitsList:
    """From which shares on each workspace is warned and paused."""
    return LimitsList(items=[_out(*each) for each in await guard.listed(db)])


@router.put("/sending-guard/{workspace_slug}")
async def set_sending_guard(db: HouseDb, workspace_slug: Slug, wanted: LimitsIn) -> LimitsOut:
    """Change a workspace's limits."""
    workspace = await find(db, workspace_slug)
    await guard.set_limits(db, workspace["id"], guard.Limits(**wanted.model_dump()))
    return _out(workspace, *await guard.limits_of(db, workspace["id"]))


@router.post("/sending-guard/{workspace_slug}/lift", status_code=204)
async def lift_sending_guard(db: HouseDb, workspace_slug: Slug) -> None:
    """Let a workspace that was paused send again. Its campaigns stay paused until somebody resumes each."""
    await guard.lift(db, (await find(db, workspace_slug))["id"])


async def find(db: Connection, slug: str) -> Row:
    """The workspace of that slug; `NotFound`."""
    row = await maybe(db, "SELECT id, slug, name FROM workspace WHERE slug = %s", [slug])
    if row is None:
        raise NotFound(f"There is no workspace “{slug}”.")
    return row


def _out(workspace: Row, limits: guard.Limits, state: Row) -> LimitsOut:
    shown = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(limits).items()}
    return LimitsOut(workspace=workspace["slug"], **shown, paused_at=state["paused_at"], paused_why=state["paused_why"])
