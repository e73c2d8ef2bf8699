"""Who asks at the portal, and the transaction the answer is made in.

An administrator's session counts nowhere under /mailbox, a mailbox's nowhere else: a browser may have both.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import iter_route_contexts

from thurn.db.connect import Connection
from thurn.portal import sessions
from thurn.web import render
from thurn.web.edge import SignInNeeded, Unscoped, cookie_name, in_portal, set_cookie, settings_of

COOKIE = "mailbox"


@dataclass(frozen=True, slots=True)
class MailboxViewer:
    """Somebody who signed in as a mailbox."""

    mailbox_id: int
    address: str
    name: str
    workspace_id: int
    workspace_name: str
    csrf: str
    session: bytes  # the hash of its token, as in mailbox_session
    held: int = 0  # mails that wait for a word of the owner


async def maybe_mailbox(request: Request, db: Unscoped) -> MailboxViewer | None:
    """The mailbox that signed in; None for anybody else, and everywhere but in the portal."""
    token = mailbox_token(request)
    if not token or not in_portal(request):
        return None
    row = await sessions.find(db, token)
    return MailboxViewer(**row) if row else None


MaybeMailbox = Annotated[MailboxViewer | None, Depends(maybe_mailbox)]


async def as_mailbox(me: MaybeMailbox) -> MailboxViewer:
    """The mailbox. Anonymous: sent to /mailbox/sign-in and back."""
    if me is None:
        raise SignInNeeded
    return me


AsMailbox = Annotated[MailboxViewer, Depends(as_mailbox)]


async def mailbox_db(db: Unscoped, me: AsMailbox) -> Connection:
    """The request's transaction. It sees the mailbox's workspace: a query names `me.mailbox_id` too."""
    del me  # looking for the session has opened the workspace
    return db


MailboxDb = Annotated[Connection, Depends(mailbox_db)]


def mailbox_token(request: Request) -> str | None:
    """The token of the mailbox's session the browser came with, valid or not."""
    return request.cookies.get(cookie_name(settings_of(request), COOKIE))


def set_mailbox_session(request: Request, response: Response, session: sessions.SignedInAs) -> None:
    """Give the browser its session."""
    lasts = sessions.CODE_WITHIN if session.second_step else sessions.LASTS
    set_cookie(settings_of(request), response, COOKIE, session.token, int(lasts.total_seconds()))


def clear_mailbox_session(request: Request, response: Response) -> None:
    """Take the session from the browser."""
    set_cookie(settings_of(request), response, COOKIE, "", 0)


def page(
    request: Request,
    me: MailboxViewer,
    template: str,
    status: int = 200,
    *,
    block: str | None = None,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Answer with a page of the portal: `{% extends "portal/shell.html" %}`. Templates see `me` instead of `viewer`."""
    return render.page(
        request, None, template, status, block=block, headers=headers, csrf=me.csrf, me=me, has=_paths(request.app),
        **context,
    )  # fmt: skip


@cache
def _paths(app: FastAPI) -> frozenset[str]:
    """The pages of the portal this installation has: a feature that is not there gets no link."""
    paths = (str(each.path) for each in iter_route_contexts(app.routes))
    return frozenset(path for path in paths if path.startswith("/mailbox"))
