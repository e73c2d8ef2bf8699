"""The pages Delivery (how each address stands with each provider) and Rules, for those who run the installation."""

from collections import defaultdict
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.delivery.providers import PROVIDERS
from thurn.feedback.classify import CATEGORIES
from thurn.problems import Conflict, Invalid, NotFound, Problem
from thurn.shaping import guard_pages, service, telling
from thurn.shaping.decide import FOREVER
from thurn.shaping.rules import Action, Rule
from thurn.warmup.service import listed as warmups
from thurn.web.edge import Db, Operator, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/house/delivery")
router.include_router(guard_pages.router)

LENGTHS = {"": "Until I lift it", "15": "15 minutes", "60": "1 hour", "240": "4 hours", "1440": "1 day"}
ACTIONS = {
    "slow": "Go at half the pace",
    "move": "Stop at this address, others go on",
    "suspend": "Stop at every address",
    "give-up": "Give this mail up",
}
OUTCOMES = {"": "Put off or refused", "deferred": "Put off (4xx)", "bounced": "Refused (5xx)"}
_FIELDS = {
    "name": "", "provider": "", "outcome": "", "patterns": "", "unless": "", "category": "", "count": "3",
    "period": "60", "share": "5", "action": "slow", "minutes": "60", "why": "", "todo": "", "link": "", "fits": "",
    "differs": "",
}  # fmt: skip
# Fields of a rule -> fields of the form.
_WHERE = {"any": "patterns", "matches": "fits"}  # an input called `matches` would hide the form's own function

Short = Annotated[str, Form(max_length=100)]
Long = Annotated[str, Form(max_length=4000)]


@router.get("")
async def now(request: Request, viewer: Operator, db: Db) -> Response:
    """How things stand."""
    return await _now(request, viewer, db)


@router.post("/hold")
async def hold(
    request: Request, viewer: Operator, db: Db, egress: Short = "", provider: Short = "", minutes: Short = "",
    reason: Annotated[str, Form(max_length=600)] = "",
) -> Response:  # fmt: skip
    """Send nothing from an address to a provider for a while."""
    length = int(minutes) if minutes in LENGTHS and minutes else None
    try:
        await service.hold(db, egress, provider, minutes=length, reason=reason, who=viewer.email)
    except (Invalid, NotFound) as refused:
        given = {"egress": egress, "provider": provider, "minutes": minutes, "reason": reason}
        return await _now(request, viewer, db, 422, given=given, error=str(refused))
    return RedirectResponse("/house/delivery", 303)


@router.post("/lift")
async def lift(viewer: Operator, db: Db, egress: Short = "", provider: Short = "") -> Response:
    """Send as before; what goes as before already is no error."""
    try:
        await service.lift(db, egress, provider, who=viewer.email)
    except (Conflict, NotFound):
        pass
    return RedirectResponse("/house/delivery", 303)


@router.get("/rules")
async def rules(request: Request, viewer: Operator, db: Db) -> Response:
    """Every rule."""
    return page(
        request, viewer, "shaping/rules.html", listed=await service.listed(db), actions=ACTIONS, outcomes=OUTCOMES
    )


