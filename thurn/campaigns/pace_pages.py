"""The page of a campaign's pace: speed limit, hours, priority. In any state."""

from datetime import UTC, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.campaigns import pace
from thurn.campaigns.live import find
from thurn.db.connect import Connection
from thurn.problems import Invalid
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()

Short = Annotated[str, Form(max_length=80)]


@router.get("/{campaign}/pace")
async def look(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The form."""
    found = pace.of_row(await find(db, campaign))
    w = found.window
    return await _page(
        request,
        viewer,
        db,
        campaign,
        speed_limit=found.speed_limit or "",
        speed_unit=found.speed_unit,
        priority=found.priority,
        limited=w is not None,
        days=sorted(w.days) if w else [1, 2, 3, 4, 5],
        opens=f"{w.opens if w else time(9):%H:%M}",
        closes=f"{w.closes if w else time(17):%H:%M}",
        zone=w.zone if w else "Europe/Berlin",
    )


@router.post("/{campaign}/pace")
async def change(
    request: Request,
    viewer: SignedIn,
    db: Db,
    campaign: int,
    speed_limit: Short = "",
    speed_unit: Short = "minute",
    priority: Short = "normal",
    limited: Short = "",
    days: Annotated[list[str] | None, Form()] = None,
    opens: Short = "",
    closes: Short = "",
    zone: Short = "",
) -> Response:
    """Keep what was typed; what is being sent follows within a second."""
    await find(db, campaign)
    chosen = [int(day) for day in days or [] if day in "1234567" and len(day) == 1]
    typed = {
        "speed_limit": speed_limit, "speed_unit": speed_unit, "priority": priority, "limited": bool(limited),
        "days": chosen, "opens": opens, "closes": closes, "zone": zone,
    }  # fmt: skip
    try:
        wanted = pace.Pace(
            pace.limit_of(speed_limit.strip()) if speed_limit.strip() else None,
            "hour" if speed_unit == "hour" else "minute",
            pace.priority_of(priority),
            pace.window(chosen, _hour("opens", opens), _hour("closes", closes), zone.strip()) if limited else None,
        )
        await pace.put(db, campaign, wanted)
    except Invalid as refused:
        return await _page(request, viewer, db, campaign, 422, {refused.field: refused.message}, **typed)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/campaigns/{campaign}", 303)


def _hour(field: str, text: str) -> time:
    try:
        return pace.hour_of(text)
    except Invalid as refused:
        raise Invalid(field, refused.message) from refused


async def _page(
    request: Request,
    viewer: Viewer,
    db: Connection,
    campaign: int,
    status: int = 200,
    errors: dict[str, str] | None = None,
    **values: Any,
) -> Response:
    found = pace.of_row(row := await find(db, campaign))
    return page(
        request, viewer, "campaigns/pace.html", status, campaign=row, values=values, errors=errors or {},
        days=pace.DAYS, words=found.in_words(), opens_at=found.waits_until(datetime.now(UTC)),
    )  # fmt: skip
