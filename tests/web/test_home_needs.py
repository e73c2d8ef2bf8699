"""What the home page asks a person to do about complaints."""

import pytest

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.reports.home import needs


@pytest.mark.parametrize(
    ("delivered", "complained", "level"),
    [(2000, 8, "bad"), (4000, 5, "warn"), (10_000, 5, None), (100, 4, None), (0, 0, None)],
)
async def test_too_many_complaints_need_a_person(
    system: Connection, app_pool: Pool, delivered: int, complained: int, level: str | None
) -> None:
    await system.execute(
        """INSERT INTO campaign (workspace_id, name, from_address, state, started_at, recipients)
           VALUES (1, 'Stollen', 'a@x.example', 'sent', now(), 10000)"""
    )
    for measure, n in (("delivered", delivered), ("complained", complained)):
        await system.execute("INSERT INTO campaign_tally VALUES (1, 1, 'google', %s, %s)", [measure, n])
    async with in_workspace(app_pool, 1) as db:
        found = await needs(db)
    assert [need.level for need in found] == ([level] if level else [])
