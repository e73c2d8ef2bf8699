"""Pages of accounts: the front door."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.accounts import sessions
from thurn.web.edge import MaybeViewer, Unscoped, clear_session, client_ip, session_token, set_session, visitor_csrf
from thurn.web.render import page

router = APIRouter()


def _own_path(target: str) -> str:
    """`target` if it is a path of this site, else the first page: nobody is sent elsewhere after signing in."""
    local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if local else "/"


@router.get("/")
async def first(viewer: MaybeViewer) -> Response:
    """To the viewer's home, or to the front door."""
    return RedirectResponse(f"/w/{viewer.workspace_slug}" if viewer else "/sign-in", 303)


@router.get("/sign-in")
async def sign_in_form(
    request: Request, viewer: MaybeViewer, target: Annotated[str, Query(alias="next", max_length=2000)] = "/"
) -> Response:
    """The form; somebody who signed in already goes through."""
    if viewer:
        return RedirectResponse(_own_path(target), 303)
    return _form(request, target=target)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    db: Unscoped,
    email: Annotated[str, Form(max_length=400)] = "",
    password: Annotated[str, Form(max_length=4000)] = "",
    target: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    """Sign in and go where the person wanted to, or show why not."""
    result = await sessions.sign_in(
        db,
        email=email,
        password=password,
        ip=client_ip(request),
        user_agent=request.headers.get("user-agent", ""),
        previous=session_token(request),
    )
    if isinstance(result, sessions.SignInRefused):
        headers = {"Retry-After": str(result.wait)} if result.wait else {}
        return _form(request, 429 if result.wait else 422, headers, target=target, email=email, refused=result)
    answer = RedirectResponse(_own_path(target), 303)
    set_session(request, answer, result.token)
    return answer


def _form(
    request: Request,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    target: str,
    email: str = "",
    refused: sessions.SignInRefused | None = None,
) -> Response:
    return page(
        request,
        None,
        "accounts/sign_in.html",
        status,
        headers=headers,
        csrf=visitor_csrf(request),
        target=_own_path(target),
        email=email,
        refused=refused,
    )


@router.post("/sign-out")
async def sign_out(request: Request, db: Unscoped) -> Response:
    """End the session and show the front door."""
    token = session_token(request)
    if token:
        await sessions.sign_out(db, token)
    answer = RedirectResponse("/sign-in", 303)
    clear_session(request, answer)
    return answer