@router.get("/rules/try")
async def try_rules(
    request: Request, viewer: Operator, db: Db, rule: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """What one rule, or all together, would have done within a day."""
    every = [await service.find(db, rule)] if rule else [each.rule for each in await service.listed(db) if each.on]
    return page(
        request, viewer, "shaping/try.html", rule=rule, tried=await service.try_out(db, every), rules=len(every),
        actions=ACTIONS,
    )  # fmt: skip


@router.get("/rules/new")
async def new(request: Request, viewer: Operator) -> Response:
    """An empty form."""
    return _form(request, viewer, dict(_FIELDS))


@router.post("/rules/new")
async def make(
    request: Request, viewer: Operator, db: Db, name: Short = "", provider: Short = "", outcome: Short = "",
    patterns: Long = "", unless: Long = "", category: Short = "", count: Short = "", period: Short = "",
    share: Short = "", action: Short = "", minutes: Short = "", why: Long = "", todo: Long = "", link: Long = "",
    fits: Long = "", differs: Long = "", do: Short = "save",
) -> Response:  # fmt: skip
    """Keep a rule, or try it against the last day first."""
    values = {
        "name": name.strip(), "provider": provider, "outcome": outcome, "patterns": patterns, "unless": unless,
        "category": category, "count": count, "period": period, "share": share, "action": action, "minutes": minutes,
        "why": why.strip(), "todo": todo.strip(), "link": link.strip(), "fits": fits.strip(),
        "differs": differs.strip(),
    }  # fmt: skip
    values = {field: text.replace("\0", "") for field, text in values.items()}  # PostgreSQL stores none
    try:
        rule = _rule(values)
        service.check(rule)
        if do == "try":
            return _form(request, viewer, values, tried=await service.try_out(db, [rule]))
        await service.add_rule(db, rule, who=viewer.email)
    except Invalid as refused:
        return _form(request, viewer, values, 422, errors={_WHERE.get(refused.field, refused.field): refused.message})
    except Conflict as refused:
        return _form(request, viewer, values, 409, errors={"name": str(refused)})
    return RedirectResponse("/house/delivery/rules", 303)


@router.post("/rules/switch")
async def switch(viewer: Operator, db: Db, rule: Short = "", on: Short = "") -> Response:
    """Use a rule, or not."""
    await service.switch(db, rule, on=on == "1")
    return RedirectResponse(f"/house/delivery/rules?{urlencode({'open': rule})}#{rule}", 303)


@router.post("/rules/remove")
async def remove(viewer: Operator, db: Db, rule: Short = "") -> Response:
    """Remove an operator's rule; one that is gone is no error."""
    try:
        await service.remove_rule(db, rule)
    except Problem:
        pass
    return RedirectResponse("/house/delivery/rules", 303)


def _rule(values: dict[str, str]) -> Rule:
    """The rule that a form describes; `Invalid` names the field."""
    link = values["link"]
    if link and not link.startswith("https://"):
        raise Invalid("link", "Give an address that starts with https://.")
    if values["action"] not in ACTIONS:
        raise Invalid("action", "Choose what is to happen.")
    return Rule(
        name=values["name"],
        action=cast("Action", values["action"]),
        matches=values["fits"],
        differs=values["differs"],
        patterns=_lines(values["patterns"]),
        unless=_lines(values["unless"]),
        categories=frozenset(filter(None, [values["category"]])),
        providers=frozenset(filter(None, [values["provider"]])),
        outcome=values["outcome"],
        count=_number(values, "count", 10_000),
        period=_number(values, "period", 1440),
        share=_number(values, "share", 100) / 100,
        minutes=_number(values, "minutes", 43_200),
        why=values["why"],
        todo=values["todo"],
        link=link,
        own=True,
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _number(values: dict[str, str], field: str, most: int) -> int:
    text = values[field].strip()
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) > most:
        raise Invalid(field, f"Give a whole number up to {most:,}.")
    return int(text)


def _providers(*, every: bool) -> list[tuple[str, str]]:
    found = [(name, telling.title(name)) for name in PROVIDERS if name != "local"]
    return [("", "Every provider"), *found] if every else found


def _form(
    request: Request, viewer: Viewer, values: dict[str, str], status: Literal[200, 409, 422] = 200, **more: Any
) -> Response:
    return page(
        request, viewer, "shaping/rule.html", status, values=values, actions=list(ACTIONS.items()),
        outcomes=list(OUTCOMES.items()), providers=_providers(every=True),
        categories=[(name, name) for name in sorted(CATEGORIES)],
        names=ACTIONS, **{"tried": None, **more, "errors": defaultdict(str, more.get("errors", {}))},
    )  # fmt: skip


async def _now(
    request: Request,
    viewer: Viewer,
    db: Connection,
    status: int = 200,
    given: dict[str, str] | None = None,
    error: str = "",
) -> Response:
    lanes = await service.lanes(db)
    egresses = await rows(db, "SELECT name, bind4::text, bind6::text FROM egress ORDER BY id LIMIT 100")
    providers = list(dict.fromkeys(lane.provider for lane in lanes))
    return page(
        request,
        viewer,
        "shaping/now.html",
        status,
        block="now",
        held=[lane for lane in lanes if lane.state.mode != "normal"],
        matrix={(lane.provider, lane.egress): lane for lane in lanes},
        warming={(row["provider"], row["egress"]): row for row in await warmups(db) if row["left"] is not None},
        providers=providers,
        egresses=egresses,
        deeds=await service.deeds(db, limit=15),
        choices={"egress": [(e["name"], e["name"]) for e in egresses], "provider": _providers(every=False)},
        lengths=list(LENGTHS.items()),
        actions={**ACTIONS, "hold": "Held by hand", "lift": "Lifted by hand"},
        forever=FOREVER,
        title=telling.title,
        given=given or {"egress": "", "provider": "", "minutes": "60", "reason": ""},
        error=error,
    )
