"""Pages of reports: the home of a workspace."""

from fastapi import APIRouter, Request, Response

from thurn.reports import home
from thurn.web.edge import Db, SignedIn
from thurn.web.render import page

router = APIRouter()


@router.get("/w/{workspace}")
async def home_page(request: Request, viewer: SignedIn, db: Db) -> Response:
    """The set-up route until a campaign was sent; then what needs a person, what is being sent, and how it went."""
    setup = await home.setup(db)
    if not setup.complete:
        return page(request, viewer, "reports/setup.html", setup=setup)
    return page(
        request,
        viewer,
        "reports/home.html",
        setup=setup,
        needs=await home.needs(db),
        sending=await home.sending(db),
        month=await home.month(db),
        before=await home.month(db, back=30),
        recent=await home.recent(db),
    )
