"""Pages of warm-up, for those who run the installation."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.delivery import pools
from thurn.problems import Conflict, Invalid, NotFound, Problem
from thurn.warmup import outlook, service
from thurn.warmup.chart import chart, days
from thurn.warmup.curve import parse, preset
from thurn.warmup.simulate import together
from thurn.web.edge import Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/delivery/warmup")

Short = Annotated[str, Form(max_length=100)]
Long = Annotated[str, Form(max_length=2000)]
Asked = Annotated[str, Query(max_length=100)]
_HOME = "/house/delivery/warmup"
NEXT = 5  # days to come in the picture: at the end of the curve what was sent would be a line on the ground
ACTS = {"pause": service.pause, "resume": service.resume, "stop": service.stop}
DEEDS = {
    "started": "Started", "grown": "Grown", "repeated": "Same again", "paused": "Paused", "lowered": "Lowered",
    "held": "Held", "resumed": "Went on", "rested": "Begun again", "done": "Warm", "changed": "Changed",
    "stopped": "Stopped",
}  # fmt: skip
WORDS = {"running": "Warming up", "paused": "Paused", "done": "Warm", "off": "Off"}


@router.get("")
async def plans(request: Request, viewer: Operator, db: Db, start: Asked = "") -> Response:
    """Every plan with what is left of today."""
    return await _plans(request, viewer, db, given={"egress": start})


@router.post("/start")
async def begin(
    request: Request, viewer: Operator, db: Db, egress: Short = "", overflow: Short = "pool", curve: Long = ""
) -> Response:
    """Start to warm an address up, at every provider."""
    given = {"egress": egress, "overflow": overflow, "curve": curve}
    try:
        caps = parse(curve) if curve.strip() else None
        await service.start(db, egress, curve=caps, overflow=cast("service.Overflow", overflow), who=viewer.email)
    except (Invalid, Conflict) as refused:
        return await _plans(request, viewer, db, 422, given=given, refused=refused)
    return RedirectResponse(_HOME, 303)


@router.get("/when")
async def when(
    request: Request,
    viewer: Operator,
    db: Db,
    n: Asked = "",
    audience: Asked = "",
    campaign: Asked = "",
    pool: Asked = "",
) -> Response:
    """When will so many have gone out?"""
    given = {"n": n, "audience": audience, "campaign": campaign, "pool": pool}
    answer: dict[str, Any] = {}
    errors: dict[str, str] = {}
    try:
        if chosen := {key: _number(key, text) for key, text in given.items() if key != "pool" and text.strip()}:
            answer = await outlook.ask(
                db, n=chosen.get("n"), list_id=chosen.get("audience"), campaign=chosen.get("campaign"), pool=pool
            )
    except Invalid as refused:
        errors = {{"list_id": "audience"}.get(refused.field, refused.field): str(refused)}
    return page(
        request, viewer, "warmup/when.html", 422 if errors else 200, given=given, errors=errors, answer=answer,
        table=together(answer["found"]) if answer else [],
        pools=[(row["name"], row["name"]) for row in await pools.listed(db)],
        lists=await _pairs(db, "SELECT id, name FROM list ORDER BY name LIMIT 200"),
        campaigns=await _pairs(
            db,
            "SELECT id, name FROM campaign WHERE state NOT IN ('sent', 'cancelled') ORDER BY id DESC LIMIT 100",
        ),
    )  # fmt: skip


@router.post("/{egress}/{act}")
async def act_on_all(request: Request, viewer: Operator, db: Db, egress: str, act: str) -> Response:
    """Pause, go on or stop at every provider."""
    if act not in ACTS:
        raise NotFound("Nothing of that name can be done.")
    try:
        await service.of_all(db, egress, ACTS[act], who=viewer.email)
    except Conflict:
        pass  # it is so already
    return RedirectResponse(_HOME, 303)


@router.get("/{egress}/{provider}")
async def plan(request: Request, viewer: Operator, db: Db, egress: str, provider: str) -> Response:
    """One plan: how it went, what comes, what can be changed."""
    return await _plan(request, viewer, db, egress, provider)


@router.post("/{egress}/{provider}/change")
async def change(
    request: Request, viewer: Operator, db: Db, egress: str, provider: str, curve: Long = "", step: Short = "",
    overflow: Short = "pool",
) -> Response:  # fmt: skip
    """Another curve, another day of it, another way for what is above the cap."""
    given = {"curve": curve, "step": step, "overflow": overflow}
    try:
        await service.change(
            db, egress, provider, curve=parse(curve), step=_number("step", step) if step.strip() else None,
            overflow=cast("service.Overflow", overflow), who=viewer.email,
        )  # fmt: skip
    except (Invalid, Conflict) as refused:
        return await _plan(request, viewer, db, egress, provider, 422, given=given, refused=refused)
    return RedirectResponse(f"{_HOME}/{egress}/{provider}", 303)


@router.post("/{egress}/{provider}/{act}")
async def act_on(request: Request, viewer: Operator, db: Db, egress: str, provider: str, act: str) -> Response:
    """Pause, go on or stop."""
    if act not in ACTS:
        raise NotFound("Nothing of that name can be done.")
    try:
        await ACTS[act](db, egress, provider, who=viewer.email)
    except Conflict as refused:
        return await _plan(request, viewer, db, egress, provider, 409, refused=refused)
    return RedirectResponse(f"{_HOME}/{egress}/{provider}", 303)


def _number(field: str, text: str) -> int:
    plain = text.strip().replace(",", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) < 10):
        raise Invalid(field, "Enter a whole number.")
    return int(plain)


async def _pairs(db: Connection, query: Any) -> list[tuple[int, str]]:
    return [(row["id"], row["name"]) for row in await rows(db, query)]


async def _plans(
    request: Request, viewer: Viewer, db: Connection, status: int = 200, *, given: dict[str, str],
    refused: Problem | None = None,
) -> Response:  # fmt: skip
    found: dict[str, list[Any]] = {}
    for row in await service.listed(db):
        found.setdefault(row["egress"], []).append(row)
    return page(
        request, viewer, "warmup/plans.html", status, plans=found, candidates=await service.candidates(db),
        given={"egress": "", "overflow": "pool", "curve": ""} | given, words=WORDS,
        overflows=list(service.OVERFLOWS.items()), suggested=preset("default"), small=preset("other"),
        errors=_errors(refused),
    )  # fmt: skip


def _errors(refused: Problem | None) -> dict[str, str]:
    return {} if refused is None else {refused.field if isinstance(refused, Invalid) else "": str(refused)}


async def _plan(
    request: Request, viewer: Viewer, db: Connection, egress: str, provider: str, status: int = 200, *,
    given: dict[str, str] | None = None, refused: Problem | None = None,
) -> Response:  # fmt: skip
    row = await service.get(db, egress, provider)
    history = await service.history(db, row)
    capped = row["left"] is not None
    past = [(day["cap"] or 0, day["sent"]) for day in reversed(history)]
    columns = days(past, row["curve"][row["step"] :][:NEXT] if capped else [], today=capped)
    sent = sum(day["sent"] for day in history)
    label = f"{sent:,} mails on {len(history)} days" + (f"; at most {row['cap']:,} a day now" if capped else "")
    kept = {"curve": ", ".join(map(str, row["curve"])), "step": str(row["step"]), "overflow": row["overflow"]}
    return page(
        request, viewer, "warmup/plan.html", status, plan=row, word=WORDS[row["state"]], history=history,
        picture=chart(columns, label=label),
        deeds=await service.deeds(db, row), names=DEEDS, given=kept | (given or {}),
        overflows=list(service.OVERFLOWS.items()), errors=_errors(refused),
    )  # fmt: skip
