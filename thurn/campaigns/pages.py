"""Pages of campaigns: the list, a draft, its check, and sending it. What happens after that is in live.py."""

from collections import defaultdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from thurn.campaigns import choices, listing, live, pace, pace_pages, service
from thurn.campaigns.figures import figures
from thurn.campaigns.live import find
from thurn.db.connect import Connection, Row
from thurn.problems import Conflict
from thurn.warmup.outlook import beforehand
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import fragment, page

router = APIRouter(prefix="/w/{workspace}/campaigns")

LIMIT = 25
_LONGEST = 200


@router.get("")
async def campaigns(
    request: Request,
    viewer: SignedIn,
    db: Db,
    tab: Annotated[str, Query(alias="state", max_length=20)] = "",
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """The table, newest first."""
    tab = tab if tab in listing.TABS else ""
    rows = await listing.campaign_page(db, tab=tab, before=before, limit=LIMIT + 1)
    more, rows = len(rows) > LIMIT, rows[:LIMIT]
    here = f"/w/{viewer.workspace_slug}/campaigns?" + (f"state={tab}&" if tab else "")
    newer = None
    if before is not None:
        back = await listing.newer(db, tab=tab, before=before, limit=LIMIT)
        newer = here + (f"before={back}" if back else "")
    return page(
        request,
        viewer,
        "campaigns/list.html",
        campaigns=[row | {"figures": figures(row["recipients"], row["tallies"])} for row in rows],
        counts=await listing.counts(db),
        tab=tab,
        newer=newer.rstrip("?&") if newer else "",
        older=f"{here}before={rows[-1]['id']}" if more else "",
    )


# ---------------------------------------------------------------- the form


class Draft:
    """The fields of the form as they came."""

    def __init__(
        self,
        name: Annotated[str, Form()] = "",
        from_name: Annotated[str, Form()] = "",
        from_address: Annotated[str, Form()] = "",
        reply_to: Annotated[str, Form()] = "",
        template_id: Annotated[str, Form()] = "",
        list_ids: Annotated[list[str] | None, Form()] = None,
    ) -> None:
        self.name, self.from_name = name.strip(), from_name.strip()
        self.from_address, self.reply_to = from_address.strip(), reply_to.strip()
        self.template_id = _number(template_id)
        self.list_ids = [number for text in list_ids or [] if (number := _number(text))]

    def errors(self) -> dict[str, str]:
        """Field -> what is wrong with it and what to type."""
        found = {}
        if not self.name:
            found["name"] = "Give the campaign a name."
        elif len(self.name) > _LONGEST:
            found["name"] = f"At most {_LONGEST} characters."
        if len(self.from_name) > _LONGEST:
            found["from_name"] = f"At most {_LONGEST} characters."
        if wrong := _wrong_address(self.from_address):
            found["from_address"] = wrong
        if self.reply_to and (wrong := _wrong_address(self.reply_to)):
            found["reply_to"] = wrong
        return found

    def values(self) -> dict[str, Any]:
        """The arguments of `service.create` and `service.update`."""
        return vars(self)


Filled = Annotated[Draft, Depends()]


def _to(viewer: Viewer, campaign: int, what: str) -> Response:
    return RedirectResponse(f"/w/{viewer.workspace_slug}/campaigns/{campaign}/{what}", 303)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _wrong_address(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not address:
        return "Give an address at one of your domains, such as news@brotzeit.example."
    if not at or not local or any(c.isspace() or not c.isprintable() for c in address):
        return "An address looks like news@brotzeit.example, without spaces."
    if "." not in domain.strip("."):
        return "The part after @ needs a dot, such as brotzeit.example."
    return "At most 254 characters." if len(address) > 254 else ""


@router.get("/new")
async def new(
    request: Request, viewer: SignedIn, db: Db, template: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """An empty form, filled with what is likely; `template` is the one somebody came from."""
    offered = await choices.choices(db)
    wanted = next((row["id"] for row in offered.templates if str(row["id"]) == template), None)
    sender = offered.last_sender or {"from_name": viewer.workspace_name, "from_address": "", "reply_to": ""}
    if not sender["from_address"] and offered.domains:
        sender = {**sender, "from_address": f"news@{offered.domains[0]['name']}"}
    values = {
        **sender,
        "name": "",
        "template_id": wanted or (offered.templates[0]["id"] if offered.templates else None),
        "list_ids": [offered.lists[0]["id"]] if len(offered.lists) == 1 else [],
    }
    return await _form(request, viewer, db, None, values, offered=offered)


@router.post("/new")
async def create(request: Request, viewer: SignedIn, db: Db, draft: Filled) -> Response:
    """Keep a draft and go on to its check."""
    if errors := draft.errors():
        return await _form(request, viewer, db, None, draft.values(), errors=errors)
    campaign = await service.create(db, viewer.workspace_id, **draft.values())
    return _to(viewer, campaign, "check")


@router.get("/reach")
async def count_reach(
    request: Request, viewer: SignedIn, db: Db, list_ids: Annotated[list[str] | None, Query()] = None
) -> Response:
    """The fragment that says how many people a choice of lists reaches."""
    chosen = [number for text in list_ids or [] if (number := _number(text))]
    return HTMLResponse(
        fragment(request, viewer, "campaigns/form.html", "reach", reach=await choices.reach(db, chosen))
    )


@router.get("/{campaign}/edit")
async def edit(request: Request, viewer: SignedIn, db: Db, campaign: int) -> Response:
    """The form of a draft."""
    row = await find(db, campaign)
    if row["state"] != "draft":
        return _to(viewer, campaign, "progress")
    return await _form(request, viewer, db, row, {**row, "list_ids": [each["id"] for each in row["lists"]]})


@router.post("/{campaign}/edit")
async def change(request: Request, viewer: SignedIn, db: Db, campaign: int, draft: Filled) -> Response:
    """Keep the changed draft and go on to its check."""
    row = await find(db, campaign)
    if errors := draft.errors():
        return await _form(request, viewer, db, row, draft.values(), errors=errors)
    try:
        await service.update(db, viewer.workspace_id, campaign, **draft.values())
    except service.WrongState as error:
        raise Conflict(str(error)) from error
    return _to(viewer, campaign, "check")


async def _form(
    request: Request,
    viewer: Viewer,
    db: Connection,
    campaign: Row | None,
    values: dict[str, Any],
    *,
    errors: dict[str, str] | None = None,
    offered: choices.Choices | None = None,
) -> Response:
    offered = offered or await choices.choices(db)
    return page(
        request,
        viewer,
        "campaigns/form.html",
        422 if errors else 200,
        campaign=campaign,
        values=values,
        errors=defaultdict(str, errors or {}),
        offered=offered,
        template_options=[(row["id"], row["name"]) for row in offered.templates],
        reach=await choices.reach(db, values["list_ids"]),
    )


# ---------------------------------------------------------------- check and send


@router.get("/{campaign}/check")
async def check(request: Request, viewer: SignedIn, db: Db, campaign: int, settings: AppSettings) -> Response:
    """Everything that stands between the draft and sending, and the button."""
    row = await find(db, campaign)
    if row["state"] != "draft":
        return _to(viewer, campaign, "progress")
    findings = await service.preflight(db, viewer.workspace_id, campaign, settings)
    return await _check(request, viewer, db, row, findings)


@router.post("/{campaign}/send")
async def send(request: Request, viewer: SignedIn, db: Db, campaign: int, settings: AppSettings) -> Response:
    """Start sending; what forbids it is shown, each with its fix."""
    row = await find(db, campaign)
    try:
        await service.launch(db, viewer.workspace_id, campaign, settings)
    except service.Refused as refused:
        return await _check(request, viewer, db, row, refused.findings, status=422)
    except service.WrongState:
        pass  # somebody was faster: the progress is what there is to see
    return _to(viewer, campaign, "progress")


async def _check(
    request: Request, viewer: Viewer, db: Connection, row: Row, findings: list[service.Finding], status: int = 200
) -> Response:
    by_level = {level: [f for f in findings if f.level == level] for level in ("bad", "warn", "ok")}
    return page(
        request,
        viewer,
        "campaigns/check.html",
        status,
        campaign=row,
        findings=by_level,
        people=await service.audience_size(db, row["id"]),
        refused=status != 200,
        pace=pace.of_row(row).in_words(),
        warming=await beforehand(db, row["id"]),
        fix_link=_fix_link,
    )


# First part of a finding's link -> what its button says.
_FIXES = {
    "edit": "Edit campaign",
    "domains": "Open domain",
    "templates": "Open template",
    "contacts": "Import contacts",
}


def _fix_link(w: str, campaign: int, link: str) -> tuple[str, str]:
    """URL and words of the button that leads to the fix."""
    url = f"{w}/campaigns/{campaign}/edit" if link == "edit" else f"{w}/{link}"
    if link == "domains":  # the one that is meant is not there
        return url, "Open domains"
    return url, _FIXES.get(link.partition("/")[0], "Open")


router.include_router(pace_pages.router)
router.include_router(live.router)  # last: /new is not a number, but it stands first all the same
