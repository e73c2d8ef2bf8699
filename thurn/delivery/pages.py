"""Pages of delivery, for those who run the installation: sending addresses, pools and rules, providers."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.delivery import egress, limits, pools
from thurn.delivery.egress_check import check
from thurn.problems import Conflict, Invalid, NotFound
from thurn.settings import Settings
from thurn.warmup import service as warmup
from thurn.web.edge import AppSettings, Db, Operator, Viewer, settings_of
from thurn.web.render import page
from thurn.web.schemas import Id

router = APIRouter(prefix="/house/delivery")

Line = Annotated[str, Form(max_length=300)]
Asked = Annotated[str, Query(max_length=60)]
_HOME = "/house/delivery/addresses"
_NODES = "SELECT name FROM node WHERE state = 'joined' AND login IS NOT NULL ORDER BY name"
STREAMS = {"marketing": "Campaigns", "transactional": "Transactional mail", "people": "People's mail"}


# ---------------------------------------------------------------- sending addresses


@router.get("/addresses")
async def addresses(request: Request, viewer: Operator, db: Db, settings: AppSettings, ask: Asked = "") -> Response:
    """Every sending address with what was found out about it."""
    return await _addresses(request, viewer, db, settings, ask=ask)


@router.post("/addresses")
async def add(
    request: Request, viewer: Operator, db: Db, settings: AppSettings,
    name: Line = "", bind4: Line = "", bind6: Line = "", helo: Line = "", pool: Line = "", node: Line = "",
    warm_up: Line = "",
) -> Response:  # fmt: skip
    """Add one, then look at it."""
    given = {"name": name, "bind4": bind4, "bind6": bind6, "helo": helo, "pool": pool, "node": node}
    try:
        made = await egress.add(db, settings, **given)
    except (Invalid, Conflict) as refused:
        given["warm_up"] = warm_up
        return await _addresses(request, viewer, db, settings, 422, given=given, refused=refused)
    if warm_up == "1":
        await warmup.start(db, made["name"], who=viewer.email)
    await check(db, made["name"], settings)
    return RedirectResponse(_HOME, 303)


@router.post("/addresses/{name}/check")
async def look(viewer: Operator, db: Db, settings: AppSettings, name: str) -> Response:
    """Look again."""
    await check(db, name, settings)
    return RedirectResponse(_HOME, 303)


@router.post("/addresses/{name}/helo")
async def rename(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str, helo: Line = ""
) -> Response:
    """Another name in HELO."""
    try:
        await egress.change(db, settings, name, helo=helo)
    except Invalid as refused:
        return await _addresses(request, viewer, db, settings, 422, act_error=str(refused))
    await check(db, name, settings)
    return RedirectResponse(_HOME, 303)


@router.post("/addresses/{name}/use")
async def use(request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str, on: Line = "") -> Response:
    """Take it out of use, or back."""
    try:
        await egress.change(db, settings, name, enabled=on == "1")
    except Conflict as refused:
        return await _addresses(request, viewer, db, settings, 409, act_error=str(refused))
    return RedirectResponse(_HOME, 303)


@router.post("/addresses/{name}/remove")
async def remove(
    request: Request, viewer: Operator, db: Db, settings: AppSettings, name: str, now: Line = ""
) -> Response:
    """Remove it when it is empty, or at once."""
    try:
        await egress.remove(db, name, now=now == "1")
    except Conflict as refused:
        return await _addresses(request, viewer, db, settings, 409, act_error=str(refused))
    except NotFound:
        pass  # gone by now
    return RedirectResponse(_HOME, 303)


async def _addresses(
    request: Request, viewer: Viewer, db: Connection, settings: Settings, status: int = 200, *, ask: str = "",
    given: dict[str, str] | None = None, refused: Invalid | Conflict | None = None, act_error: str = "",
) -> Response:  # fmt: skip
    field = refused.field if isinstance(refused, Invalid) else "name" if refused else ""
    return page(
        request, viewer, "delivery/addresses.html", status, tab="addresses",
        egresses=await egress.listed(db), pools=[row["name"] for row in await pools.listed(db)],
        hostname=settings.hostname.lower(), ask_for=ask, act_error=act_error, this=settings.node,
        nodes=[row["name"] for row in await rows(db, _NODES)],
        given={"name": "", "bind4": "", "bind6": "", "helo": "", "pool": "default", "node": "", "warm_up": "1"}
        | (given or {}),
        could_warm=await warmup.candidates(db),
        errors={field: str(refused)} if refused else {},
    )  # fmt: skip


# ---------------------------------------------------------------- pools and rules


@router.get("/pools")
async def all_pools(request: Request, viewer: Operator, db: Db) -> Response:
    """Pools, what is in them, and the rules."""
    return await _pools(request, viewer, db)


@router.post("/pools")
async def add_pool(request: Request, viewer: Operator, db: Db, name: Line = "") -> Response:
    """Add a pool."""
    return await _try_pools(request, viewer, db, pools.add(db, name), "name", name=name)


@router.post("/pools/{pool}/remove")
async def remove_pool(request: Request, viewer: Operator, db: Db, pool: str) -> Response:
    """Remove a pool."""
    return await _try_pools(request, viewer, db, pools.remove(db, pool))


@router.post("/pools/{pool}/members")
async def put_member(
    request: Request, viewer: Operator, db: Db, pool: str, member: Line = "", weight: Line = "100"
) -> Response:
    """Put an address into a pool, or change its weight."""
    number = int(weight) if weight.isascii() and weight.isdigit() and len(weight) < 6 else 0
    return await _try_pools(request, viewer, db, pools.put_member(db, pool, member, weight=number))


@router.post("/pools/{pool}/members/{name}/drop")
async def drop_member(request: Request, viewer: Operator, db: Db, pool: str, name: str) -> Response:
    """Take an address out of a pool."""
    return await _try_pools(request, viewer, db, pools.drop_member(db, pool, name))


@router.post("/rules")
async def put_rule(
    request: Request, viewer: Operator, db: Db,
    stream: Line = "", workspace: Line = "", campaign: Line = "", pool: Line = "",
) -> Response:  # fmt: skip
    """Set a rule."""
    given = {"stream": stream, "workspace": workspace, "campaign": campaign, "pool": pool}
    number = int(campaign) if campaign.isascii() and campaign.isdigit() and len(campaign) < 19 else None
    if campaign.strip() and number is None:
        return await _pools(
            request, viewer, db, 422, rule=given, error=("campaign", "A campaign is named by its number.")
        )
    work = pools.put_rule(db, stream=stream, pool=pool, workspace=workspace, campaign=number)
    return await _try_pools(request, viewer, db, work, "", rule=given)


@router.post("/rules/{rule}/drop")
async def drop_rule(request: Request, viewer: Operator, db: Db, rule: Id) -> Response:
    """Remove a rule."""
    return await _try_pools(request, viewer, db, pools.drop_rule(db, rule))


async def _try_pools(
    request: Request, viewer: Viewer, db: Connection, work: Any, field: str = "", **given: Any
) -> Response:
    try:
        await work
    except Invalid as refused:
        return await _pools(request, viewer, db, 422, error=(refused.field, str(refused)), **given)
    except Conflict as refused:
        return await _pools(request, viewer, db, 409, error=(field, str(refused)), **given)
    except NotFound:
        pass  # gone by now
    return RedirectResponse("/house/delivery/pools", 303)


async def _pools(
    request: Request, viewer: Viewer, db: Connection, status: int = 200, *, error: tuple[str, str] = ("", ""),
    name: str = "", rule: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    return page(
        request, viewer, "delivery/pools.html", status, tab="pools", pools=await pools.listed(db),
        this=settings_of(request).node,
        egresses=[row["name"] for row in await egress.listed(db) if row["state"] != "leaving"],
        rules=await pools.rules(db), streams=STREAMS, name=name, error=error,
        workspaces=[row["slug"] for row in await rows(db, "SELECT slug FROM workspace ORDER BY slug")],
        rule={"stream": "marketing", "workspace": "", "campaign": "", "pool": ""} | (rule or {}),
    )  # fmt: skip


# ---------------------------------------------------------------- providers


@router.get("/providers")
async def providers(request: Request, viewer: Operator, db: Db) -> Response:
    """The book, and what is set instead."""
    return page(request, viewer, "delivery/providers.html", tab="providers", providers=await limits.listed(db))


@router.get("/providers/{provider}")
async def provider(request: Request, viewer: Operator, db: Db, provider: str) -> Response:
    """One provider, with the form."""
    return await _provider(request, viewer, db, provider)


@router.post("/providers/{provider}")
async def put_limits(
    request: Request, viewer: Operator, db: Db, provider: str, egress_name: Line = "",
    connections: Line = "", per_connection: Line = "", rate_per_minute: Line = "", backoff: Line = "",
) -> Response:  # fmt: skip
    """Set limits; all fields empty: as the book says."""
    given = {
        "connections": connections, "per_connection": per_connection, "rate_per_minute": rate_per_minute,
        "backoff": backoff,
    }  # fmt: skip
    try:
        await limits.put(db, provider, {key: _number(key, text) for key, text in given.items()}, egress=egress_name)
    except Invalid as refused:
        return await _provider(request, viewer, db, provider, 422, given | {"egress_name": egress_name}, refused)
    return RedirectResponse(f"/house/delivery/providers/{provider}", 303)


def _number(field: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(field, "Enter a whole number, or nothing.")
    return int(text)


async def _provider(
    request: Request, viewer: Viewer, db: Connection, name: str, status: int = 200,
    given: dict[str, str] | None = None, refused: Invalid | None = None,
) -> Response:  # fmt: skip
    empty = dict.fromkeys((*limits.FIELDS, "egress_name"), "")
    return page(
        request, viewer, "delivery/provider.html", status, tab="providers", provider=await limits.get(db, name),
        egresses=[(row["name"], row["name"]) for row in await egress.listed(db)], given=empty | (given or {}),
        errors={refused.field: str(refused)} if refused else {},
    )  # fmt: skip
