"""Open, click and unsubscribe: `/o/<token>`, `/c/<token>`, `/u/<token>`, as one bare ASGI function.

A hit is on disk before it is answered (spool.py); nothing here writes to the database, and only the first click of a
campaign reads from it. Unsubscribing is RFC 8058: a POST, never a GET, without sign-in.
"""

import psycopg
import structlog
from psycopg_pool import PoolTimeout
from starlette.routing import BaseRoute, Mount
from starlette.types import Receive, Scope, Send

from thurn.db.connect import Pool, in_workspace
from thurn.mail.tokens import InvalidToken, Tracked, TrackingTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.tracking import pages
from thurn.tracking.links import Links
from thurn.tracking.spool import Spool, line

log = structlog.get_logger()

# A transparent GIF of one pixel.
PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"
)
_BODY = 16 * 1024  # bytes of a form that are read: ours has 26

_NO_STORE = (b"cache-control", b"no-store, max-age=0")
_GIF = [(b"content-type", b"image/gif"), (b"content-length", str(len(PIXEL)).encode()), _NO_STORE]
_HTML = [
    (b"content-type", b"text/html; charset=utf-8"),
    _NO_STORE,
    (b"content-security-policy", pages.CSP),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex, nofollow"),
]
_PREFETCH = frozenset({b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"})


class Tracking:
    """What one process keeps for its tracking addresses."""

    def __init__(self, settings: Settings) -> None:
        self.tokens = TrackingTokens(Secrets(settings.state).derive("tracking"))
        self.hits = Spool(settings.state, "hits")
        self.left = Spool(settings.state, "left")
        self.links = Links()


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; `scope["app"].state` has `settings` and `pool`."""
    state = scope["app"].state
    tracking: Tracking | None = getattr(state, "tracking", None)
    if tracking is None:
        tracking = state.tracking = Tracking(state.settings)
    path: str = scope["path"]
    method: str = scope["method"]
    purpose = path[1:2]
    try:
        tracked = tracking.tokens.read(path[3:], purpose)
    except InvalidToken:
        await _nowhere(purpose, method, send)
        return
    if purpose == "u":
        await _leave(state.pool, tracking, tracked, scope, receive, send)
    elif method not in ("GET", "HEAD"):
        await _html(send, 405, pages.NOT_HERE, method, (b"allow", b"GET, HEAD"))
    else:
        tracking.hits.append(_line(tracked, scope))
        if purpose == "o":
            await _respond(send, 200, _GIF, PIXEL, method)
        else:
            await _click(state.pool, tracking.links, tracked, method, send)


routes: list[BaseRoute] = [Mount("/", app=answer)]


def _line(tracked: Tracked, scope: Scope) -> bytes:
    agent, prefetch = b"", False
    for name, value in scope["headers"]:
        if name == b"user-agent":
            agent = value
        elif name in _PREFETCH:
            prefetch = prefetch or b"prefetch" in value or b"preview" in value
    who = (tracked.workspace, tracked.campaign, tracked.delivery, tracked.link)
    return line(tracked.purpose, who, scope["method"], prefetch, agent)


async def _click(pool: Pool, links: Links, tracked: Tracked, method: str, send: Send) -> None:
    target = links.known(tracked.campaign, tracked.link)
    if target is None:
        try:
            target = await links.find(pool, tracked.workspace, tracked.campaign, tracked.link)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("a link could not be looked up", campaign=tracked.campaign, error=str(error))
            await _html(send, 503, pages.LATER, method, (b"retry-after", b"30"))
            return
    if target is None:
        await _html(send, 404, pages.NOWHERE, method)
        return
    headers = [(b"location", target), (b"content-length", b"0"), _NO_STORE, (b"referrer-policy", b"no-referrer")]
    await _respond(send, 302, headers, b"", method)


async def _leave(pool: Pool, tracking: Tracking, tracked: Tracked, scope: Scope, receive: Receive, send: Send) -> None:
    """GET asks, POST does it. A POST without the field of RFC 8058 only asks."""
    method = scope["method"]
    if method in ("GET", "HEAD"):
        page = b"" if method == "HEAD" else pages.leave(*await _sender(pool, tracked))
        await _html(send, 200, page, method)
    elif method != "POST":
        await _html(send, 405, pages.NOT_HERE, method, (b"allow", b"GET, HEAD, POST"))
    elif not await _one_click(receive):
        await _html(send, 400, pages.leave(), method)
    elif tracking.left.append(_line(tracked, scope)) or await _leave_at_once(pool, tracked):
        await _html(send, 200, pages.LEFT, method)
    else:
        await _html(send, 503, pages.NOT_DONE, method, (b"retry-after", b"60"))


async def _sender(pool: Pool, tracked: Tracked) -> tuple[str, str]:
    """(who sends, to which address), or empty words when the database is away."""
    try:
        async with in_workspace(pool, tracked.workspace) as db:
            found = await db.execute(
                """SELECT coalesce(nullif(c.from_name, ''), c.from_address) AS sender, d.recipient
                   FROM campaign c JOIN delivery d ON d.campaign_id = c.id WHERE c.id = %s AND d.id = %s""",
                [tracked.campaign, tracked.delivery],
            )
            row = await found.fetchone()
    except (psycopg.Error, PoolTimeout):
        return "", ""
    return (row["sender"], row["recipient"]) if row else ("", "")


async def _one_click(receive: Receive) -> bool:
    """Whether the body says `List-Unsubscribe=One-Click` (RFC 8058, 3.2), as a form or as multipart/form-data."""
    body = b""
    while len(body) < _BODY:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    body = body[:_BODY].lower()
    return b"list-unsubscribe" in body and b"one-click" in body


async def _leave_at_once(pool: Pool, tracked: Tracked) -> bool:
    """When the disk is full: straight into the database; what is counted is less than who gets no more mail."""
    try:
        async with in_workspace(pool, tracked.workspace) as db:
            await db.execute(
                """UPDATE contact SET unsubscribed_at = coalesce(unsubscribed_at, now()), unsubscribed_by = %s
                   WHERE id = (SELECT contact_id FROM delivery WHERE campaign_id = %s AND id = %s)""",
                [tracked.campaign, tracked.campaign, tracked.delivery],
            )
    except (psycopg.Error, PoolTimeout):
        return False
    return True


async def _nowhere(purpose: str, method: str, send: Send) -> None:
    if purpose == "o":  # a broken picture in a mail helps nobody
        await _respond(send, 404, _GIF, PIXEL, method)
    else:
        await _html(send, 404, pages.NOWHERE, method)


async def _html(send: Send, status: int, page: bytes, method: str, *more: tuple[bytes, bytes]) -> None:
    await _respond(send, status, [*_HTML, *more], page, method)


async def _respond(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes, method: str) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
