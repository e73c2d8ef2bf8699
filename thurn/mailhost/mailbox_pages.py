"""Pages of mailboxes: the table, a new one, and one with everything about it."""

import math
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import one as one_row
from thurn.mailhost import aliases, app_passwords, forwards, mailboxes, removed, rights, sending, service, usage
from thurn.mailhost.clientsetup import access
from thurn.mailhost.names import readable, typed
from thurn.moves.service import count_moves
from thurn.problems import Conflict, Invalid, Problem
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
LIMIT = 25
_Address = Annotated[str | None, Query(max_length=400)]


@router.get("")
async def table(
    request: Request,
    viewer: SignedIn,
    db: Db,
    before: _Address = None,
    after: _Address = None,
    q: Annotated[str, Query(max_length=200)] = "",
    domain: Annotated[str, Query(max_length=255)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """The table, by address; with a search, what address or name holds."""
    before, after, q = _printable(before), _printable(after), _printable(q) or ""
    found = await mailboxes.mailbox_page(
        db, after=after, before=before, query=q, domain=domain, state=state, limit=LIMIT + 1
    )
    back = before is not None and after is None
    shown = found[-LIMIT:] if back else found[:LIMIT]
    more = len(found) > LIMIT
    has_newer, has_older = (more, True) if back else (after is not None, more)
    wanted = {name: value for name, value in (("q", q), ("domain", domain), ("state", state)) if value}
    here = request.url.replace(scheme="", netloc="").replace_query_params(**wanted)
    names = [row["name"] for row in await service.domain_page(db, limit=1000) if row["alias_of"] is None]
    return page(
        request,
        viewer,
        "mailhost/mailboxes.html",
        block="rows",
        mailboxes=shown,
        total=await mailboxes.count_mailboxes(db),
        counts=await counts(db),
        domains=[(name, readable(name)) for name in names],
        states=[(name, name) for name in mailboxes.STATES],
        q=q,
        domain=domain,
        state_wanted=state,
        filtered=bool(wanted),
        newer=str(here.include_query_params(before=shown[0]["address"])) if has_newer and shown else "",
        older=str(here.include_query_params(after=shown[-1]["address"])) if has_older and shown else "",
    )


@router.get("/new")
async def new(
    request: Request, viewer: SignedIn, db: Db, domain: Annotated[str, Query(max_length=255)] = ""
) -> Response:
    """The form for a new mailbox."""
    return await _form(request, viewer, db, {"local": "", "domain": domain, "name": ""})


@router.post("/new")
async def add(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    local: Annotated[str, Form()] = "",
    domain: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
) -> Response:
    """Make a mailbox and show its password once, or say what is wrong."""
    values = {"local": local, "domain": domain, "name": name}
    address = local.strip() if local.strip().lower().endswith(f"@{domain}") else f"{local.strip()}@{domain}"
    try:
        secret = await service.add_mailbox(
            db, viewer.workspace_id, address=address, password=password or None, name=name
        )
    except (Invalid, Conflict) as refused:
        return await _form(request, viewer, db, values, refused)
    return await _ready(request, viewer, db, settings, mailboxes.stored(address), "" if password else secret, new=True)


@router.get("/{address}")
async def one(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str, saved: bool = False
) -> Response:
    """One mailbox."""
    return await mailbox_page(request, viewer, db, settings, address, saved=saved)


@router.post("/{address}")
async def update(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    address: str,
    name: Annotated[str, Form()] = "",
    quota: Annotated[str, Form()] = "",
    limit: Annotated[str, Form()] = "",
    may_send: Annotated[str, Form()] = "",
) -> Response:
    """Change name, size, and what may be sent."""
    try:
        await mailboxes.update_mailbox(
            db,
            address,
            name=name,
            quota_bytes=gigabytes(quota),
            send_limit=_limit(limit) if limit else None,
            may_send=bool(may_send) if limit else None,  # a browser sends nothing for an empty box
        )
    except Invalid as refused:
        given = {"name": name, "quota": quota, "limit": limit}
        return await mailbox_page(request, viewer, db, settings, address, refused=refused, given=given)
    return back(viewer, address)


@router.post("/{address}/password")
async def password(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str
) -> Response:  # fmt: skip
    """A new password, shown once."""
    secret = await mailboxes.set_password(db, address)
    return await _ready(request, viewer, db, settings, address, secret, new=False)


@router.post("/{address}/disable")
async def disable(viewer: SignedIn, db: Db, address: str) -> Response:
    """Nobody signs in, new mail is refused; what is there stays."""
    await mailboxes.set_enabled(db, address, enabled=False)
    return back(viewer, address)


@router.post("/{address}/enable")
async def enable(viewer: SignedIn, db: Db, address: str) -> Response:
    """Undo `disable`."""
    await mailboxes.set_enabled(db, address, enabled=True)
    return back(viewer, address)


@router.post("/{address}/delete")
async def delete(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, address: str,
    destroy: Annotated[str, Form(max_length=320)] = "",
) -> Response:  # fmt: skip
    """Close it. Its mail is kept for 30 days, or destroyed now if its address is typed."""
    row = await mailboxes.get_mailbox(db, address)
    try:
        now = typed(destroy, row["address"])
    except Invalid as refused:
        return await mailbox_page(request, viewer, db, settings, address, refused=refused)
    await mailboxes.remove_mailbox(db, address, destroy=now)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/removed?done={'destroy' if now else 'remove'}", 303)


# ---------------------------------------------------------------- what they share


def back(viewer: Viewer, address: str) -> Response:
    """To the page of the mailbox, which says that it is done."""
    return RedirectResponse(f"/w/{viewer.workspace_slug}/mailboxes/{mailboxes.stored(address)}?saved=1", 303)


def _printable(text: str | None) -> str | None:
    """Without what PostgreSQL could not even be asked about."""
    return None if text is None else "".join(filter(str.isprintable, text))


def gigabytes(text: str) -> int:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid("quota", "Give the size in GB, for example 5.")
    return int(number * mailboxes.GIB)


def _limit(text: str) -> int:
    tidy = text.strip().replace(",", "")
    if not tidy.isascii() or not tidy.isdigit() or len(tidy) > 9:
        raise Invalid("limit", "Give a number of recipients, for example 500.")
    return int(tidy)


async def counts(db: Connection) -> dict[str, int]:
    """What the tabs count."""
    forwarding = await one_row(db, "SELECT count(*) AS n FROM mailbox WHERE forward_to <> '{}'")
    return {
        "mailboxes": await mailboxes.count_mailboxes(db),
        "aliases": await aliases.count(db),
        "forwards": int(forwarding["n"]),
        "moves": await count_moves(db),
        "removed": await removed.count(db),
    }


async def _form(
    request: Request, viewer: Viewer, db: Connection, values: dict[str, str], refused: Problem | None = None
) -> Response:
    """The form for a new mailbox; 422 or 409 with what was typed, but for the password."""
    names = [row["name"] for row in await service.domain_page(db, limit=1000) if row["alias_of"] is None]
    field = "local" if isinstance(refused, Conflict) else getattr(refused, "field", "").replace("address", "local")
    return page(
        request,
        viewer,
        "mailhost/mailbox_new.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        domains=[(name, f"@{readable(name)}") for name in names],
        values=values,
        errors={field: str(refused)} if refused else {},
    )


async def mailbox_page(
    request: Request,
    viewer: Viewer,
    db: Connection,
    settings: Settings,
    address: str,
    *,
    saved: bool = False,
    refused: Problem | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    """The page, with what was refused beside its field (the one that is named, else the one that was given)."""
    row = await mailboxes.get_mailbox(db, address)
    forwarding = await forwards.get(db, row["id"])
    values = {
        "name": row["name"],
        "quota": f"{row['quota_bytes'] / mailboxes.GIB:g}",
        "limit": str(row["send_limit"]),
        "targets": "\n".join(forwarding.targets),
        "alias": "",
        "sender": "",
        "device": "",
        **(given or {}),
    }
    field = next(iter(given)) if given and len(given) == 1 else getattr(refused, "field", "")
    return page(
        request,
        viewer,
        "mailhost/mailbox.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        mailbox=row,
        values=values,
        errors={field: str(refused)} if refused else {},
        access=access(settings),
        forwarding=forwarding,
        app_passwords=await app_passwords.of_mailbox(db, row["id"]),
        senders=await rights.may_send_as(db, row["id"]),
        copies=await rights.copies(db, row["address"]),
        sent=await sending.sent_today(db, row["id"]),
        saved=saved,
        kept_days=removed.DAYS,
        full_in=await usage.full_in(db, row),
    )


async def _ready(
    request: Request, viewer: Viewer, db: Connection, settings: Settings, address: str, secret: str, *, new: bool
) -> Response:
    """The password, this one time, and what else a mail program asks for."""
    row = await mailboxes.get_mailbox(db, address)
    return page(
        request, viewer, "mailhost/mailbox_ready.html", 201 if new else 200,
        mailbox=row, password=secret, new=new, access=access(settings),
    )  # fmt: skip
