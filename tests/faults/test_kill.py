"""Faults in the middle of a campaign: nobody is skipped, nobody gets it twice, by the receivers' own count.

`make faults` does the same with more people and more often, and rotates the log, cuts the network, fills the disk and
sets the clock.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from campaigns import accepted, launch, tallies, wait_until_accepted, wait_until_settled
from cases import run

from thurn.campaigns import service
from thurn.db.connect import connect
from thurn.db.fetch import one
from thurn.queue.service import hold
from thurn.settings import Settings

RECIPIENTS = 1000


@pytest.mark.stack
@pytest.mark.parametrize("case", ["sender", "out", "db", "worker", "feedback", "stack", "restart"])
async def test_a_fault_in_mid_campaign_skips_nobody_and_repeats_nobody(sending: Settings, case: str) -> None:
    count = await run(sending, case, RECIPIENTS, seed=1, times=1)
    assert (count.missing, count.duplicates) == (0, 0)


async def _last_hand_over(settings: Settings, campaign: int) -> datetime:
    async with await connect(settings, "system", autocommit=True) as db:
        row = await one(
            db, "SELECT max(at) AS at FROM event WHERE campaign_id = %s AND kind = 'handed_over'", [campaign]
        )
        assert isinstance(row["at"], datetime)
        return row["at"]


@pytest.mark.stack
async def test_pause_resume_and_cancel_act_within_two_seconds(sending: Settings) -> None:
    before = accepted(sending)
    campaign, _ = await launch(sending, 6000)
    wait_until_accepted(sending, before + 300)
    async with await connect(sending, "system") as db:
        await service.pause(db, 1, campaign)
    paused = datetime.now(UTC)
    await asyncio.sleep(4)  # what is being written down takes a moment, and nothing may follow it
    assert await _last_hand_over(sending, campaign) - paused < timedelta(seconds=2)
    handed = tallies(sending, campaign)["handed_over"]
    assert handed < 6000, "it was over before it was paused"
    async with await connect(sending, "system") as db:
        await service.resume(db, 1, campaign)
    resumed = datetime.now(UTC)
    first = None
    end = time.monotonic() + 180
    while first is None:  # it is written down a moment after it happened
        assert time.monotonic() < end, "nothing is sent after it was resumed"
        async with await connect(sending, "system", autocommit=True) as db:
            row = await one(
                db,
                "SELECT min(at) AS at FROM event WHERE campaign_id = %s AND kind = 'handed_over' AND at > %s",
                [campaign, resumed],
            )
        first = row["at"]
    assert first - resumed < timedelta(seconds=2)
    async with await connect(sending, "system") as db:
        await service.cancel(db, 1, campaign)
    cancelled = datetime.now(UTC)
    end = time.monotonic() + 180
    while True:
        async with await connect(sending, "system", autocommit=True) as db:
            row = await one(db, "SELECT finished_at FROM campaign WHERE id = %s", [campaign])
        if row["finished_at"]:
            break
        assert time.monotonic() < end, "the cancelled campaign does not end"
        await asyncio.sleep(0.2)
    assert await _last_hand_over(sending, campaign) - cancelled < timedelta(seconds=2)
    found = tallies(sending, campaign)
    assert found["handed_over"] + found["cancelled"] == 6000


@pytest.mark.stack
async def test_a_workspace_with_ten_does_not_wait_for_one_with_thousands(sending: Settings) -> None:
    async with await connect(sending, "system", autocommit=True) as db:
        row = await one(db, "INSERT INTO workspace (slug, name) VALUES ('inn', 'The Inn') RETURNING id", [])
        await hold(db)  # both begin in the same moment
    many, _ = await launch(sending, 3000)
    few, _ = await launch(sending, 10, workspace=row["id"], domain="inn.example")
    async with await connect(sending, "system", autocommit=True) as db:
        begun = "SELECT count(*) AS n FROM campaign WHERE state = 'sending' AND id = ANY(%s)"
        while (await one(db, begun, [[many, few]]))["n"] < 2:
            await asyncio.sleep(0.1)
        assert (tallies(sending, many).get("handed_over", 0), tallies(sending, few).get("handed_over", 0)) == (0, 0)
        await db.execute("DELETE FROM hold")
    wait_until_settled(sending, few, 10)
    wait_until_settled(sending, many, 3000)
    async with await connect(sending, "system", autocommit=True) as db:
        before = await one(
            db,
            """SELECT count(*) AS n FROM event WHERE campaign_id = %s AND kind = 'handed_over' AND at < (
                 SELECT max(at) FROM event WHERE campaign_id = %s AND kind = 'handed_over')""",
            [many, few],
        )
    assert before["n"] < 1000
