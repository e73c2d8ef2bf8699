"""Security: password, sign-ins, sessions, and what was changed."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.fetch import one
from thurn.mailhost import app_passwords
from thurn.portal import changes, security, sessions, two_factor
from thurn.portal.edge import AsMailbox, MailboxDb, page, set_mailbox_session
from thurn.problems import Invalid
from thurn.web.edge import client_ip

router = APIRouter()
HERE = "/mailbox/security"


@router.get("/security")
async def overview(request: Request, me: AsMailbox, db: MailboxDb, done: str = "") -> Response:
    """Everything about who gets in."""
    row = await one(db, "SELECT password_changed_at FROM mailbox WHERE id = %s", [me.mailbox_id])
    return page(
        request,
        me,
        "portal/security.html",
        password_changed_at=row["password_changed_at"],
        two_factor=await two_factor.status(db, me.mailbox_id),
        app_passwords=len(await app_passwords.of_mailbox(db, me.mailbox_id)),
        ways=await security.ways(db, me.mailbox_id),
        sessions=[
            {**each, "device": security.device(each["user_agent"]), "mine": each["session"] == me.session}
            for each in await sessions.of_mailbox(db, me.mailbox_id)
        ],
        changes=await changes.recent(db, me.mailbox_id),
        done=done,
    )


@router.post("/security/sessions/end")
async def end_session(me: AsMailbox, db: MailboxDb, session: Annotated[str, Form(max_length=64)] = "") -> Response:
    """End one of the mailbox's sessions (by the hash in hexadecimal), or without one every other."""
    if not session:
        await sessions.end_others(db, me.mailbox_id, me.session)
    else:
        try:
            await sessions.end(db, me.mailbox_id, bytes.fromhex(session))
        except ValueError:
            raise Invalid("session", "There is no such session.") from None
    return RedirectResponse(f"{HERE}?done=session", 303)


@router.post("/security/not-me")
async def not_me(me: AsMailbox, db: MailboxDb) -> Response:
    """Everybody else is out at once; then the password."""
    await security.not_me(db, me.workspace_id, me.mailbox_id, me.session)
    return RedirectResponse(f"{HERE}/password?why=not-me", 303)


@router.get("/security/password")
async def password_form(request: Request, me: AsMailbox, db: MailboxDb, why: str = "") -> Response:
    """The form for another password."""
    return await _password_form(request, me, db, why=why)


@router.post("/security/password")
async def change_password(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    current: Annotated[str, Form(max_length=4000)] = "",
    password: Annotated[str, Form(max_length=4000)] = "",
    again: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Another password. Every session ends; this browser gets a new one."""
    ip = client_ip(request)
    try:
        await security.change_password(
            db, me.workspace_id, me.mailbox_id, current=current, new=password, again=again, ip=ip
        )
    except Invalid as refused:
        return await _password_form(request, me, db, refused=refused)
    session = await sessions.start(
        db, me.workspace_id, me.mailbox_id, ip=ip, user_agent=request.headers.get("user-agent", "")
    )
    answer = RedirectResponse(f"{HERE}?done=password", 303)
    set_mailbox_session(request, answer, session)
    return answer


async def _password_form(
    request: Request, me: AsMailbox, db: MailboxDb, *, why: str = "", refused: Invalid | None = None
) -> Response:
    return page(
        request,
        me,
        "portal/password.html",
        422 if refused else 200,
        errors={refused.field: refused.message} if refused else {},
        why=why,
        app_passwords=len(await app_passwords.of_mailbox(db, me.mailbox_id)),
        two_factor=await two_factor.status(db, me.mailbox_id),
    )
