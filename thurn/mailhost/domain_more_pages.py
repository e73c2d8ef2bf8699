"""The other tabs of a domain: its DKIM keys and its settings."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Row
from thurn.mailhost import domain_settings, rotate, service
from thurn.mailhost.names import readable
from thurn.mailhost.rotation import GRACE
from thurn.problems import Conflict, Invalid
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()
_ALGORITHMS = {"rsa-sha256": "RSA, 2048 bits", "ed25519-sha256": "Ed25519"}
# state -> word of the vocabulary, and what a person should know
_KEYS = {
    "pending": ("Waiting", "Publish its record. Until every name server has it, the old key signs."),
    "published": ("Scheduled", "Every name server has it. It signs after the next look at DNS that confirms this."),
    "active": ("Active", "Signs every mail of the domain."),
    "retiring": ("Retiring", f"Signs no more. Leave its record for {GRACE.days} days."),
    "retired": ("Off", "Its record may be deleted; the private half is destroyed."),
}


@router.get("/{name}/keys")
async def keys(request: Request, viewer: SignedIn, db: Db, name: str) -> Response:
    """The DKIM keys and where each stands."""
    return _keys(request, viewer, await service.get_domain(db, name))


@router.post("/{name}/keys")
async def make_keys(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, name: str) -> Response:
    """Begin a rotation; 409 while one is under way."""
    row = await service.get_domain(db, name)
    try:
        await rotate.start(db, row, settings)
    except Conflict as refused:
        return _keys(request, viewer, row, str(refused))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}/keys", 303)


@router.post("/{name}/keys/cancel")
async def cancel_keys(request: Request, viewer: SignedIn, db: Db, name: str) -> Response:
    """Drop the keys that do not sign yet."""
    row = await service.get_domain(db, name)
    try:
        await rotate.cancel(db, row)
    except Conflict as refused:
        return _keys(request, viewer, row, str(refused))
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}/keys", 303)


def _keys(request: Request, viewer: Viewer, row: Row, refused: str = "") -> Response:
    order = list(_KEYS)
    found: list[dict[str, Any]] = [
        {**key, "title": _ALGORITHMS[key["algorithm"]], "word": _KEYS[key["state"]][0], "next": _KEYS[key["state"]][1]}
        for key in sorted(row["keys"], key=lambda key: (order.index(key["state"]), key["selector"]))
    ]
    return page(
        request, viewer, "mailhost/domain_keys.html", 409 if refused else 200, domain=row,
        readable=readable(row["name"]), found=found, refused=refused,
        coming=any(key["state"] in ("pending", "published") for key in found),
        known=any(key["state"] == "published" for key in found),
    )  # fmt: skip


@router.get("/{name}/settings")
async def settings_form(request: Request, viewer: SignedIn, db: Db, name: str, saved: str = "") -> Response:
    """What the operator decides about the domain."""
    row = await service.get_domain(db, name)
    return _settings(request, viewer, row, row, saved=bool(saved))


@router.post("/{name}/settings")
async def save_settings(
    request: Request,
    viewer: SignedIn,
    db: Db,
    name: str,
    dmarc_policy: Annotated[str, Form()] = "none",
    mta_sts_mode: Annotated[str, Form()] = "none",
    tls_reports: Annotated[str, Form()] = "",
    tracking_host: Annotated[str, Form()] = "",
    bimi_logo: Annotated[str, Form()] = "",
    rotate_months: Annotated[str, Form()] = "0",
) -> Response:
    """Save, or show what is wrong beside its field."""
    row = await service.get_domain(db, name)
    given = {
        "dmarc_policy": dmarc_policy, "mta_sts_mode": mta_sts_mode, "tls_reports": bool(tls_reports),
        "tracking_host": tracking_host, "bimi_logo": bimi_logo,
        "rotate_months": int(rotate_months) if rotate_months.isascii() and rotate_months.isdigit() else -1,
    }  # fmt: skip
    try:
        await domain_settings.change(db, row["name"], **given)
    except Invalid as wrong:
        return _settings(request, viewer, row, given, {wrong.field: wrong.message})
    except Conflict as taken:
        return _settings(request, viewer, row, given, {"tracking_host": str(taken)})
    return RedirectResponse(f"/w/{viewer.workspace_slug}/domains/{row['name']}/settings?saved=1", 303)


def _settings(
    request: Request, viewer: Viewer, row: Row, form: Row, errors: dict[str, str] | None = None, *, saved: bool = False
) -> Response:
    fields = ("dmarc_policy", "mta_sts_mode", "tls_reports", "tracking_host", "bimi_logo", "rotate_months")
    return page(
        request, viewer, "mailhost/domain_settings.html", 422 if errors else 200, domain=row,
        readable=readable(row["name"]), form=form, saved=saved,
        errors={field: (errors or {}).get(field, "") for field in fields},
    )  # fmt: skip
