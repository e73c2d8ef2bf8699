"""What every answer carries and what no request may do, as bare ASGI: costs microseconds, never buffers a body."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_PAGE = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"cache-control": b"no-store",
}
# An open pixel is shown inside other people's pages (webmail), and a click must not tell the target which mail it was.
_TRACKING = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

SMALL_BODY = 2 * 1024 * 1024
UPLOAD_BODY = 256 * 1024 * 1024


class BodyTooLarge(HTTPException):
    """More was sent than this address takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"That is too much at once: this page takes at most {limit // 1024 // 1024} MB.")


def body_limit(path: str) -> int:
    """Bytes a request body may have; files are taken by imports only."""
    return UPLOAD_BODY if path.endswith(("/import", "/imports")) else SMALL_BODY


class Guard:
    """Wraps the application: headers on the way out, a body limit and a look at the origin on the way in."""

    def __init__(self, app: ASGIApp, *, https: bool, tracking: bool = False) -> None:
        self._app = app
        defaults = _TRACKING if tracking else _PAGE
        self._defaults = [*defaults.items(), *([_HSTS] if https else [])]
        self._https = https
        self._tracking = tracking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers += [item for item in self._defaults if item[0] not in present]
                headers += [(b"set-cookie", cookie) for cookie in scope.get("thurn.cookies", ())]
                message["headers"] = headers
            await send(message)

        if scope["method"] in _SAFE:
            await self._app(scope, receive, send_guarded)
            return
        path: str = scope["path"]
        if not self._tracking and not path.startswith("/api/") and _from_elsewhere(scope):
            scope["thurn.cross_site"] = True
        await self._app(scope, _limited(receive, body_limit(path)), send_guarded)


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge(limit)
        return message

    return receive_limited


def _from_elsewhere(scope: Scope) -> bool:
    """Whether the browser says that another site sent this (Fetch Metadata, Origin of RFC 6454)."""
    headers = dict(scope["headers"])
    if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        return True
    origin: str = headers.get(b"origin", b"null").decode("latin-1")
    host: str = headers.get(b"host", b"").decode("latin-1")
    return origin != "null" and origin.lower().partition("://")[2] != host.lower()
