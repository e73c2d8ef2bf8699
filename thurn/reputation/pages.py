"""The page of reputation, for those who run the installation."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.jobs.app import defer
from thurn.problems import Invalid, NotFound
from thurn.reputation import access, meanings, service
from thurn.reputation.dnsbl import lists
from thurn.reputation.refusals import refusals
from thurn.web.edge import AppSettings, Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/reputation")
Value = Annotated[str, Form(max_length=20_000)]
NAMES = {"google": "Gmail Postmaster Tools", "microsoft": "Outlook.com SNDS"}


@router.get("")
async def look(request: Request, viewer: Operator, db: Db, done: str = "") -> Response:
    """Everything at a glance."""
    return await _page(request, viewer, db, done=done)


@router.post("/look")
async def look_now(viewer: Operator, db: Db) -> Response:
    """Ask the lists now, by a job."""
    await defer(db, "thurn:look_at_block_lists_now")
    return RedirectResponse("/house/reputation?done=looking", 303)


@router.post("/access")
async def put_access(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, provider: Value = "", key: Value = "",
    client_id: Value = "", client_secret: Value = "", refresh_token: Value = "",
) -> Response:  # fmt: skip
    """Keep access to a provider, and ask at once."""
    which = next((each for each in access.PROVIDERS if each == provider), None)
    if which is None:
        raise NotFound("There is no such provider.")
    given = {"key": key, "client_id": client_id, "client_secret": client_secret, "refresh_token": refresh_token}
    try:
        await access.put(db, settings, which, given)
    except Invalid as refused:
        return await _page(request, viewer, db, 422, errors={which: refused.message})
    await defer(db, "thurn:ask_providers_now")
    return RedirectResponse("/house/reputation?done=access", 303)


@router.post("/access/forget")
async def forget_access(viewer: Operator, db: Db, provider: Value = "") -> Response:
    """Destroy access; one that is gone already is no error."""
    which = next((each for each in access.PROVIDERS if each == provider), None)
    try:
        if which is not None:
            await access.forget(db, which)
    except NotFound:
        pass
    return RedirectResponse("/house/reputation", 303)


async def _page(
    request: Request, viewer: Viewer, db: Db, status: int = 200, *, done: str = "", errors: dict[str, str] | None = None
) -> Response:
    found = await service.listings(db)
    listed = [each for each in found if each.word == "Listed"]
    unknown: dict[str, list[Any]] = {}
    for each in found:
        if each.word == "Unknown":
            unknown.setdefault(each.of.key, []).append(each)
    subjects = {each.row["subject"] for each in found}
    says = {"google": meanings.of_google, "microsoft": meanings.of_microsoft}
    figures = {
        name: [{**row, "said": says[name](row["figures"])} for row in await access.newest(db, name)]
        for name in access.PROVIDERS
    }
    return page(
        request, viewer, "reputation/reputation.html", status,
        listed=listed, unknown=list(unknown.values()), clear=sum(each.word == "Not listed" for each in found),
        subjects=len(subjects), asked=len({each.of.key for each in found}), lists=list(lists().values()),
        looked_at=max((each.row["looked_at"] for each in found), default=None),
        refusals=await refusals(db), access=await access.listed(db), figures=figures, names=NAMES,
        done=done if done in ("looking", "access") else "", errors={"google": "", "microsoft": "", **(errors or {})},
    )  # fmt: skip
