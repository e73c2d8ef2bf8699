"""The web application: every feature's pages and API under one roof.

Tracking addresses take a short cut: their bare routes are tried before anything of FastAPI is.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.routing import Router
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from thurn.db.connect import make_pool
from thurn.feeds import hooks
from thurn.mailhost import wellknown
from thurn.nodes import door
from thurn.settings import Settings
from thurn.tracking import routes as tracking
from thurn.web import errors
from thurn.web.csrf import check_csrf
from thurn.web.edge import is_secure
from thurn.web.security import Guard

FEATURES = (
    "accounts",
    "audience",
    "content",
    "campaigns",
    "certificates",
    "moves",
    "mailhost",
    "portal",
    "trace",
    "spam",
    "guard",
    "feedback",
    "delivery",
    "queue",
    "shaping",
    "relays",
    "dmarc",
    "feeds",
    "reputation",
    "nodes",
    "warmup",
)
API = "/api/v1"
_STATIC = Path(__file__).parent / "static"
_TRACKED = frozenset({"/o/", "/c/", "/u/"})
_HASHED = re.compile(r"-[A-Z0-9]{8}\.\w+$")  # as frontend/build names what it makes
_PATIENCE = 4.0  # seconds a request waits for a connection before it says that the database is away


class Application(FastAPI):
    """FastAPI behind its guard, and tracking beside it."""

    def guard(self, settings: Settings) -> None:
        """Put the guard around the application; after this it can serve."""
        https = is_secure(settings)
        self._pages = Guard(super().__call__, https=https)
        tracked = Router(tracking.routes, redirect_slashes=False, default=PlainTextResponse("Not found\n", 404))
        self._tracking = Guard(tracked, https=https, tracking=True)
        self._wellknown = Guard(wellknown.answer, https=https, tracking=True)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; errors are problem documents and nothing else."""
        if not self.openapi_schema:
            document = super().openapi()
            for operation in (each for path in document["paths"].values() for each in path.values()):
                for response in operation["responses"].values():
                    if "application/problem+json" in response.get("content", {}):
                        response["content"].pop("application/json", None)
        return super().openapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (or the lifespan)."""
        if scope["type"] == "http" and scope["path"][:3] in _TRACKED:
            scope["app"] = self
            await self._tracking(scope, receive, send)
        elif scope["type"] == "http" and wellknown.is_ours(scope["path"]):
            scope["app"] = self
            await self._wellknown(scope, receive, send)
        else:
            await self._pages(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = make_pool(app.state.settings, "app")
    pool.timeout = _PATIENCE
    app.state.pool = pool
    await pool.open(wait=False)  # the web comes up without the database, and says so
    try:
        yield
    finally:
        await pool.close()


def create_app(settings: Settings) -> Application:
    """The application of one installation."""
    app = Application(
        title="Thurn",
        version="1",
        description="Everything the web interface does. Answers are JSON; errors are problem documents (RFC 9457).",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    errors.install(app)
    for feature in FEATURES:
        app.include_router(import_module(f"thurn.{feature}.api").router, prefix=API)
    for feature in (*FEATURES, "reports", "webmail"):  # the last have pages only
        pages = import_module(f"thurn.{feature}.pages").router
        app.include_router(pages, dependencies=[Depends(check_csrf)], include_in_schema=False)
    app.include_router(hooks.router)  # calls of sending services, which prove themselves
    app.include_router(door.router)  # machines that join, and prove that they have a token
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.mount("/static", _Static(directory=_STATIC, check_dir=False))
    app.guard(settings)
    return app


async def _health(request: Request) -> JSONResponse:
    """200 when the web and its database answer."""
    async with request.app.state.pool.connection() as db:
        await db.execute("SELECT 1")
    return JSONResponse({"status": "ok"})


class _Static(StaticFiles):
    """Built files. A name that changes with the content may be kept for ever, another is asked for again each hour."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keep = b"public, max-age=31536000, immutable" if _HASHED.search(scope["path"]) else b"public, max-age=3600"

        async def send_cached(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", keep)]
            await send(message)

        await super().__call__(scope, receive, send_cached)
