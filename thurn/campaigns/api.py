"""JSON API of campaigns."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import Query

from thurn.campaigns import pace, service
from thurn.campaigns import progress as numbers
from thurn.campaigns.schemas import (
    CampaignFull,
    CampaignIn,
    CampaignItem,
    Campaigns,
    FindingOut,
    LinkOut,
    PaceBody,
    Preflight,
    ProgressOut,
    ReasonOut,
    ReportOut,
)
from thurn.db.connect import Connection
from thurn.problems import Conflict, NotFound
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import BigId, Cursor, HttpProblem, Limit, api_router, number_of

router = api_router("campaigns")
_SENDING = ("launching", "sending")


@router.get("/campaigns")
async def list_campaigns(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Campaigns:
    """Campaigns with their numbers, newest first."""
    found = await service.page(db, before=number_of(cursor), limit=limit)
    following = str(found[-1]["id"]) if len(found) == limit else None
    return Campaigns(items=[CampaignItem(**row) for row in found], next=following)


@router.post("/campaigns", status_code=201)
async def create_campaign(db: ApiDb, key: Keyed, new: CampaignIn) -> CampaignFull:
    """Make a draft. Nothing is sent."""
    await _check_references(db, new)
    return await _full(db, await service.create(db, key.workspace_id, **new.model_dump()))


@router.get("/campaigns/{campaign_id}")
async def get_campaign(db: ApiDb, campaign_id: BigId) -> CampaignFull:
    """One campaign."""
    return await _full(db, campaign_id)


@router.put("/campaigns/{campaign_id}")
async def update_campaign(db: ApiDb, key: Keyed, campaign_id: BigId, new: CampaignIn) -> CampaignFull:
    """Replace a draft. Once launched, a campaign does not change any more."""
    await _full(db, campaign_id)
    await _check_references(db, new)
    with _spoken():
        await service.update(db, key.workspace_id, campaign_id, **new.model_dump())
    return await _full(db, campaign_id)


@router.get("/campaigns/{campaign_id}/preflight")
async def preflight_campaign(db: ApiDb, key: Keyed, settings: AppSettings, campaign_id: BigId) -> Preflight:
    """What stands between this draft and sending."""
    with _spoken():
        findings = await service.preflight(db, key.workspace_id, campaign_id, settings)
    ready = all(finding.level != "bad" for finding in findings)
    return Preflight(ready=ready, findings=[FindingOut.model_validate(finding) for finding in findings])


@router.post("/campaigns/{campaign_id}/send", status_code=202)
async def send_campaign(db: ApiDb, key: Keyed, settings: AppSettings, campaign_id: BigId) -> CampaignFull:
    """Start sending. A campaign that cannot be sent is refused with `findings` that say what to mend.

    Sending one that is being sent changes nothing: a request may be repeated.
    """
    if (await _full(db, campaign_id)).state not in _SENDING:
        with _spoken():
            await service.launch(db, key.workspace_id, campaign_id, settings)
    return await _full(db, campaign_id)


@router.post("/campaigns/{campaign_id}/pause")
async def pause_campaign(db: ApiDb, key: Keyed, campaign_id: BigId) -> CampaignFull:
    """Hand over no more mail for now; at once. Doing it again changes nothing."""
    return await _move(db, campaign_id, ("paused",), service.pause(db, key.workspace_id, campaign_id))


@router.post("/campaigns/{campaign_id}/resume")
async def resume_campaign(
    db: ApiDb,
    key: Keyed,
    campaign_id: BigId,
    despite_guard: Annotated[bool, Query(description="Go on although the guard has paused it.")] = False,
) -> CampaignFull:
    """Go on where it stopped. Doing it again changes nothing. What the guard has paused needs `despite_guard`."""
    resumed = service.resume(db, key.workspace_id, campaign_id, despite_guard=despite_guard)
    return await _move(db, campaign_id, _SENDING, resumed)


@router.post("/campaigns/{campaign_id}/cancel")
async def cancel_campaign(db: ApiDb, key: Keyed, campaign_id: BigId) -> CampaignFull:
    """End it for everybody whose mail was not handed over. Doing it again changes nothing; there is no way back."""
    return await _move(db, campaign_id, ("cancelled",), service.cancel(db, key.workspace_id, campaign_id))


@router.get("/campaigns/{campaign_id}/pace")
async def get_pace(db: ApiDb, campaign_id: BigId) -> PaceBody:
    """How fast, when and before whom it sends."""
    with _spoken():
        return PaceBody.model_validate(await pace.get(db, campaign_id))


@router.put("/campaigns/{campaign_id}/pace")
async def set_pace(db: ApiDb, campaign_id: BigId, new: PaceBody) -> PaceBody:
    """Change that, in any state; what is being sent follows within a second."""
    wanted = pace.Pace(new.speed_limit, new.speed_unit, new.priority)
    if new.window is not None:
        wanted = replace(
            wanted, window=pace.window(new.window.days, new.window.opens, new.window.closes, new.window.zone)
        )
    with _spoken():
        await pace.put(db, campaign_id, wanted)
    return await get_pace(db, campaign_id)


@router.get("/campaigns/{campaign_id}/progress")
async def get_progress(db: ApiDb, campaign_id: BigId) -> ProgressOut:
    """How far it is."""
    found = await numbers.progress(db, campaign_id)
    if found is None:
        raise NotFound("There is no such campaign.")
    return ProgressOut.model_validate(found)


@router.get("/campaigns/{campaign_id}/report")
async def get_report(db: ApiDb, campaign_id: BigId) -> ReportOut:
    """What came of it."""
    campaign, found = await _full(db, campaign_id), await numbers.progress(db, campaign_id)
    if found is None:
        raise NotFound("There is no such campaign.")
    return ReportOut(
        campaign=campaign,
        tallies=found.tallies,
        by_provider=found.by_provider,
        links=[LinkOut(**row) for row in await numbers.links(db, campaign_id)],
        reasons=[
            ReasonOut(category=reason.category, state=reason.state, people=reason.n, reply=reason.reply)
            for reason in await numbers.reasons(db, campaign_id)
        ],
    )


async def _full(db: Connection, campaign: int) -> CampaignFull:
    row = await service.get(db, campaign)
    if row is None:
        raise NotFound("There is no such campaign.")
    return CampaignFull(**row)


async def _move(db: Connection, campaign: int, there: tuple[str, ...], move: Awaitable[None]) -> CampaignFull:
    """Make the move unless the campaign is `there` already."""
    try:
        with _spoken():
            await move
    except Conflict:
        if (await _full(db, campaign)).state not in there:
            raise
    return await _full(db, campaign)


async def _check_references(db: Connection, new: CampaignIn) -> None:
    """What another workspace has, or nobody, cannot be referred to."""
    problems = []
    found = await db.execute("SELECT id FROM list WHERE id = ANY(%s)", [new.list_ids])
    missing = set(new.list_ids) - {row["id"] for row in await found.fetchall()}
    if missing:
        problems.append({"field": "list_ids", "message": f"There is no list {min(missing)}."})
    template = await db.execute("SELECT id FROM template WHERE id = %s", [new.template_id])
    if new.template_id is not None and await template.fetchone() is None:
        problems.append({"field": "template_id", "message": f"There is no template {new.template_id}."})
    if problems:
        raise HttpProblem(422, "Some values cannot be taken.", errors=problems)


@contextmanager
def _spoken() -> Iterator[None]:
    """What the service says no with, as problems of the API."""
    try:
        yield
    except service.Refused as refused:
        findings: list[dict[str, Any]] = [asdict(finding) for finding in refused.findings]
        raise HttpProblem(422, f"The campaign is not sent. {refused}", findings=findings) from refused
    except service.WrongState as state:
        raise Conflict(str(state)) from state
    except LookupError as missing:
        raise NotFound("There is no such campaign.") from missing
