"""An alert is raised once, shown until it is mended, and written about once each time."""

from typing import Any

from thurn.alerts import mended, notify, open_alerts
from thurn.db.connect import Connection, Pool, in_workspace
from thurn.db.fetch import rows
from thurn.reports.home import needs


async def mails(system: Connection) -> list[dict[str, Any]]:
    """What is to be written to the owners, as the job engine holds it."""
    found = await rows(system, "SELECT args FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners' ORDER BY id")
    return [row["args"] for row in found]


async def test_the_same_trouble_is_told_once_and_once_when_it_is_over(app_pool: Pool, system: Connection) -> None:
    async with in_workspace(app_pool, 1) as db:
        assert await notify(db, 1, "SPF broke", "It lacks us.\n\nMore.", "spf", link="domains/a.example", act="Look")
        assert not await notify(db, 1, "SPF broke", "Still.", "spf")
        (need,) = await needs(db)
        assert (need.what, need.why, need.link) == ("SPF broke", "It lacks us.", "domains/a.example")
    assert [mail["subject"] for mail in await mails(system)] == ["SPF broke"]
    async with in_workspace(app_pool, 1) as db:
        assert await mended(db, 1, "spf", subject="SPF is right again", text="Good.")
        assert not await mended(db, 1, "spf", subject="SPF is right again", text="Good.")
        assert await open_alerts(db) == []
    assert [mail["subject"] for mail in await mails(system)] == ["SPF broke", "SPF is right again"]
    async with in_workspace(app_pool, 1) as db:
        assert await notify(db, 1, "SPF broke", "Again.", "spf")


async def test_nothing_is_told_when_the_transaction_fails(app_pool: Pool, system: Connection) -> None:
    try:
        async with in_workspace(app_pool, 1) as db:
            await notify(db, 1, "SPF broke", "It lacks us.", "spf")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert await mails(system) == []


async def test_one_workspace_does_not_see_the_alerts_of_another(app_pool: Pool, system: Connection) -> None:
    cursor = await system.execute("INSERT INTO workspace (slug, name) VALUES ('b', 'B') RETURNING id")
    other = (await cursor.fetchone() or {})["id"]
    async with in_workspace(app_pool, other) as db:
        await notify(db, other, "Theirs", "Theirs alone.", "x")
    async with in_workspace(app_pool, 1) as db:
        assert await open_alerts(db) == []
