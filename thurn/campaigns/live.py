"""Pages of a campaign that was launched: progress (live, by server-sent events), report, the mail; pause and cancel."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from psycopg_pool import PoolTimeout

from thurn.campaigns import choices, service
from thurn.campaigns.figures import figures
from thurn.campaigns.pace import of_row
from thurn.campaigns.progress import links, progress, reasons
from thurn.campaigns.why import why
from thurn.content.program import RenderError, TemplateError, preview
from thurn.db.connect import Connection, Row, in_workspace
from thurn.db.fetch import maybe
from thurn.problems import Conflict, NotFound
from thurn.reports.readers import machine_only
from thurn.warmup.outlook import held
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.render import fragment, page

router = APIRouter()

TICK = 1.0  # seconds between looks at the database
HEARTBEAT = 4  # looks without news until the same fragment is sent again, so that the page knows it is live
LIFE = 300  # looks of one stream; the browser connects again and is asked anew who it is

# A mail is foreign markup: no script, no form, nothing but its own styles and pictures, and only inside our own page.
_MAIL_POLICY = (
    "sandbox allow-popups; default-src 'none'; img-src 'self' data: https:; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'"
)


async def find(db: Connection, campaign: int) -> Row:
    """The campaign with its lists; `NotFound` if this workspace has none of that number."""
    row = await service.get(db, campaign) if 0 < campaign < 2**63 else None
    if row is None:
        raise NotFound("There is no such campaign here. It may have been in another workspace.")
    return row


def _there(viewer: Viewer, campaign: int, what: str) -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/campaigns/{campaign}/{what}", 303)


@router.get("/{campaign}")
async def campaign_itself(viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The page that matters now: the check of a draft, the progress of what is sent, the report of what was."""
    row = await find(db, campaign)
    return _there(viewer, campaign, {"draft": "check", "sent": "report"}.get(row["state"], "progress"))


# ---------------------------------------------------------------- progress


async def view(db: Connection, campaign: int) -> dict[str, Any]:
    """What the progress page shows."""
    row = await find(db, campaign)
    state = await progress(db, campaign)
    if state is None:
        raise NotFound("There is no such campaign here.")
    found = await reasons(db, campaign)
    return {
        "campaign": row,
        "progress": state,
        "waits_until": of_row(row).waits_until(datetime.now(UTC)),
        "warming": await held(db, campaign, state),
        "figures": figures(state.recipients, state.tallies),
        "providers": [
            (name, figures(tallies.get("recipients", 0), tallies))
            for name, tallies in sorted(state.by_provider.items(), key=_largest_first)
        ],
        "reasons": [(reason, why(reason.category, reason.state)) for reason in found],
        "only_machines": await machine_only(db, campaign),
    }


def _largest_first(item: tuple[str, dict[str, int]]) -> tuple[bool, int]:
    """All others stand last, whatever their number."""
    provider, tallies = item
    return provider == "other", -tallies.get("recipients", 0)


@router.get("/{campaign}/progress")
async def progress_page(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """How far it is; right without script, live with it."""
    shown = await view(db, campaign)
    if shown["campaign"]["state"] == "draft":
        return _there(viewer, campaign, "check")
    return page(request, viewer, "campaigns/progress.html", **shown)


@router.get("/{campaign}/events")
async def events(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The live part of the progress page as a stream of server-sent events (HTML Living Standard, 9.2)."""
    await find(db, campaign)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(request, viewer, campaign), media_type="text/event-stream", headers=headers)


async def stream(request: Request, viewer: Viewer, campaign: int) -> AsyncGenerator[str, None]:
    """Whole fragments when something has changed, the same again as a sign of life, `done` at the end."""
    sent, quiet = "", 0
    for _ in range(LIFE):
        if getattr(request.app.state, "stopping", False):
            return  # the browser connects again, to whatever comes next
        try:
            async with in_workspace(request.app.state.pool, viewer.workspace_id) as db:
                shown = await view(db, campaign)
        except NotFound:
            return
        except (psycopg.OperationalError, PoolTimeout):
            yield ": the database does not answer\n\n"  # the page says when it was last right
            await asyncio.sleep(TICK)
            continue
        html = fragment(request, viewer, "campaigns/progress.html", "event", **shown)
        quiet += 1
        if html != sent or quiet > HEARTBEAT:
            yield event(html)
            sent, quiet = html, 0
        if shown["progress"].done:
            yield event("over", name="done")
            return
        await asyncio.sleep(TICK)


def event(data: str, name: str = "") -> str:
    """One server-sent event; a line break in the data starts a new data line."""
    lines = [f"event: {name}"] if name else []
    lines += [f"data: {line}" for line in data.splitlines() if line.strip()]
    return "\n".join(lines) + "\n\n"


async def _act(viewer: Viewer, db: Connection, campaign: int, change: Callable[..., Awaitable[None]]) -> Response:
    await find(db, campaign)
    try:
        await change(db, viewer.workspace_id, campaign)
    except service.WrongState as error:
        raise Conflict(str(error)) from error
    return _there(viewer, campaign, "progress")


@router.post("/{campaign}/pause")
async def pause(viewer: SignedIn, db: Db, campaign: int) -> Response:
    """Stop for now."""
    return await _act(viewer, db, campaign, service.pause)


@router.post("/{campaign}/resume")
async def resume(
    viewer: SignedIn, db: Db, campaign: int, despite_guard: Annotated[str, Form(max_length=10)] = ""
) -> Response:
    """Go on; what the guard has paused, only if it was asked and confirmed."""
    return await _act(viewer, db, campaign, partial(service.resume, despite_guard=despite_guard == "1"))


@router.post("/{campaign}/cancel")
async def cancel(viewer: SignedIn, db: Db, campaign: int) -> Response:
    """End it for everybody who has not got it yet."""
    return await _act(viewer, db, campaign, service.cancel)


# ---------------------------------------------------------------- report, mail


@router.get("/{campaign}/report")
async def report(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """What came of it."""
    shown = await view(db, campaign)
    if shown["campaign"]["state"] == "draft":
        return _there(viewer, campaign, "check")
    return page(request, viewer, "campaigns/report.html", links=await links(db, campaign), **shown)


@router.get("/{campaign}/mail")
async def mail_page(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The mail as somebody who gets it sees it."""
    row = await find(db, campaign)
    if row["state"] == "draft":
        return _there(viewer, campaign, "check")
    contact = await choices.sample_contact(db, campaign)
    try:
        subject = preview(row["kind"], row["subject"], row["source"], contact).subject
    except (TemplateError, RenderError):
        subject = row["subject"]  # as it was written; the frame below says what is wrong
    return page(request, viewer, "campaigns/mail.html", campaign=row, contact=contact, subject=subject)


@router.get("/{campaign}/mail/preview")
async def mail_preview(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The mail alone, for the frame of a page."""
    row = await find(db, campaign)
    source: Row | None = row if row["source"] is not None else None
    if source is None:
        source = await maybe(db, "SELECT kind, subject, source FROM template WHERE id = %s", [row["template_id"]])
    if source is None:
        raise NotFound("This campaign has no mail yet. Choose a template.")
    try:
        html = preview(
            source["kind"], source["subject"], source["source"], await choices.sample_contact(db, campaign)
        ).html
    except (TemplateError, RenderError) as error:
        return page(
            request,
            viewer,
            "campaigns/no_preview.html",
            200,
            headers=_frame("default-src 'self'; frame-ancestors 'self'"),
            why=str(error),
        )
    return HTMLResponse(html, headers=_frame(_MAIL_POLICY))


def _frame(policy: str) -> dict[str, str]:
    return {"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "no-referrer"}
