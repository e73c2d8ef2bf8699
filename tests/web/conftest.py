"""A web application in the test's own process, and clients that talk to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
from page_check import check

from thurn.accounts.service import create_account, create_api_key
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.mailhost.mailboxes import add_mailbox
from thurn.portal.sessions import start as start_mailbox_session
from thurn.settings import Settings
from thurn.web.app import Application, create_app

BASE = "http://thurn.test"
PASSWORD = "a long enough password"
Post = Callable[..., Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Site:
    """An application that serves, and ways to talk to it."""

    app: Application
    client: Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="session")
def application(settings: Settings) -> Application:
    """Made once: it takes most of a second, and so many would slow every garbage collection after them."""
    return create_app(settings)


@pytest.fixture
async def site(clean: Settings, application: Application) -> AsyncIterator[Site]:
    """The application with its pool open."""
    app = application

    def client(**options: object) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, **options)  # type: ignore[arg-type]

    before = dict(app.state._state)
    async with app.router.lifespan_context(app):
        yield Site(app, client)
    app.state._state.clear()
    app.state._state.update(before)


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
def post(signed_in: tuple[httpx.AsyncClient, SignedInAs], request: pytest.FixtureRequest) -> Post:
    """Sends a form of the test module's page, `PAGE`, or of what is below it."""
    client, session = signed_in

    async def send(path: str, **fields: str) -> httpx.Response:
        return await client.post(f"{request.module.PAGE}{path}", data={"csrf": session.csrf, **fields})

    return send


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


@dataclass(frozen=True)
class Owner:
    """The owner of a mailbox, in a browser that signed in to the portal."""

    browser: httpx.AsyncClient
    mailbox_id: int
    address: str
    token: str
    csrf: str

    async def get(self, path: str = "", status: int = 200) -> str:
        """A page of the portal, held against the rules of the house."""
        answer = await self.browser.get(f"/mailbox{path}")
        assert answer.status_code == status, answer.text
        if answer.headers.get("content-type", "").startswith("text/html"):
            check(answer.text)
        return answer.text

    async def post(self, path: str, status: int = 303, **fields: str) -> httpx.Response:
        """Send a form of the portal."""
        answer = await self.browser.post(f"/mailbox{path}", data={"csrf": self.csrf, **fields})
        assert answer.status_code == status, answer.text
        if answer.headers.get("content-type", "").startswith("text/html"):
            check(answer.text)
        return answer


@pytest.fixture
async def make_mailbox(system: Connection) -> Callable[..., Awaitable[int]]:
    """Mailboxes with password PASSWORD; their domain is made with the first."""

    async def make(address: str = "sepp@brotzeit.example", workspace: int = 1) -> int:
        name = address.partition("@")[2]
        await system.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES (%s, %s, %s, now())
               ON CONFLICT DO NOTHING""",
            [workspace, name, f"bounce.{name}"],
        )
        await add_mailbox(system, workspace, address=address, password=PASSWORD, name="Sepp Huber")
        row = await one(system, "SELECT id FROM mailbox WHERE address = %s", [address])
        return int(row["id"])

    return make


@pytest.fixture
async def make_owner(
    site: Site, system: Connection, make_mailbox: Callable[..., Awaitable[int]]
) -> AsyncIterator[Callable[..., Awaitable[Owner]]]:
    """Owners of mailboxes who signed in."""
    clients: list[httpx.AsyncClient] = []

    async def make(address: str = "sepp@brotzeit.example", workspace: int = 1) -> Owner:
        mailbox_id = await make_mailbox(address, workspace)
        session = await start_mailbox_session(system, workspace, mailbox_id)
        clients.append(site.client())
        clients[-1].cookies.set("thurn-mailbox", session.token, domain="thurn.test", path="/")
        return Owner(clients[-1], mailbox_id, address, session.token, session.csrf)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def sepp(make_owner: Callable[..., Awaitable[Owner]]) -> Owner:
    """sepp@brotzeit.example of workspace `main`."""
    return await make_owner()
