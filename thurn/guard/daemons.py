"""HTTP for daemons: each feature brings its routes; nobody without the installation's secret is heard."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from thurn.db.connect import make_pool
from thurn.secrets import Secrets
from thurn.settings import Settings

# Modules with `routes`: what a daemon may ask of a feature. In a route, `request.app.state` has `settings` and `pool`.
FEATURES: tuple[str, ...] = (
    "thurn.guard.dovecot_daemon",
    "thurn.mailhost.daemon",
    "thurn.spam.daemon",
    "thurn.webmail.daemon",
)


def secret(settings: Settings) -> str:
    """What a daemon shows: as `Authorization: Bearer …`, or as `key=…` in the query where it can set no header."""
    return Secrets(settings.state).ensure("guard")


class Doorkeeper:
    """Lets through who knows the secret."""

    def __init__(self, app: ASGIApp, expected: str) -> None:
        self._app = app
        self._header = f"Bearer {expected}".encode()
        self._query = f"key={expected}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._known(scope):
            await PlainTextResponse("Forbidden\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        shown: bytes = dict(scope["headers"]).get(b"authorization", b"")
        parts: list[bytes] = scope["query_string"].split(b"&")
        keys = [part for part in parts if part.startswith(b"key=")] or [b""]
        return hmac.compare_digest(shown, self._header) or hmac.compare_digest(keys[0], self._query)


def create_app(settings: Settings) -> ASGIApp:
    """The application of one installation."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pool = make_pool(settings, "system", size=6, patience=4.0)
        app.state.pool = pool
        await pool.open(wait=False)
        try:
            yield
        finally:
            await pool.close()

    routes = [route for module in FEATURES for route in import_module(module).routes]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.settings = settings
    return Doorkeeper(app, secret(settings))
