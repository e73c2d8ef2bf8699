"""Pages of domains: the table, adding one, and what DNS holds and should hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from thurn.db.connect import Row
from thurn.dns.check import check_domain
from thurn.dns.facts import facts
from thurn.dns.records import THEMES, Record, records, zone_file
from thurn.dns.verdicts import Answers, Check, judge
from thurn.mailhost import domain_more_pages, publish_pages, service
from thurn.mailhost.names import readable, typed
from thurn.mailhost.removed import DAYS
from thurn.problems import Conflict, Invalid
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import is_fragment, page
from thurn.web.words import count

router = APIRouter()
router.include_router(domain_more_pages.router)
router.include_router(publish_pages.router)
LIMIT = 50


@dataclass(frozen=True, slots=True)
class Overview:
    """What a domain's checks come to: a word of the vocabulary, and a sentence with its consequence."""

    word: str
    level: Literal["ok", "warn", "bad", ""]
    facts: str
    so: str


def overview(domain: Row, checks: list[Check]) -> Overview:
    """The verdict on a domain as a whole. `checks` is empty before the first look."""
    needed = [check for check in checks if check.record.required]
    broken = sum(check.level == "bad" and bool(check.found) for check in needed)
    missing = sum(check.level == "bad" and not check.found for check in needed)
    unknown = sum(check.level == "unknown" for check in needed)
    if not checks:
        return Overview(
            "Unknown", "", "Not checked yet", "Publish these records where the domain’s DNS is kept, then check."
        )
    if broken or missing:
        parts = [f"{broken} broken"] * bool(broken) + [f"{missing} missing"] * bool(missing)
        so = "Campaigns cannot be sent from here until these records are right."
        return Overview("Broken" if broken else "Missing", "bad" if broken else "warn", ", ".join(parts), so)
    if unknown:
        so = "DNS did not answer. Nothing changes until it does; Thurn asks again by itself."
        return Overview("Unknown", "warn", f"{count(unknown, 'record', 'records')} cannot be told", so)
    return Overview("Correct", "ok", "Everything campaigns need is in place", "Campaigns can be sent from here.")


@router.get("")
async def domains(
    request: Request, viewer: SignedIn, db: Db, after: Annotated[str, Query(max_length=255)] = ""
) -> Response:
    """The table, by name."""
    found = await service.domain_page(db, after=after if after.isprintable() else "", limit=LIMIT + 1)
    rows = [{**row, "readable": readable(row["name"]), "overview": overview(row, _kept(row))} for row in found[:LIMIT]]
    return page(
        request,
        viewer,
        "mailhost/domains.html",
        domains=rows,
        first=f"/w/{viewer.workspace_slug}/domains" if after else "",
        older=str(request.url.replace(scheme="", netloc="", query=f"after={rows[-1]['name']}"))
        if found[LIMIT:]
        else "",
    )


@router.get("/new")
async def new(request: Request, viewer: SignedIn) -> Response:
    """The form for a new domain."""
    return page(request, viewer, "mailhost/domain_new.html", name="", error="")


@router.post("/new")
async def add(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: Annotated[str, Form()] = ""
) -> Response:
    """Add a domain and go to its records, or say what is wrong."""
    try:
        domain_id = await service.add_domain(db, viewer.workspace_id, name=name, settings=settings)
    except (Invalid, Conflict) as refused:
        status = 409 if isinstance(refused, Conflict) else 422
        return page(request, viewer, "mailhost/domain_new.html", status, name=name, error=str(refused))
    row = await service.get_domain_by_id(db, domain_id)
    # Not looked up yet: a "not there" would be remembered by resolvers when the records have just been published.
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}", 303)


