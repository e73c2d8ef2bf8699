"""Pages of the message trace: search, a mail and its route, a campaign's mail and its route."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from thurn.audience.people import by_day
from thurn.trace import search
from thurn.trace.route import CAMPAIGN_WORDS, WORDS, reason, route, state_of
from thurn.web.edge import Db, SignedIn
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/trace")
LIMIT = 25
SINCE = {"hour": ("Last hour", 1), "day": ("Last 24 hours", 24), "week": ("Last 7 days", 168)}


@router.get("")
async def find(
    request: Request,
    viewer: SignedIn,
    db: Db,
    q: Annotated[str, Query(max_length=400)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    since: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """The search; without words the newest mails."""
    q = "".join(filter(str.isprintable, q)).strip()
    state = state if state in WORDS else ""
    hours = SINCE.get(since, ("", 0))[1]
    wanted = search.Wanted(q, state, since=datetime.now(UTC) - timedelta(hours=hours) if hours else None)
    found = await search.find(db, wanted, after=search.Place.of(after), limit=LIMIT + 1)
    shown = found[:LIMIT]
    here = request.url.replace(scheme="", netloc="").remove_query_params("after")
    return page(
        request,
        viewer,
        "trace/search.html",
        block="rows",
        traces=shown,
        campaigns=await search.campaign_mails(db, q) if after is None and not state and not hours else [],
        words=WORDS,
        campaign_words=CAMPAIGN_WORDS,
        reason=reason,
        q=q,
        state_wanted=state,
        since=since,
        states=list(WORDS.items()),
        windows=[(key, text) for key, (text, _) in SINCE.items()],
        filtered=bool(q or state or hours),
        newest=str(here) if after else "",
        older=str(here.include_query_params(after=search.place_of(shown))) if len(found) > LIMIT else "",
    )


@router.get("/{trace_id}")
async def one(request: Request, viewer: SignedIn, db: Db, trace_id: int) -> Response:
    """One mail."""
    mail = await search.message(db, trace_id if 0 < trace_id < 2**63 else 0)
    return page(request, viewer, "trace/mail.html", mail=mail, stops=route(mail), word=state_of(mail), words=WORDS)


@router.get("/campaigns/{campaign_id}/{delivery_id}")
async def campaign_mail(request: Request, viewer: SignedIn, db: Db, campaign_id: int, delivery_id: int) -> Response:
    """One mail of a campaign."""
    known = 0 < campaign_id < 2**63 and 0 < delivery_id < 2**63
    mail = await search.campaign_mail(db, campaign_id if known else 0, delivery_id if known else 0)
    events = [event | {"campaign": mail["campaign"], "campaign_id": mail["campaign_id"]} for event in mail["events"]]
    word = CAMPAIGN_WORDS.get(mail["state"], "Unknown")
    return page(request, viewer, "trace/campaign_mail.html", mail=mail, days=by_day(events), word=word)
