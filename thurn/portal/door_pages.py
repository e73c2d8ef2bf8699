"""The portal's front door: in and out."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.portal import sessions
from thurn.portal.edge import AsMailbox, MailboxDb, MaybeMailbox, clear_mailbox_session, mailbox_token
from thurn.portal.edge import set_mailbox_session as set_session
from thurn.web.edge import AppSettings, Unscoped, client_ip, visitor_csrf
from thurn.web.render import page

router = APIRouter()
HOME = "/mailbox"
CODE = f"{HOME}/sign-in/code"


def _own_path(target: str) -> str:
    """`target` if it is a page of the portal, else its first: nobody is sent elsewhere after signing in."""
    return target if target.startswith(f"{HOME}/") and target.isprintable() and "\\" not in target else HOME


@router.get("/sign-in")
async def sign_in_form(
    request: Request,
    me: MaybeMailbox,
    target: Annotated[str, Query(alias="next", max_length=2000)] = HOME,
    out: bool = False,
) -> Response:
    """The form; somebody who signed in already goes through."""
    if me:
        return RedirectResponse(_own_path(target), 303)
    return _form(request, target=target, out=out)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    db: Unscoped,
    address: Annotated[str, Form(max_length=400)] = "",
    password: Annotated[str, Form(max_length=4000)] = "",
    target: Annotated[str, Form(alias="next", max_length=2000)] = HOME,
) -> Response:
    """Sign in and go where the person wanted to, or show why not."""
    result = await sessions.sign_in(
        db,
        address=address,
        password=password,
        ip=client_ip(request),
        user_agent=request.headers.get("user-agent", ""),
        previous=mailbox_token(request),
    )
    if isinstance(result, sessions.SignInRefused):
        headers = {"Retry-After": str(result.wait)} if result.wait else {}
        return _form(request, 429 if result.wait else 422, headers, target=target, address=address, refused=result)
    place = _own_path(target)
    if result.second_step:
        place = f"{CODE}?next={quote(place, safe='/')}"
    answer = RedirectResponse(place, 303)
    set_session(request, answer, result)
    return answer


@router.get("/sign-in/code")
async def code_form(
    request: Request, db: Unscoped, target: Annotated[str, Query(alias="next", max_length=2000)] = HOME
) -> Response:
    """The question for the code, for somebody whose password was right."""
    token = mailbox_token(request)
    if not token or await sessions.find(db, token, second_step=True) is None:
        return RedirectResponse(f"{HOME}/sign-in", 303)
    return _code_form(request, target=target)


@router.post("/sign-in/code")
async def give_code(
    request: Request,
    db: Unscoped,
    settings: AppSettings,
    code: Annotated[str, Form(max_length=100)] = "",
    target: Annotated[str, Form(alias="next", max_length=2000)] = HOME,
) -> Response:
    """The second step of signing in."""
    result = await sessions.give_code(
        db,
        settings,
        token=mailbox_token(request) or "",
        code=code,
        ip=client_ip(request),
        user_agent=request.headers.get("user-agent", ""),
    )
    if result is None:
        over = sessions.SignInRefused("Too many wrong codes, or too much time. Begin again with the password.")
        return _form(request, 422, target=target, refused=over)
    if isinstance(result, sessions.SignInRefused):
        headers = {"Retry-After": str(result.wait)} if result.wait else {}
        return _code_form(request, 429 if result.wait else 422, headers, target=target, refused=result)
    answer = RedirectResponse(_own_path(target), 303)
    set_session(request, answer, result)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, me: AsMailbox, db: MailboxDb) -> Response:
    """End the session and show the front door."""
    await sessions.end(db, me.mailbox_id, me.session)
    answer = RedirectResponse(f"{HOME}/sign-in?out=1", 303)
    clear_mailbox_session(request, answer)
    return answer


def _form(
    request: Request,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    target: str,
    address: str = "",
    refused: sessions.SignInRefused | None = None,
    out: bool = False,
) -> Response:
    return page(
        request, None, "portal/sign_in.html", status, headers=headers, csrf=visitor_csrf(request),
        target=_own_path(target), address=address, refused=refused, out=out,
    )  # fmt: skip


def _code_form(
    request: Request,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    target: str,
    refused: sessions.SignInRefused | None = None,
) -> Response:
    return page(
        request, None, "portal/code.html", status, headers=headers, csrf=visitor_csrf(request),
        target=_own_path(target), refused=refused,
    )  # fmt: skip
