"""The schema and the wall between tenants."""

import psycopg
import pytest

from thurn.db.connect import Connection, Pool, in_workspace


async def test_a_workspace_sees_only_its_own_rows(system: Connection, app_pool: Pool) -> None:
    await system.execute("INSERT INTO workspace (slug, name) VALUES ('other', 'Other')")
    other = (await (await system.execute("SELECT id FROM workspace WHERE slug = 'other'")).fetchone() or {})["id"]
    await system.execute(
        "INSERT INTO contact (workspace_id, email) VALUES (1, 'a@x.example'), (%s, 'b@x.example')", [other]
    )
    async with in_workspace(app_pool, 1) as db:
        assert [r["email"] for r in await (await db.execute("SELECT email FROM contact")).fetchall()] == ["a@x.example"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with in_workspace(app_pool, 1) as db:
            await db.execute("INSERT INTO contact (workspace_id, email) VALUES (%s, 'c@x.example')", [other])


async def test_without_a_workspace_nothing_is_seen(system: Connection, app_pool: Pool) -> None:
    await system.execute("INSERT INTO contact (workspace_id, email) VALUES (1, 'a@x.example')")
    async with app_pool.connection() as db:
        assert await (await db.execute("SELECT 1 FROM contact")).fetchall() == []
