"""A mailbox, its owner's session of the portal, and the guard as Roundcube asks it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from webmailworld import Guest, make_guest

from thurn.db.connect import Connection
from thurn.guard import daemons
from thurn.settings import Settings


@pytest.fixture
async def resi(system: Connection) -> Guest:
    """One."""
    return await make_guest(system, "resi@brotzeit.example")


@pytest.fixture
async def xaver(system: Connection) -> Guest:
    """Another."""
    return await make_guest(system, "xaver@brotzeit.example")


@pytest.fixture
async def guard(clean: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The guard, asked with the installation's secret."""
    app = daemons.create_app(clean)
    assert isinstance(app, daemons.Doorkeeper)
    inner = app._app
    headers = {"Authorization": f"Bearer {daemons.secret(clean)}"}
    transport = httpx.ASGITransport(app=app)
    async with (
        inner.router.lifespan_context(inner),  # type: ignore[attr-defined]
        httpx.AsyncClient(transport=transport, base_url="http://guard", headers=headers) as client,
    ):
        yield client
