"""The way from the portal into webmail."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from thurn.portal.edge import AsMailbox, MailboxDb
from thurn.web.edge import AppSettings, client_ip, is_secure
from thurn.webmail.service import TOKEN_LASTS, invite

PATH = "/webmail/"
router = APIRouter(prefix="/mailbox")


@router.post("/webmail")
async def open_webmail(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    """Send the browser to webmail, with a token in a cookie: in an address it could be overheard, or planted."""
    token = await invite(
        db, me.workspace_id, me.mailbox_id, portal_session=me.session,
        ip=client_ip(request), user_agent=request.headers.get("user-agent", ""),
    )  # fmt: skip
    answer = RedirectResponse(f"{PATH}?_task=login", 303)
    answer.set_cookie(
        cookie_name(secure=is_secure(settings)), token, max_age=int(TOKEN_LASTS.total_seconds()), path=PATH,
        secure=is_secure(settings), httponly=True, samesite="lax",
    )  # fmt: skip
    return answer


def cookie_name(*, secure: bool) -> str:
    """The cookie that carries the token; Roundcube's plugin knows the name, too."""
    return f"{'__Secure-' if secure else ''}webmail-token"
