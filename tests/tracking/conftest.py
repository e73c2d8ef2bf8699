"""A campaign with deliveries, its links, and tokens for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from thurn.db.connect import Connection
from thurn.mail.tokens import TrackingTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.tracking.spool import directory

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """A campaign that was delivered an hour ago."""

    campaign: int
    deliveries: list[int]
    contacts: list[int]
    tokens: TrackingTokens

    def token(self, purpose: str, n: int = 0, link: int = 0) -> str:
        return self.tokens.make(purpose, 1, self.campaign, self.deliveries[n], link)


@pytest.fixture(autouse=True)
def empty_spool(settings: Settings) -> Iterator[None]:
    """Nothing is left over from the test before, here or in another file."""
    _empty(settings)
    yield
    _empty(settings)


def _empty(settings: Settings) -> None:
    for path in directory(settings.state).glob("*"):
        path.unlink()


@pytest.fixture
async def sent(clean: Settings, system: Connection) -> Sent:
    """20 recipients, three links."""

    async def one(query: str, *values: object) -> int:
        row = await (await system.execute(query, values)).fetchone()
        assert row is not None
        number = row["id"]
        assert isinstance(number, int)
        return number

    campaign = await one(
        """INSERT INTO campaign (workspace_id, name, from_name, from_address, state)
           VALUES (1, 'May', 'Bakery <Huber>', 'news@huber.example', 'sent') RETURNING id"""
    )
    links = ["https://huber.example/", "https://huber.example/brot?a=1&b=ä", "https://huber.example/x\r\nX-Evil: 1"]
    for number, url in enumerate(links, start=1):
        await system.execute("INSERT INTO campaign_link VALUES (%s, %s, 1, %s)", [campaign, number, url])
    contacts, deliveries = [], []
    delivered = datetime.now(UTC) - timedelta(hours=1)
    for n in range(20):
        contact = await one(
            "INSERT INTO contact (workspace_id, email) VALUES (1, %s) RETURNING id", f"p{n}@gmail.example"
        )
        contacts.append(contact)
        deliveries.append(
            await one(
                """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state,
                                         handed_over_at, settled_at)
                   VALUES (%s, 1, %s, %s, 'google', 'delivered', %s, %s) RETURNING id""",
                campaign,
                contact,
                f"p{n}@gmail.example",
                delivered,
                delivered,
            )
        )
    return Sent(campaign, deliveries, contacts, TrackingTokens(Secrets(clean.state).derive("tracking")))
