"""What a batch reads of the ledger, whatever PostgreSQL knows about it (docs/decisions/0026-plans.md)."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection
from thurn.delivery import claims, fold
from thurn.delivery.claims import by_index
from thurn.delivery.sender import Sender
from thurn.settings import Settings

MakeCampaign = Callable[..., Awaitable[int]]
PEOPLE, BATCH = 10_000, 100
FACTS = ("delivered", 0, datetime(2026, 1, 1, tzinfo=UTC), None, None, None, "250 ok", False, False, 0)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def numbered(query: str) -> str:
    """With $1, $2 … for psycopg's names or, in their order, its places."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1] or f"place {len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%(?:\((\w+)\))?s", number, query).replace("%%", "%")


async def rows_read(db: Connection, mode: str, query: str, *values: object) -> dict[str, int]:
    """Rows of each table that the prepared statement looks at; nothing of what it does stays."""
    await db.execute(f"SET plan_cache_mode = {mode}")  # type: ignore[arg-type]
    async with db.transaction(force_rollback=True):
        await db.execute(f"PREPARE batch AS {numbered(query)}")  # type: ignore[arg-type]
        given = sql.SQL(", ").join(map(sql.Literal, values))
        done = await db.execute(sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE batch ({})").format(given))
        plan = (await done.fetchall())[0]["QUERY PLAN"]
        await db.execute("DEALLOCATE batch")
    read: dict[str, int] = {}
    for node in nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]):
        if "Scan" in node["Node Type"] and "Relation Name" in node:
            looked = node["Actual Rows"] + sum(n for name, n in node.items() if name.startswith("Rows Removed by"))
            table = node["Relation Name"].partition("_")[0]
            read[table] = read.get(table, 0) + round(looked * node["Actual Loops"])
    return read


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_batch_reads_its_own_rows(
    clean: Settings, system: Connection, make_campaign: MakeCampaign, analyze: Callable[[str], None], mode: str,
    known: bool,
) -> None:  # fmt: skip
    campaign = await make_campaign(PEOPLE)
    await snapshot(system, campaign, clean)
    if known:
        analyze("delivery, contact")
    found = await system.execute("SELECT id FROM delivery ORDER BY hashtext(id::text) LIMIT %s", [BATCH])
    ids = [row["id"] async for row in found]

    for query, values in (
        (fold._LOOK, (campaign, ids)),
        (fold._WRITE, (ids, *([fact] * BATCH for fact in FACTS), campaign)),
    ):
        read = await rows_read(system, mode, query, *values)
        assert 0 < read["delivery"] <= BATCH, query

    await by_index(system)
    await system.execute(
        """INSERT INTO outcome (campaign_id, delivery_id, kind, at, source)
           SELECT campaign_id, id, 'delivered', now(), 'log' FROM delivery"""
    )
    read = await rows_read(system, mode, fold._TAKE, BATCH)
    assert 0 < read["outcome"] <= 2 * BATCH, "found, then taken out"

    places = {"campaign": campaign, "provider": "other", "limit": BATCH, "life": 1, "egress": 1}
    order = dict.fromkeys(re.findall(r"%\((\w+)\)s", claims._CLAIM))
    read = await rows_read(system, mode, claims._CLAIM, *(places[name] for name in order))
    assert 0 < read["delivery"] <= 2 * BATCH, "found, then written"
    assert 0 < read["contact"] <= BATCH


async def test_who_claims_and_who_folds_goes_by_the_index(clean: Settings, system: Connection) -> None:
    async with system.transaction():
        await fold.fold(system)
        assert await setting(system) == "off"
    assert await setting(system) == "on"
    sender = Sender(clean)
    sender._stop()
    await sender._claim(system)
    assert await setting(system) == "off"


async def setting(db: Connection) -> str:
    row = await (await db.execute("SHOW enable_seqscan")).fetchone()
    return str((row or {})["enable_seqscan"])


async def explained(system: Connection, query: str, values: dict[str, object]) -> str:
    rows = await (await system.execute("EXPLAIN " + query, values)).fetchall()  # type: ignore[arg-type]
    return "\n".join(str(row["QUERY PLAN"]) for row in rows)


async def test_a_claim_reads_the_index_and_as_many_rows_as_it_takes(
    clean: Settings, system: Connection, make_campaign: MakeCampaign, analyze: Callable[[str], None]
) -> None:
    campaign = await make_campaign(4000)
    await snapshot(system, campaign, clean)
    await system.execute("UPDATE delivery SET state = 'delivered' WHERE id % 10 <> 0")
    analyze("delivery")
    await claims.by_index(system)
    values = {"campaign": campaign, "provider": "other", "life": 1, "limit": 100, "egress": 1}
    plan = await explained(system, claims._CLAIM, values)
    assert "Index Scan using delivery_" in plan
    for text in (plan, await explained(system, claims._WAITING, {})):
        assert "Seq Scan on delivery" not in text
        assert "Sort Key: d." not in text
