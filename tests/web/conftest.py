"""A web application in the test's own process, and clients that talk to it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest

from thurn.accounts.service import create_account, create_api_key
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.web.app import Application, create_app

BASE = "http://thurn.test"
PASSWORD = "a long enough password"


@dataclass(frozen=True)
class Site:
    """An application that serves, and ways to talk to it."""

    app: Application
    client: Callable[..., httpx.AsyncClient]


@pytest.fixture
async def site(clean: Settings) -> AsyncIterator[Site]:
    """The application with its pool open."""
    app = create_app(clean)

    def client(**options: object) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, **options)  # type: ignore[arg-type]

    async with app.router.lifespan_context(app):
        yield Site(app, client)


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that did not sign in."""
    async with site.client() as client:
        yield client


@pytest.fixture
def make_account(system: Connection) -> Callable[..., Awaitable[int]]:
    """Accounts of workspace `main` (or another), password PASSWORD."""

    async def make(email: str = "anna@brotzeit.example", role: str = "owner", workspace: int = 1) -> int:
        return await create_account(system, email=email, name="Anna", password=PASSWORD, workspace=workspace, role=role)

    return make


@pytest.fixture
async def signed_in(
    site: Site, system: Connection, make_account: Callable[..., Awaitable[int]]
) -> AsyncIterator[tuple[httpx.AsyncClient, SignedInAs]]:
    """A browser whose owner of workspace `main` signed in, and the session."""
    session = await start_session(system, account=await make_account())
    async with site.client(cookies={"thurn-session": session.token}) as client:
        yield client, session


@pytest.fixture
async def other_workspace(system: Connection) -> int:
    """A second workspace, `other`."""
    row = await (
        await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other') RETURNING id")
    ).fetchone()
    assert row is not None
    return int(row["id"])


@pytest.fixture
async def api(site: Site, system: Connection) -> AsyncIterator[httpx.AsyncClient]:
    """A program with a key of workspace `main`."""
    _, key = await create_api_key(system, 1, "test")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        yield client


def csrf_of(html: str) -> str:
    """The token in a page's form."""
    found = re.search(r'name="csrf"[^>]*value="([^"]+)"', html)
    assert found is not None, "the form carries no CSRF token"
    return found[1]
