"""Pages of relays, for those who run the installation."""

from collections import defaultdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.problems import Conflict, Invalid
from thurn.relays import service
from thurn.relays.presets import presets
from thurn.relays.try_now import try_now
from thurn.web.edge import AppSettings, Db, Operator, Viewer, settings_of
from thurn.web.render import page

router = APIRouter(prefix="/house/delivery/relays")

SECURITIES = [
    ("starttls", "STARTTLS, as at port 587"),
    ("tls", "TLS from the start, as at port 465"),
    ("none", "None: only without a password"),
]
Line = Annotated[str, Form(max_length=600)]
Number = Annotated[str, Form(max_length=12)]
_PRESET = Query(max_length=20)


@router.get("")
async def relays(request: Request, viewer: Operator, db: Db, settings: AppSettings) -> Response:
    """What there is, what goes by it and whether it works."""
    return page(
        request, viewer, "relays/list.html", relays=await service.listed(db), presets=presets(),
        by_one=await service.by_one_machine(db, settings),
    )  # fmt: skip


@router.get("/new")
async def new(request: Request, viewer: Operator, db: Db, preset: Annotated[str, _PRESET] = "") -> Response:
    """The form; with a provider chosen it is filled in."""
    chosen = presets().get(preset)
    given = {"use": "fallback"}
    if chosen:
        given |= {
            "host": chosen.host, "port": str(chosen.port), "security": chosen.security, "username": chosen.username
        }  # fmt: skip
    return await _form(request, viewer, db, given, preset=preset if chosen else "")


@router.post("/new")
async def add(
    request: Request, viewer: Operator, db: Db, settings: AppSettings,
    preset: Line = "", host: Line = "", port: Number = "587", security: Line = "starttls", username: Line = "",
    password: Line = "", fingerprint: Line = "", connections: Number = "5", rate_per_minute: Number = "",
    use: Line = "fallback", domain: Line = "",
) -> Response:  # fmt: skip
    """Add it, then try it."""
    given = {
        "host": host, "port": port, "security": security, "username": username, "fingerprint": fingerprint,
        "connections": connections, "rate_per_minute": rate_per_minute, "use": use, "domain": domain,
    }  # fmt: skip
    try:
        relay = _relay(given, preset, password or None)
        chosen = cast("service.Use", use if use in service.USES else "none")
        async with db.transaction():
            number = await service.add(db, relay, settings=settings, use=chosen, domain=domain)
    except (Invalid, Conflict) as refused:
        return await _form(request, viewer, db, given, preset=preset, refused=refused)
    await try_now(request, db, viewer.workspace_id, number)
    return _to(number)


@router.get("/{relay}")
async def one(request: Request, viewer: Operator, db: Db, relay: int) -> Response:
    """A relay: state, what goes by it, its values."""
    return await _page(request, viewer, db, relay)


@router.post("/{relay}")
async def change(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, relay: int,
    preset: Line = "", host: Line = "", port: Number = "587", security: Line = "starttls", username: Line = "",
    password: Line = "", fingerprint: Line = "", connections: Number = "5", rate_per_minute: Number = "",
) -> Response:  # fmt: skip
    """Change it, then try it."""
    given = {
        "host": host, "port": port, "security": security, "username": username, "fingerprint": fingerprint,
        "connections": connections, "rate_per_minute": rate_per_minute,
    }  # fmt: skip
    try:
        await service.change(db, relay, _relay(given, preset, password or None), settings=settings)
    except (Invalid, Conflict) as refused:
        return await _page(request, viewer, db, relay, given=given, refused=refused)
    await try_now(request, db, viewer.workspace_id, relay)
    return _to(relay)


@router.post("/{relay}/try")
async def try_it(request: Request, viewer: Operator, db: Db, relay: int) -> Response:
    """Connect and sign in now."""
    await service.get(db, relay)
    await try_now(request, db, viewer.workspace_id, relay)
    return _to(relay)


@router.post("/{relay}/use")
async def use_it(
    request: Request, viewer: Operator, db: Db, relay: int, use: Line = "none", domain: Line = ""
) -> Response:
    """Say which mail goes by it."""
    chosen = cast("service.Use", use if use in service.USES else "none")
    try:
        async with db.transaction():
            await service.put_to_use(db, relay, use=chosen, domain=domain)
    except Invalid as refused:
        return await _page(request, viewer, db, relay, given={"use": use}, refused=refused)
    return _to(relay)


@router.post("/{relay}/remove")
async def remove(viewer: Operator, db: Db, relay: int) -> Response:
    """Take it away."""
    await service.remove(db, relay)
    return RedirectResponse("/house/delivery/relays", 303)


def _relay(given: dict[str, str], preset: str, password: str | None) -> service.Relay:
    return service.Relay(
        given["host"], _number(given["port"], "port", 0), given["security"], given["username"], password,
        given["fingerprint"], preset, _number(given["connections"], "connections", 5),
        _number(given["rate_per_minute"], "rate_per_minute", None),
    )  # fmt: skip


def _number(text: str, field: str, empty: Any) -> Any:
    plain = text.strip().replace(",", "")
    if not plain:
        return empty
    if not (plain.isascii() and plain.isdigit() and len(plain) < 9):
        raise Invalid(field, "Enter a whole number.")
    return int(plain)


def _to(number: int) -> Response:
    return RedirectResponse(f"/house/delivery/relays/{number}", 303)


def _errors(refused: Exception | None) -> defaultdict[str, str]:
    """By field; by the empty name what is about none of them."""
    found = {}
    if refused is not None:
        found[refused.field if isinstance(refused, Invalid) else ""] = str(refused)
    return defaultdict(str, found)


async def _domains(db: Connection) -> list[tuple[str, str]]:
    return [(row["name"], row["name"]) for row in await rows(db, "SELECT name FROM domain ORDER BY name LIMIT 500")]


async def _form(
    request: Request, viewer: Viewer, db: Connection, given: dict[str, str], *, preset: str,
    refused: Exception | None = None,
) -> Response:  # fmt: skip
    return page(
        request, viewer, "relays/new.html", 422 if refused else 200, presets=presets(), preset=preset,
        given=defaultdict(str, given),
        errors=_errors(refused), securities=SECURITIES, uses=list(service.USES.items()),
        domain_pairs=await _domains(db), by_one=await service.by_one_machine(db, settings_of(request)),
    )  # fmt: skip


async def _page(
    request: Request, viewer: Viewer, db: Connection, number: int, *, given: dict[str, str] | None = None,
    refused: Exception | None = None,
) -> Response:  # fmt: skip
    relay = next((each for each in await service.listed(db) if each["id"] == number), None)
    if relay is None:
        await service.get(db, number)  # says that there is none
        relay = {}
    kept = {key: "" if relay[key] is None else str(relay[key]) for key in (
        "host", "port", "security", "username", "fingerprint", "connections", "rate_per_minute")}  # fmt: skip
    domain = (relay["domains"] or "").partition(",")[0]
    return page(
        request, viewer, "relays/relay.html", 422 if refused else 200, relay=relay, presets=presets(),
        given=kept | {"use": service.used_as(relay), "domain": domain} | (given or {}),
        errors=_errors(refused), securities=SECURITIES, uses=list(service.USES.items()),
        domain_pairs=await _domains(db), by_one=await service.by_one_machine(db, settings_of(request)),
    )  # fmt: skip
