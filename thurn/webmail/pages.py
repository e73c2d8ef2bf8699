"""The way from the portal into webmail, which is another origin.

    /mailbox/webmail  ->  webmail/?_thurn=open   gives the browser a random number in a cookie of webmail's
                      ->  /mailbox/webmail?bind=…  its hash comes here, who signed in gets a token bound to it
                      ->  webmail/?_thurn=…      the token, good once, soon, and only beside that cookie

No step changes anything that somebody else could gain from, so all are plain links: who has another's browser go this
way opens what that browser's owner may open; a token of one's own is worth nothing in another's browser.
"""

import re

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from thurn.portal.edge import MaybeMailbox
from thurn.web.edge import AppSettings, Unscoped, client_ip
from thurn.webmail.service import invite

_HASH = re.compile(r"[0-9a-f]{64}")
router = APIRouter(prefix="/mailbox")


@router.get("/webmail")
async def open_webmail(
    request: Request, me: MaybeMailbox, db: Unscoped, settings: AppSettings, bind: str = ""
) -> Response:
    """Send the browser to webmail, with a token once webmail has said what to bind it to."""
    if me is None:
        return RedirectResponse("/mailbox/sign-in", 303)
    if not _HASH.fullmatch(bind):
        return RedirectResponse(f"{settings.webmail_url}/?_thurn=open", 303)
    token = await invite(
        db, me.workspace_id, me.mailbox_id, portal_session=me.session, bound=bytes.fromhex(bind),
        ip=client_ip(request), user_agent=request.headers.get("user-agent", ""),
    )  # fmt: skip
    return RedirectResponse(f"{settings.webmail_url}/?_task=login&_thurn={token}", 303)