@router.get("/{name}")
async def domain(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """One domain: every record, now against expected, with the fix."""
    return _domain(request, viewer, await service.get_domain(db, name), settings)


@router.post("/{name}/check")
async def check_now(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """Look at DNS now; to htmx the verdicts, to a plain form the page again."""
    row = await service.get_domain(db, name)
    await check_domain(db, row["id"], settings)
    if not is_fragment(request):
        return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}", 303)
    return _domain(request, viewer, await service.get_domain(db, name), settings)


@router.get("/{name}/zone")
async def zone(viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """The records as a zone file to import."""
    of = facts(await service.get_domain(db, name), settings)
    headers = {"Content-Disposition": f'attachment; filename="{of.name}.zone"'}  # an A-label: nothing to escape
    return PlainTextResponse(zone_file(of, records(of)), headers=headers)


@router.post("/{name}/delete")
async def remove(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str,
    destroy: Annotated[str, Form(max_length=320)] = "",
) -> Response:  # fmt: skip
    """Remove a domain; 409 while a campaign is being sent from it. With its name typed, its mail is destroyed now."""
    row = await service.get_domain(db, name)
    try:
        await service.remove_domain(db, row["name"], destroy=typed(destroy, row["name"]))
    except (Conflict, Invalid) as refused:
        return _domain(request, viewer, row, settings, refused=str(refused))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains", 303)


def _domain(request: Request, viewer: Viewer, row: Row, settings: Settings, refused: str = "") -> Response:
    of = facts(row, settings)
    checks = _now(row, records(of))
    context: dict[str, Any] = {
        "domain": row,
        "readable": readable(row["name"]),
        "overview": overview(row, checks),
        "wanted": [] if checks else [record for record in records(of) if record.required],
        "more": [] if checks else by_theme([record for record in records(of) if not record.required]),
        "broken": [c for c in checks if c.level == "bad" and c.found],
        "todo": [c for c in checks if _to_do(c)],
        "advice": by_theme([c for c in checks if c.level == "warn" and not _to_do(c)]),
        "differing": [c for c in checks if c.level == "unknown" and c.found],
        "unknown": [c for c in checks if c.level == "unknown" and not c.found],
        "good": [c for c in checks if c.level == "ok"],
        "refused": refused,
        "kept_days": DAYS,
        "short": lambda name: name.removesuffix(of.name).rstrip(".") or "@",
    }
    return page(request, viewer, "mailhost/domain.html", 409 if refused else 200, block="dns", **context)


def _to_do(check: Check) -> bool:
    """Needed, and not there yet; a key that is to follow counts too."""
    return (check.level == "bad" and not check.found) or (check.level == "warn" and check.record.kind == "dkim-next")


def by_theme(items: Sequence[Record | Check]) -> list[dict[str, Any]]:
    """Optional records in the groups a person thinks in; a group without any is left out."""
    found = []
    for theme, title in THEMES.items():
        these = [item for item in items if (item.record if isinstance(item, Check) else item).theme == theme]
        names = dict.fromkeys((item.record if isinstance(item, Check) else item).purpose for item in these)
        if these:
            found.append({"title": title, "n": len(these), "names": ", ".join(names), "these": these})
    return found


def _now(row: Row, wanted: Sequence[Record]) -> list[Check]:
    """The verdicts kept, held against what is wanted now: settings and keys change between two looks at DNS."""
    kept = _kept(row)
    if not kept:
        return []
    by_key = {(check.record.name, check.record.type): check for check in kept}
    ours = {record.name for record in wanted}
    pointers = [c for c in kept if c.record.kind == "ptr" and c.record.name not in ours]  # of addresses DNS has told
    return [*(_held_against(record, by_key.get((record.name, record.type))) for record in wanted), *pointers]


def _held_against(record: Record, kept: Check | None) -> Check:
    if kept is None:
        fix = f"Add this {record.type} record, then check."
        return Check(record, "warn", f"{record.purpose} was not looked up yet.", fix=fix, publish=record.values)
    if (record.kind, record.values) == (kept.record.kind, kept.record.values) or record.type != "TXT":
        return kept
    if kept.level == "unknown":
        return replace(kept, record=record)
    return judge(record, Answers("found" if kept.found else "nothing", kept.found))


def _kept(row: Row) -> list[Check]:
    return [Check.from_json(stored) for stored in row["checks"]]
