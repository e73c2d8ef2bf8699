"""Whole warm-ups in minutes: real claims, caps, fold and decisions, days that the test turns."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from warmupworld import NOON, TICK, World, order_of

from thurn.db.connect import connect
from thurn.db.fetch import one, rows
from thurn.delivery.claims import _DUE, _FIRST, _LAST, Claim, Lane, by_index, claim
from thurn.delivery.claims import Lane as Waiting
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.relays import service as relays
from thurn.settings import Settings
from thurn.warmup import service, store
from thurn.warmup.simulate import Road, forecast

InPool = Callable[..., Any]
CURVE = (5, 10, 20, 40)


async def test_a_new_address_sends_its_curve_at_each_provider_the_most_engaged_first_and_nobody_is_lost(
    world: World, in_pool: InPool
) -> None:
    await in_pool("e2")
    await service.start(world.db, "e2", curve=CURVE)
    campaign = await world.launch(google=60, yahoo=25, other=12)
    await world.until_sent(campaign)
    assert world.by_day("google") == [5, 10, 20, 25]
    assert world.by_day("yahoo") == [5, 10, 10]
    assert world.by_day("other") == [5, 7]
    await world.caps_kept()
    await world.nobody_lost(campaign)
    for provider in ("google", "yahoo", "other"):
        first = min(20, len(order_of(world.sent, provider)))
        assert order_of(world.sent, provider)[:first] == list(range(1, first + 1)), "by how lately they read"
    google = [at for at, _, each in world.sent if each.provider == "google"]
    assert google[4] - google[0] > timedelta(hours=5), "a cap is no burst"
    # What the simulation has said at the start is what has happened.
    for provider, n in (("google", 60), ("yahoo", 25), ("other", 12)):
        said = forecast(n, [Road("e2", 600, CURVE)], NOON)
        assert [day.total for day in said.days] == world.by_day(provider)
        last = max(at for at, _, each in world.sent if each.provider == provider)
        assert said.until is not None
        assert last <= said.until <= last + timedelta(hours=1), f"{provider}: told to the hour, and not too early"
    steps = {row["provider"]: row["step"] for row in await service.listed(world.db)}
    assert (steps["google"], steps["yahoo"], steps["apple"]) == (4, 3, 1), "a day without mail does not count"


async def test_above_the_cap_a_warm_address_carries_the_rest_the_same_day_and_leaves_it_the_engaged(
    world: World, in_pool: InPool
) -> None:
    await in_pool("e1", "e2")
    await service.start(world.db, "e2", curve=CURVE)
    campaign = await world.launch(google=60)
    await world.until_sent(campaign, days=1)
    new = [each for _, by, each in world.sent if by == 2]
    assert (world.by_day("google", 2), world.by_day("google", 1)) == ([5], [55])
    assert order_of([(NOON, 2, each) for each in new], "google") == [1, 2, 3, 4, 5]
    warm = [at for at, by, _ in world.sent if by == 1]
    assert max(warm) - min(warm) <= 4 * TICK, "they did not have to wait for the address that warms up"
    await world.caps_kept()
    await world.nobody_lost(campaign)


async def test_a_relay_behind_a_new_address_takes_over_or_does_not_as_the_plan_says(
    clean: Settings, world: World, in_pool: InPool
) -> None:
    await relays.add(world.db, relays.Relay("a.example"), settings=clean, use="none")
    await in_pool(e2=2, r1=3)
    await service.start(world.db, "e2", curve=CURVE, overflow="wait")
    relay = (await one(world.db, "SELECT id FROM egress WHERE name = 'r1'"))["id"]
    campaign = await world.launch(google=30)
    await world.until(NOON + timedelta(hours=14))
    assert (world.by_day("google", 2)[0], world.by_day("google", relay)) == (5, [])
    await service.change(world.db, "e2", "google", overflow="pool")
    await world.until_sent(campaign, days=1)
    assert sum(world.by_day("google", relay)) >= 10
    await world.caps_kept()
    await world.nobody_lost(campaign)


async def test_a_suspended_new_address_holds_nobody_back(world: World, in_pool: InPool) -> None:
    await in_pool("e1", "e2")
    await service.start(world.db, "e2", curve=CURVE)
    await world.db.execute("INSERT INTO pace (egress_id, provider, suspended_until) VALUES (2, 'google', 'infinity')")
    campaign = await world.launch(google=20)
    await world.until_sent(campaign, days=1)
    assert world.by_day("google", 1) == [20]
    assert world.at - NOON <= 4 * TICK


def complaining(*days: date) -> Callable[[Claim, date], Sequence[dict[str, Any]]]:
    """Every second reader calls it spam on these days."""

    def answer(claimed: Claim, day: date) -> Sequence[dict[str, Any]]:
        taken = {"kind": "delivered"}
        return (taken, {"kind": "complained"}) if day in days and claimed.delivery % 2 else (taken,)

    return answer


async def test_complaints_pause_it_a_day_back_it_says_so_and_goes_on_after_quiet_days(
    world: World, in_pool: InPool
) -> None:
    await in_pool("e2")
    await service.start(world.db, "e2", curve=CURVE)
    second = NOON.date() + timedelta(days=1)
    world.answer = complaining(second)
    campaign = await world.launch(google=80, yahoo=30)
    await world.until(NOON + timedelta(hours=30))
    plan = await service.get(world.db, "e2", "google")
    assert (plan["state"], plan["cap"], plan["left"]) == ("paused", 5, max(0, 5 - plan["sent"]))
    assert "called it spam" in plan["reason"]
    alert = await one(world.db, "SELECT subject, text, link FROM alert WHERE key = 'warmup:e2:google'")
    assert alert["subject"] == "The warm-up of e2 at Gmail was paused"
    assert "No mail is lost" in alert["text"]
    mails = await rows(
        world.db, "SELECT args->>'text' AS text FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'"
    )
    assert all("Gmail" in mail["text"] or "Yahoo" in mail["text"] for mail in mails)
    assert mails
    await world.until_sent(campaign, days=20)
    # Five on the first day; on the second it paused at once and kept to five; grown again after two quiet days.
    google = world.by_day("google")
    assert (google[0], google[1] <= 10, google[2:6]) == (5, True, [5, 5, 5, 10])
    deeds = [deed["what"] for deed in await service.deeds(world.db, plan)]
    assert deeds[::-1][:4] == ["started", "grown", "paused", "held"]
    assert "resumed" in deeds
    assert await rows(world.db, "SELECT 1 FROM alert WHERE cleared_at IS NULL") == []
    await world.nobody_lost(campaign)


async def test_bounces_and_deferrals_pause_it_too_but_greylisting_does_not(world: World, in_pool: InPool) -> None:
    await in_pool("e2")
    await service.start(world.db, "e2", curve=(60, 90))
    said: dict[str, dict[str, Any]] = {
        "google": {"kind": "bounced", "hard": True, "category": "unknown-address"},
        "yahoo": {"kind": "deferred", "category": "rate-limited"},
        "gmx": {"kind": "deferred", "category": "greylisted"},
    }

    def answer(claimed: Claim, day: date) -> Sequence[dict[str, Any]]:
        del day
        trouble = said.get(claimed.provider)
        return ({"kind": "delivered"},) if trouble is None or claimed.delivery % 2 else (trouble,)

    world.answer = answer
    await world.launch(google=60, yahoo=60, gmx=60, apple=60)
    await world.until(NOON + timedelta(hours=11))
    states = {row["provider"]: (row["state"], row["reason"]) for row in await service.listed(world.db)}
    assert states["google"][0] == "paused"
    assert "does not exist" in states["google"][1]
    assert states["yahoo"][0] == "paused"
    assert "asks for less" in states["yahoo"][1]
    assert (states["gmx"][0], states["apple"][0]) == ("running", "running")


async def test_whoever_was_asleep_at_midnight_a_warming_address_has_its_last_cap(
    clean: Settings, world: World, in_pool: InPool
) -> None:
    await in_pool("e2")
    await service.start(world.db, "e2", curve=CURVE)
    campaign = await world.launch(google=60)
    await world.tick()
    await world.db.execute("UPDATE test_clock SET at = %s", [NOON.replace(tzinfo=None) + timedelta(days=9)])
    await world.board.read(world.db, "main", frozenset({"e1", "e2"}))
    assert world.board.lanes[2, "google"].cap_left == 5, "also where nobody has written today's"

    async def take() -> int:
        async with await connect(clean, "system", autocommit=True) as db:
            return sum([len(await claim(db, Lane(1, campaign, "google"), world.life, 4, 2)) for _ in range(4)])

    assert sum(await asyncio.gather(*(take() for _ in range(4)))) == 5
    await world.db.execute("UPDATE test_clock SET at = at + interval '1 day'")
    assert await store.step(world.db) == len(service.EVERY)
    assert (await service.get(world.db, "e2", "google"))["cap"] == 10, "ten days are one step"
    assert await store.step(world.db) == 0


async def test_no_worker_for_days_and_every_day_still_has_a_cap(world: World) -> None:
    await service.start(world.db, "e2", curve=CURVE)
    days = await rows(world.db, "SELECT day, cap FROM day_cap WHERE provider = 'google' ORDER BY day")
    assert [(row["day"] - NOON.date()).days for row in days] == [0, 1, 2, 3]
    assert {row["cap"] for row in days} == {5}, "nobody has decided that it may grow"


async def test_the_end_of_the_curve_and_a_stop_take_the_cap_away(world: World, in_pool: InPool) -> None:
    await in_pool("e2")
    await service.start(world.db, "e2", curve=(5,), providers=["google", "yahoo"])
    await service.stop(world.db, "e2", "yahoo")
    campaign = await world.launch(google=30, yahoo=30)
    await world.until_sent(campaign, days=3)
    assert (world.by_day("google"), world.by_day("yahoo")) == ([5, 25], [30])
    states = {row["provider"]: row["state"] for row in await service.listed(world.db)}
    assert states == {"google": "done", "yahoo": "off"}
    left = await rows(world.db, "SELECT 1 FROM day_cap WHERE day >= (SELECT day FROM sending_day())")
    assert left == []


async def test_complaints_that_come_twice_or_about_nothing_that_warms_up_change_nothing(
    world: World, in_pool: InPool
) -> None:
    await in_pool("e1")
    campaign = await world.launch(google=10)
    await world.until_sent(campaign)
    assert await rows(world.db, "SELECT 1 FROM warmup_day") == []
    await service.start(world.db, "e1", curve=CURVE)
    one_of_them = world.sent[0][2].delivery
    for _ in range(2):
        await append(world.db, [Outcome(campaign, one_of_them, "complained", datetime.now(NOON.tzinfo), source="mail")])
        await fold(world.db)
    assert [row["complained"] for row in await rows(world.db, "SELECT complained FROM warmup_day")] == [1]


async def test_both_ends_of_the_queue_are_taken_by_the_index_however_long_it_is(
    world: World, in_pool: InPool, analyze: Callable[[str], None]
) -> None:
    await in_pool("e1")
    campaign = await world.launch(google=3000)
    lane = Waiting(1, campaign, "google")
    taken = [len(await claim(world.db, lane, world.life, 1000, 1, spare=50)) for _ in range(4)]
    assert taken == [1000, 1000, 950, 0], "fifty stay for the address that warms up"
    analyze("delivery")
    await by_index(world.db)
    values = {"campaign": campaign, "provider": "google", "limit": 100, "spare": 50}
    for order in (_FIRST, _LAST):
        query = f"EXPLAIN SELECT d.id FROM delivery d WHERE {_DUE} {order} FOR UPDATE SKIP LOCKED"  # noqa: S608
        plan = await rows(world.db, query, values)
        text = "\n".join(str(row["QUERY PLAN"]) for row in plan)
        assert "Seq Scan" not in text, text
        assert "Sort" not in text, text
