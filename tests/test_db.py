"""The schema and the wall between tenants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout

from thurn.db.connect import DATABASE, Connection, Pool, in_workspace, make_pool
from thurn.settings import Settings


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


async def test_functions_with_the_owners_rights_are_for_those_who_need_them(system: Connection, app_pool: Pool) -> None:
    found = await system.execute(
        """SELECT proname, proconfig, has_function_privilege('thurn_app', oid, 'EXECUTE') AS app,
                  has_function_privilege('thurn_postfix', oid, 'EXECUTE') AS postfix
           FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"""
    )
    functions = {row["proname"]: row for row in await found.fetchall()}
    # pg_temp last: else a temporary table of the caller is read with the owner's rights.
    assert all(row["proconfig"] == ["search_path=public, pg_temp"] for row in functions.values())
    before_signing_in = {
        "api_key_workspace",
        "feed_of_hook",
        "hosted_domain",
        "mailbox_door",
        "mailbox_session_door",
        "note_sign_in",
    }
    # Figures over all workspaces, never people; but whom a lost machine was about.
    for_operators = {"queue_campaigns", "queue_lanes", "queue_reasons", "node_figures", "node_lose", "node_people"}
    assert {name for name, row in functions.items() if row["app"]} == before_signing_in | for_operators
    assert not any(row["postfix"] for row in functions.values())


@pytest.fixture
async def locked_out(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Pool, Callable[[], None]]]:
    """A pool with a patience of four seconds whose server is away, and what brings it back."""
    door = tmp_path / "run"
    url = make_conninfo(host=str(door), port=settings.database_port, dbname=DATABASE)
    pool = make_pool(settings.model_copy(update={"database_url": url}), "system", size=2, patience=4.0)
    await pool.open(wait=False)
    yield pool, lambda: door.symlink_to(settings.state / "db" / "run")
    await pool.close()


async def test_a_pool_has_a_connection_soon_after_its_server_was_away_for_long(
    locked_out: tuple[Pool, Callable[[], None]],
) -> None:
    pool, back = locked_out
    with pytest.raises(PoolTimeout):
        async with pool.connection():
            pass
    await asyncio.sleep(4)  # left to itself the pool would pause for eight seconds now
    back()
    async with pool.connection(timeout=3) as db:
        assert await (await db.execute("SELECT 1 AS one")).fetchone() == {"one": 1}


async def test_who_waits_alone_is_served_when_the_server_is_back(locked_out: tuple[Pool, Callable[[], None]]) -> None:
    pool, back = locked_out
    asyncio.get_running_loop().call_later(5, back)  # by then the pool has given up more than once
    async with pool.connection(timeout=30) as db:
        assert await (await db.execute("SELECT 1 AS one")).fetchone() == {"one": 1}
