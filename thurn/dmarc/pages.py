"""Tabs of a domain: who sends in its name (DMARC), and whether others reach it encrypted (TLS)."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from thurn.db.connect import Row
from thurn.dmarc import countries, service
from thurn.dmarc.service import DAYS
from thurn.dns.facts import facts
from thurn.dns.records import Record, records
from thurn.feedback.archive import PACKED
from thurn.feedback.reports import Stored, upload
from thurn.mailhost import domain_settings
from thurn.mailhost.names import readable
from thurn.mailhost.service import get_domain
from thurn.problems import Invalid, NotFound
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/domains/{name}")

LIMIT = 25
FILES = 50  # at once
SOURCES = 100  # that are listed
Before = Annotated[int | None, Query(ge=1, le=2**62)]
Name = Annotated[str, Path(max_length=320)]
Key = Annotated[str, Form(max_length=300)]
Files = Annotated[list[UploadFile | str] | None, File()]
VERDICTS: dict[str, service.Verdict] = {"ours": "ours", "foreign": "foreign", "unknown": ""}


def record_of(domain: Row, settings: Settings, kind: str, **changes: object) -> Record | None:
    """The record of a kind that the domain should have, with `changes` made to it."""
    return next((each for each in records(facts({**domain, **changes}, settings)) if each.kind == kind), None)


@router.get("/dmarc")
async def dmarc(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: Name, done: str = ""
) -> Response:
    """Who sends as the domain, and what may be done about it."""
    return await _dmarc(request, viewer, db, settings, await get_domain(db, name), done=done)


async def _dmarc(
    request: Request,
    viewer: Viewer,
    db: Db,
    settings: Settings,
    domain: Row,
    *,
    status: int = 200,
    done: str = "",
    stored: list[Stored] | None = None,
    error: str = "",
) -> Response:
    found = await service.overview(db, domain["id"])
    return page(
        request,
        viewer,
        "dmarc/dmarc.html",
        status,
        domain=domain,
        readable=readable(domain["name"]),
        found=found,
        sources=found.sources[:SOURCES],
        more=len(found.sources) - SOURCES,
        record=record_of(domain, settings, "dmarc", dmarc_policy=found.advice.next or domain["dmarc_policy"]),
        days=DAYS,
        done=done if done in ("decided", "policy") else "",
        stored=stored,
        error=error,
    )


@router.get("/dmarc/source")
async def source(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    name: Name,
    key: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """One sender: its servers, and what receivers found in its mail."""
    domain = await get_domain(db, name)
    found = next((each for each in await service.sources_of(db, domain["id"]) if each.key == key), None)
    if found is None:
        raise NotFound(f"No mail from this sender was reported in the last {DAYS} days.")
    countries.fill(settings, found)
    return page(
        request,
        viewer,
        "dmarc/source.html",
        domain=domain,
        readable=readable(domain["name"]),
        source=found,
        results=await service.results(db, domain["id"], [address.ip for address in found.addresses]),
        countries=countries.configured(settings),
        days=DAYS,
    )


@router.post("/dmarc/source")
async def decide(viewer: SignedIn, db: Db, name: Name, key: Key = "", verdict: Key = "unknown") -> Response:
    """Say whose a sender is."""
    domain = await get_domain(db, name)
    try:
        await service.decide(db, domain, source=key, verdict=VERDICTS.get(verdict, ""))
    except Invalid as refused:
        raise NotFound(str(refused)) from refused
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{domain['name']}/dmarc?done=decided", 303)


@router.post("/dmarc/policy")
async def move(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: Name, policy: Key = ""
) -> Response:
    """Move to the policy that is advised; 409 when it is no more."""
    domain = await get_domain(db, name)
    found = await service.overview(db, domain["id"])
    if not policy or policy != found.advice.next:
        error = "The figures are others by now, and this policy is not advised any more. Look at them again."
        return await _dmarc(request, viewer, db, settings, domain, status=409, error=error)
    await domain_settings.change(db, domain["name"], dmarc_policy=policy)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{domain['name']}/dmarc?done=policy", 303)


@router.post("/dmarc/upload")
async def take(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: Name, files: Files = None
) -> Response:
    """Store reports that were received elsewhere."""
    domain = await get_domain(db, name)
    given = [file for file in files or [] if not isinstance(file, str) and file.filename]
    error = ""
    if not given:
        error = "Choose at least one file first."
    elif len(given) > FILES:
        error = f"These are {len(given)} files; {FILES} can be taken at once. `thurn reports read --store` takes more."
    if error:
        return await _dmarc(request, viewer, db, settings, domain, status=422, error=error)
    stored: list[Stored] = []
    for file in given:
        found = await upload(db, await file.read(PACKED + 1), name=str(file.filename)[:100])
        stored += [Stored(str(file.filename)[:100], each.summary, each.new, each.counted) for each in found]
    status = 200 if any(each.new or each.counted for each in stored) else 422
    return await _dmarc(request, viewer, db, settings, domain, status=status, stored=stored)


@router.get("/dmarc/reports")
async def reports(request: Request, viewer: SignedIn, db: Db, name: Name, before: Before = None) -> Response:
    """Every report, newest first, with those that do not count."""
    domain = await get_domain(db, name)
    found = await service.reports(db, domain["id"], before=before, limit=LIMIT + 1)
    at = f"/w/{viewer.workspace_slug}/domains/{domain['name']}/dmarc/reports"
    return page(
        request,
        viewer,
        "dmarc/reports.html",
        domain=domain,
        readable=readable(domain["name"]),
        found=found[:LIMIT],
        failures=[] if before else await service.failures(db, domain["id"]),
        older=f"{at}?before={found[LIMIT - 1]['id']}" if len(found) > LIMIT else "",
        newer=at if before else "",
    )


@router.get("/tls")
async def tls(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: Name) -> Response:
    """Whether others reach the domain encrypted."""
    domain = await get_domain(db, name)
    return page(
        request,
        viewer,
        "dmarc/tls.html",
        domain=domain,
        readable=readable(domain["name"]),
        found=await service.tls(db, domain["id"]),
        record=record_of(domain, settings, "tls-rpt", tls_reports=True),
        days=DAYS,
    )
