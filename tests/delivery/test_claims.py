"""Snapshot, claim and fold against a real database."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from thurn.campaigns.progress import reasons
from thurn.campaigns.snapshot import _IN_ORDER, _MEMBERS, cancel_rest, finish, snapshot, sweep_cancelled
from thurn.db.connect import Connection, connect
from thurn.delivery.claims import Lane, begin_life, claim, open_lanes
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.delivery.reconcile import leases_of
from thurn.settings import Settings

MakeCampaign = Callable[..., Awaitable[int]]
LANE = "other"


async def one(db: Connection, query: str, *values: object) -> object:
    row = await (await db.execute(query, values)).fetchone()  # type: ignore[arg-type]  # test queries are constants
    assert row is not None
    return next(iter(row.values()))


async def states(db: Connection, campaign: int) -> dict[str, int]:
    rows = await db.execute(
        "SELECT state::text AS s, count(*) AS n FROM delivery WHERE campaign_id = %s GROUP BY 1", [campaign]
    )
    return {row["s"]: row["n"] async for row in rows}


async def tallies(db: Connection, campaign: int) -> dict[str, int]:
    rows = await db.execute("SELECT measure, n FROM campaign_tally WHERE campaign_id = %s AND n <> 0", [campaign])
    return {row["measure"]: row["n"] async for row in rows}


async def test_a_snapshot_takes_everybody_once_in_any_number_of_chunks(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(25)
    await system.execute("UPDATE contact SET unsubscribed_at = now() WHERE email LIKE 'r1.%%'")
    await system.execute(
        "INSERT INTO suppression (workspace_id, address, reason) VALUES (1, %s, 'bounce')",
        [f"r2.{campaign}@reader.example"],
    )
    await snapshot(system, campaign, clean, chunk=7)
    assert await states(system, campaign) == {"queued": 23}
    assert await one(system, "SELECT recipients FROM campaign WHERE id = %s", campaign) == 23
    await system.execute("UPDATE campaign SET state = 'launching', launch_cursor = 0 WHERE id = %s", [campaign])
    await snapshot(system, campaign, clean, chunk=10)
    assert await states(system, campaign) == {"queued": 23}
    assert await tallies(system, campaign) == {"recipients": 23}


async def test_two_senders_never_claim_the_same_delivery(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(200)
    await snapshot(system, campaign, clean)
    lane = Lane(1, campaign, LANE)

    async def take(life: int) -> list[int]:
        async with await connect(clean, "system", autocommit=True) as db:
            mine: list[int] = []
            while claims := await claim(db, lane, life, 7):
                mine += [c.delivery for c in claims]
            return mine

    lives = [await begin_life(system, "main") for _ in range(4)]
    taken = await asyncio.gather(*map(take, lives))
    together = [d for mine in taken for d in mine]
    assert len(together) == len(set(together)) == 200


async def test_who_left_after_the_snapshot_is_left_out_at_the_claim(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(4)
    await snapshot(system, campaign, clean)
    await system.execute("UPDATE contact SET unsubscribed_at = now() WHERE email LIKE 'r1.%%'")
    await system.execute("DELETE FROM contact WHERE email LIKE 'r2.%%'")
    await system.execute(
        "INSERT INTO suppression (workspace_id, address, reason) VALUES (1, %s, 'complaint')",
        [f"r3.{campaign}@reader.example"],
    )
    claims = await claim(system, Lane(1, campaign, LANE), await begin_life(system, "main"), 10)
    assert [c.recipient for c in claims] == [f"r4.{campaign}@reader.example"]
    await fold(system)
    assert await states(system, campaign) == {"leased": 1, "suppressed": 3}
    assert (await tallies(system, campaign))["suppressed"] == 3


async def test_a_paused_campaign_is_not_claimed_and_opens_no_lane(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(3)
    await snapshot(system, campaign, clean)
    assert [lane.campaign for lane in await open_lanes(system)] == [campaign]
    await system.execute("UPDATE campaign SET state = 'paused' WHERE id = %s", [campaign])
    assert await open_lanes(system) == []
    assert await claim(system, Lane(1, campaign, LANE), 1, 10) == []


async def test_outcomes_are_folded_once_into_ledger_events_rollup_and_suppression(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(3)
    await snapshot(system, campaign, clean)
    a, b, c = [x.delivery for x in await claim(system, Lane(1, campaign, LANE), await begin_life(system, "main"), 10)]
    now = datetime.now(UTC)
    await append(
        system,
        [
            Outcome(campaign, a, "handed_over", now, 1, "Q1"),
            Outcome(campaign, a, "handed_over", now, queue_id="Q1", source="log"),
            Outcome(campaign, a, "delivered", now, source="log", reply="250 ok"),
            Outcome(campaign, b, "deferred", now, category="greylisted", reply="451 later\0\udcff", source="log"),
            Outcome(campaign, b, "delivered", now, source="log"),
            Outcome(campaign, c, "bounced", now, category="unknown-address", hard=True, reply="550 no", source="log"),
            Outcome(campaign, 999_999, "delivered", now, source="log"),
        ],
    )
    assert await fold(system) == 7
    assert await fold(system) == 0
    assert await states(system, campaign) == {"delivered": 2, "bounced": 1}
    assert await tallies(system, campaign) == {
        "recipients": 3,
        "handed_over": 3,
        "delivered": 2,
        "deferred_then_delivered": 1,
        "bounced_hard": 1,
    }
    kinds = [r["kind"] async for r in await system.execute("SELECT kind FROM event ORDER BY id")]
    assert sorted(kinds) == ["bounced", "deferred", "delivered", "delivered", "handed_over"]
    assert await one(system, "SELECT address FROM suppression") == f"r3.{campaign}@reader.example"
    assert await finish(system) == [campaign]


async def test_a_cancelled_campaign_marks_only_who_was_not_claimed(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(10)
    await snapshot(system, campaign, clean)
    await claim(system, Lane(1, campaign, LANE), await begin_life(system, "main"), 4)
    assert await cancel_rest(system, campaign, chunk=3) == 6
    assert await states(system, campaign) == {"leased": 4, "cancelled": 6}


async def test_what_comes_back_after_a_cancel_is_cancelled_too_and_the_campaign_ends(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(3)
    await snapshot(system, campaign, clean)
    mine = await claim(system, Lane(1, campaign, LANE), await begin_life(system, "main"), 2)
    await system.execute("UPDATE campaign SET state = 'cancelled' WHERE id = %s", [campaign])
    await cancel_rest(system, campaign)
    assert await sweep_cancelled(system) == []
    now = datetime.now(UTC)
    gone, back = [c.delivery for c in mine]
    await append(system, [Outcome(campaign, back, "returned", now, 1), Outcome(campaign, gone, "handed_over", now, 1)])
    await fold(system)
    assert await states(system, campaign) == {"queued": 1, "handed_over": 1, "cancelled": 1}
    assert await sweep_cancelled(system) == [campaign]
    assert await states(system, campaign) == {"handed_over": 1, "cancelled": 2}
    assert (await tallies(system, campaign))["cancelled"] == 2
    assert await sweep_cancelled(system) == []


async def test_who_joins_a_list_after_the_snapshot_is_not_reached_by_pausing_and_resuming(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(3)
    await snapshot(system, campaign, clean)
    await system.execute(
        """WITH c AS (INSERT INTO contact (workspace_id, email) VALUES (1, 'late@reader.example') RETURNING id)
           INSERT INTO list_member (list_id, contact_id, workspace_id)
           SELECT cl.list_id, c.id, 1 FROM campaign_list cl, c WHERE cl.campaign_id = %s""",
        [campaign],
    )
    await system.execute("UPDATE campaign SET state = 'launching' WHERE id = %s", [campaign])
    await snapshot(system, campaign, clean)
    assert await states(system, campaign) == {"queued": 3}
    assert await one(system, "SELECT state FROM campaign WHERE id = %s", campaign) == "sending"


async def test_a_returned_delivery_is_claimed_again_with_another_attempt(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(1)
    await snapshot(system, campaign, clean)
    life = await begin_life(system, "main")
    (first,) = await claim(system, Lane(1, campaign, LANE), life, 10)
    assert [u.delivery for u in await leases_of(system, [life])] == [first.delivery]
    await append(system, [Outcome(campaign, first.delivery, "returned", datetime.now(UTC), first.attempt)])
    await fold(system)
    (second,) = await claim(system, Lane(1, campaign, LANE), life, 10)
    assert (second.delivery, second.attempt) == (first.delivery, 2)


async def test_the_claim_and_the_lanes_use_the_partial_index_however_large_the_ledger_is(
    clean: Settings, system: Connection, make_campaign: MakeCampaign, analyze: Callable[[str], None]
) -> None:
    campaign = await make_campaign(3000)
    await snapshot(system, campaign, clean)
    analyze("delivery")
    plan = await (
        await system.execute(
            """EXPLAIN SELECT d.id FROM delivery d WHERE d.campaign_id = %s AND d.provider = 'other'
               AND d.state = 'queued' AND d.send_at <= now()
               ORDER BY d.send_at, d.id LIMIT 100 FOR UPDATE SKIP LOCKED""",
            [campaign],
        )
    ).fetchall()
    text = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert "Index Scan using delivery_" in text
    assert "Seq Scan" not in text
    assert "Sort" not in text


async def test_why_mails_came_back_is_told_without_reading_all_that_arrived(
    clean: Settings, system: Connection, make_campaign: MakeCampaign, analyze: Callable[[str], None]
) -> None:
    campaign = await make_campaign(3000)
    await snapshot(system, campaign, clean)
    await system.execute("UPDATE delivery SET state = 'delivered'")
    await system.execute("UPDATE delivery SET state = 'bounced', category = 'full' WHERE id % 300 = 0")
    analyze("delivery")
    assert [reason.n for reason in await reasons(system, campaign)] == [10]
    plan = await (
        await system.execute(
            """EXPLAIN SELECT count(*) FROM delivery
               WHERE campaign_id = %s AND state IN ('deferred', 'bounced', 'failed')""",
            [campaign],
        )
    ).fetchall()
    text = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert "Seq Scan" not in text
    # Named after the partition; the ledger's other indexes name a second column.
    assert "_campaign_id_idx" in text


async def test_a_chunk_of_the_snapshot_reads_its_own_members_and_not_all_that_are_left(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(30_000)
    async with system.transaction():
        await system.execute(_IN_ORDER)
        rows = await (
            await system.execute(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {_MEMBERS}",
                {"campaign": campaign, "cursor": 0, "chunk": 100},
            )
        ).fetchall()
    plan = rows[0]["QUERY PLAN"][0]["Plan"]

    def most(node: dict[str, Any]) -> int:
        return max([node["Actual Rows"], *map(most, node.get("Plans", []))])

    assert most(plan) <= 101, json.dumps(plan, indent=1)


async def test_a_snapshot_of_several_lists_takes_each_person_once_whatever_the_chunk(
    clean: Settings, system: Connection, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(50)
    # Two more lists: every third of them, and every second in the upper half.
    for condition in ("c.id %% 3 = 0", "c.id %% 2 = 0 AND c.id > 25"):
        await system.execute(
            f"""WITH l AS (INSERT INTO list (workspace_id, name) VALUES (1, %(c)s) RETURNING id),
                     m AS (INSERT INTO list_member (list_id, contact_id, workspace_id)
                           SELECT l.id, c.id, 1 FROM l, contact c WHERE {condition})
                INSERT INTO campaign_list (campaign_id, list_id, workspace_id) SELECT %(n)s, id, 1 FROM l""",  # noqa: S608
            {"c": condition, "n": campaign},
        )
    await snapshot(system, campaign, clean, chunk=7)
    assert await states(system, campaign) == {"queued": 50}
