"""A workspace with a domain and two people, for tests of what belongs to mailboxes."""

from collections.abc import AsyncIterator, Iterator

import pytest
from dnsworld import Knot, knot_serving

from thurn.db.connect import Connection, connect
from thurn.mailhost import service
from thurn.settings import Settings

ANNA, XAVER = "anna@brotzeit.example", "xaver@brotzeit.example"


@pytest.fixture
async def db(clean: Settings) -> AsyncIterator[Connection]:
    """What the web application sees of workspace 1; each statement is committed at once."""
    db = await connect(clean, "app", autocommit=True)
    await db.execute("SELECT set_config('thurn.workspace', '1', false)")
    yield db
    await db.close()


@pytest.fixture
async def people(db: Connection, system: Connection, clean: Settings) -> None:
    """The domain brotzeit.example, which takes mail, with mailboxes of Anna and Xaver."""
    await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
    await system.execute("UPDATE domain SET proven_at = now()")
    for address in (ANNA, XAVER):
        await service.add_mailbox(db, 1, address=address)


@pytest.fixture(scope="module")
def knot() -> Iterator[Knot]:
    """A real primary name server, fresh for each module."""
    with knot_serving() as server:
        yield server
