"""Two-factor: what it means, turning it on with a first code, recovery codes, turning it off."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.guard import sign_ins
from thurn.mailhost import app_passwords
from thurn.portal import security, totp, two_factor
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.problems import Invalid
from thurn.web.edge import AppSettings, client_ip

router = APIRouter(prefix="/security/two-factor")
HERE = "/mailbox/security/two-factor"
Secret = Annotated[str, Form(max_length=4000)]
Code = Annotated[str, Form(max_length=100)]


@router.get("")
async def overview(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    """How it stands, and what turning it on would mean."""
    return await _page(request, me, db, settings)


@router.post("/begin")
async def begin(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, current: Secret = ""
) -> Response:
    """Make a secret and show it."""
    try:
        await security.check_password(db, me.mailbox_id, current, client_ip(request))
    except Invalid as refused:
        return await _page(request, me, db, settings, refused)
    await two_factor.begin(db, settings, me.mailbox_id)
    return RedirectResponse(f"{HERE}/app", 303)


@router.get("/app")
async def app(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    """The secret as QR code and text, while it is being set up."""
    return await _app(request, me, db, settings)


@router.post("/app")
async def confirm(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, code: Code = "") -> Response:
    """Turn it on with a first code and show the recovery codes, this one time."""
    try:
        codes = await two_factor.confirm(db, settings, me.workspace_id, me.mailbox_id, code)
    except Invalid as refused:
        return await _app(request, me, db, settings, refused)
    return page(request, me, "portal/recovery_codes.html", codes=codes, new=True)


@router.post("/codes")
async def codes(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, code: Code = "") -> Response:
    """New recovery codes, shown this one time."""
    try:
        await _not_too_fast(request, me, db)
        made = await two_factor.renew_recovery_codes(db, settings, me.workspace_id, me.mailbox_id, code)
    except Invalid as refused:
        await sign_ins.record(db, login=me.address, protocol="portal", ip=client_ip(request), succeeded=False)
        return await _page(request, me, db, settings, refused)
    return page(request, me, "portal/recovery_codes.html", codes=made, new=False)


@router.post("/off")
async def off(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, current: Secret = "", code: Code = ""
) -> Response:
    """Turn it off with password and code."""
    try:
        await security.check_password(db, me.mailbox_id, current, client_ip(request))
        if not await two_factor.check(db, settings, me.workspace_id, me.mailbox_id, code):
            await sign_ins.record(db, login=me.address, protocol="portal", ip=client_ip(request), succeeded=False)
            raise Invalid("off-code", "This code is not the one, or was used already. Take the next code.")
    except Invalid as refused:
        return await _page(request, me, db, settings, refused)
    await two_factor.turn_off(db, me.workspace_id, me.mailbox_id)
    return RedirectResponse("/mailbox/security?done=two-factor-off", 303)


async def _not_too_fast(request: Request, me: AsMailbox, db: MailboxDb) -> None:
    verdict = await sign_ins.allowed(db, login=me.address, ip=client_ip(request))
    if not verdict.ok:
        raise Invalid("code", verdict.text)


async def _page(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, refused: Invalid | None = None
) -> Response:
    ways = await security.ways(db, me.mailbox_id)
    return page(
        request,
        me,
        "portal/two_factor.html",
        422 if refused else 200,
        two_factor=await two_factor.status(db, me.mailbox_id),
        errors={refused.field: refused.message} if refused else {},
        programs=[way for way in ways if way.by_password],
        app_passwords=len(await app_passwords.of_mailbox(db, me.mailbox_id)),
    )


async def _app(
    request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, refused: Invalid | None = None
) -> Response:
    secret = await two_factor.secret_to_show(db, settings, me.mailbox_id)
    return page(
        request,
        me,
        "portal/two_factor_app.html",
        422 if refused else 200,
        secret=totp.spaced(secret),
        qr=totp.qr(totp.uri(secret, me.address, me.workspace_name)),
        error=refused.message if refused else "",
    )
