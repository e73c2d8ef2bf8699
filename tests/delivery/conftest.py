"""A campaign in the database, without anything that sends it."""

from collections.abc import Awaitable, Callable

import pytest

from thurn.db.connect import Connection

MakeCampaign = Callable[..., Awaitable[int]]


@pytest.fixture
def make_campaign(system: Connection) -> MakeCampaign:
    """`await make_campaign(n=…, state=…)`: a campaign of workspace 1 to n new contacts on a list; returns its id."""

    async def make(n: int = 3, state: str = "launching", domain: str = "reader.example") -> int:
        found = await system.execute(
            "INSERT INTO campaign (workspace_id, name, from_address, state, kind, subject, source)"
            " VALUES (1, 'News', 'news@house.example', %s, 'markdown', 'Hello', 'Hi') RETURNING id",
            [state],
        )
        await system.execute(
            "INSERT INTO provider_domain (domain, provider) VALUES (%s, 'other') ON CONFLICT DO NOTHING", [domain]
        )
        campaign = (await found.fetchone() or {})["id"]
        await system.execute(
            """WITH l AS (INSERT INTO list (workspace_id, name) VALUES (1, %(name)s) RETURNING id),
                    c AS (INSERT INTO contact (workspace_id, email, fields)
                          SELECT 1, 'r' || i || '.' || %(campaign)s || '@' || %(domain)s, '{"first_name": "Ada"}'
                          FROM generate_series(1, %(n)s) i RETURNING id),
                    m AS (INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT l.id, c.id, 1 FROM l, c)
               INSERT INTO campaign_list (campaign_id, list_id, workspace_id) SELECT %(campaign)s, id, 1 FROM l""",
            {"name": f"List {campaign}", "campaign": campaign, "n": n, "domain": domain},
        )
        return int(campaign)

    return make
