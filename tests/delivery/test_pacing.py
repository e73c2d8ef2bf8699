"""Pacing: never more than allowed, never nothing where something is allowed, and a fair share for each."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.delivery.pacing import HELD, LEAST, MOST, Buckets, Grant, Lane, LaneKey, Rule, Wish, allot, divide, pool_of

PROVIDERS = ("google", "yahoo", "other")
lanes_strategy = st.dictionaries(
    st.tuples(st.integers(1, 3), st.sampled_from(PROVIDERS)),
    st.builds(
        Lane,
        rate=st.none() | st.floats(1, 10_000),
        factor=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
        suspended=st.booleans(),
        in_flight=st.integers(0, 6000),
        answered=st.floats(0, 50_000),
        cap_left=st.none() | st.integers(0, 300),
    ),
)
wishes_strategy = st.lists(
    st.builds(
        Wish,
        workspace=st.integers(1, 3),
        campaign=st.integers(1, 5),
        provider=st.sampled_from(PROVIDERS),
        pool=st.lists(
            st.tuples(st.integers(1, 3), st.integers(1, 1000)), max_size=3, unique_by=lambda each: each[0]
        ).map(tuple),
        speed=st.none() | st.floats(1, 1000),
    ),
    max_size=8,
    unique_by=lambda wish: (wish.campaign, wish.provider),
)


def by_lane(grants: list[Grant]) -> Counter[LaneKey]:
    total: Counter[LaneKey] = Counter()
    for grant in grants:
        total[grant.egress, grant.wish.provider] += grant.n
    return total


@given(wishes_strategy, lanes_strategy, st.integers(0, 20), st.integers(1, 500))
def test_no_limit_is_ever_passed(wishes: list[Wish], lanes: dict[LaneKey, Lane], turn: int, most: int) -> None:
    grants = allot(wishes, lanes, Buckets(), 100.0, batch=100, most=most, turn=turn)
    assert sum(grant.n for grant in grants) <= most
    for key, n in by_lane(grants).items():
        lane = lanes[key]
        assert not lane.suspended
        assert lane.factor > 0
        assert n <= lane.room
        assert lane.cap_left is None or n <= lane.cap_left
        assert lane.pace is None or n <= max(1.0, lane.pace * 5 / 60)
    for wish in wishes:
        mine = [grant for grant in grants if grant.wish is wish]
        assert sum(grant.n for grant in mine) <= 100
        assert {grant.egress for grant in mine} <= {egress for egress, _ in wish.pool}
    for campaign in {wish.campaign for wish in wishes}:
        speeds = {wish.speed for wish in wishes if wish.campaign == campaign}
        if len(speeds) == 1 and (speed := speeds.pop()) is not None:
            together = sum(grant.n for grant in grants if grant.wish.campaign == campaign)
            assert together <= max(1.0, speed * 5 / 60)


@given(wishes_strategy, lanes_strategy)
def test_nobody_waits_while_there_is_room(wishes: list[Wish], lanes: dict[LaneKey, Lane]) -> None:
    unlimited = [Wish(w.workspace, w.campaign, w.provider, w.pool) for w in wishes]
    grants = allot(unlimited, lanes, Buckets(), 0.0, batch=100)
    taken = by_lane(grants)
    for wish in unlimited:
        if sum(grant.n for grant in grants if grant.wish == wish) < 100:
            for egress, _ in wish.pool:
                key = egress, wish.provider
                lane = lanes.get(key)
                if lane is not None and not lane.suspended and lane.factor > 0:
                    limits = [lane.room, *([] if lane.cap_left is None else [lane.cap_left])]
                    if lane.pace is not None:
                        limits.append(int(max(1.0, lane.pace * 5 / 60) + 1e-9))
                    assert taken[key] >= min(limits), "its lane had room left"


@given(st.floats(1, 100_000), st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), max_size=60))
def test_a_bucket_gives_no_more_than_its_rate_and_one_burst(rate: float, steps: list[tuple[float, int]]) -> None:
    buckets, now, taken = Buckets(), 0.0, 0
    for wait, wanted in steps:
        now += wait
        free = buckets.free("x", rate, now)
        assert free is not None
        n = min(free, wanted)
        buckets.take("x", n)
        taken += n
    assert taken <= rate / 60 * now + max(1.0, rate * 5 / 60) + 1e-6


def test_a_slow_rate_still_gives_a_mail_now_and_then() -> None:
    buckets = Buckets()
    given = 0
    for second in range(601):
        if buckets.free("x", 1.0, float(second)):
            buckets.take("x", 1)
            given += 1
    assert given in (10, 11)


def test_what_was_not_taken_is_given_back() -> None:
    buckets = Buckets()
    assert buckets.free("x", 600, 0.0) == 50
    buckets.take("x", 50)
    buckets.take("x", -20)
    assert buckets.free("x", 600, 0.0) == 20


def test_a_workspace_with_a_million_does_not_starve_one_with_ten() -> None:
    many = [Wish(1, campaign, "google", ((1, 100),)) for campaign in range(1, 21)]
    few = Wish(2, 99, "google", ((1, 100),))
    got: Counter[int] = Counter()
    for turn in range(40):
        lane = Lane(rate=240, in_flight=0)
        for grant in allot([*many, few], {(1, "google"): lane}, Buckets(), 0.0, batch=100, turn=turn):
            got[grant.wish.workspace] += grant.n
    assert got[2] == pytest.approx(got[1], rel=0.1)


def test_campaigns_of_a_workspace_share_even_a_single_mail() -> None:
    wishes = [Wish(1, campaign, "google", ((1, 100),)) for campaign in (1, 2, 3)]
    got: Counter[int] = Counter()
    for turn in range(30):
        for grant in allot(wishes, {(1, "google"): Lane(cap_left=1)}, Buckets(), 0.0, batch=100, turn=turn):
            got[grant.wish.campaign] += grant.n
    assert set(got.values()) == {10}


def test_egresses_of_a_pool_carry_by_weight_and_the_other_fills_in() -> None:
    wish = Wish(1, 1, "google", ((1, 300), (2, 100)))
    free = {(1, "google"): Lane(answered=9999), (2, "google"): Lane(answered=9999)}
    assert by_lane(allot([wish], free, Buckets(), 0.0, batch=400)) == {(1, "google"): 300, (2, "google"): 100}
    held = free | {(1, "google"): Lane(suspended=True)}
    assert by_lane(allot([wish], held, Buckets(), 0.0, batch=400)) == {(2, "google"): 400}


@pytest.mark.parametrize(
    ("lane", "pace", "room"),
    [
        (Lane(), None, LEAST),
        (Lane(answered=1000), None, HELD * 1000),
        (Lane(answered=1_000_000), None, MOST),
        (Lane(answered=1000, in_flight=1990), None, 10),
        (Lane(in_flight=900), None, 0),
        (Lane(rate=60), 60, HELD * 60),
        (Lane(rate=60, factor=0.5), 30, HELD * 30),
        (Lane(rate=1), 1, 10),
        (Lane(nominal=300, factor=0.1, answered=5000), 30, HELD * 30),
        (Lane(rate=60, factor=0.0), 0, 10),
    ],
)
def test_postfix_holds_minutes_of_a_lane(lane: Lane, pace: float | None, room: float) -> None:
    assert lane.pace == pytest.approx(pace) if pace is not None else lane.pace is None
    assert lane.room == room


def test_the_narrowest_rule_names_the_pool() -> None:
    rules = {
        Rule("marketing", campaign=7): 5, Rule("marketing", domain=9): 4, Rule("marketing", workspace=2): 3,
        Rule("marketing"): 2,
    }  # fmt: skip
    assert pool_of(2, 7, 9, "marketing", rules, 1) == 5
    assert pool_of(2, 8, 9, "marketing", rules, 1) == 4
    assert pool_of(2, 8, 10, "marketing", rules, 1) == 3
    assert pool_of(2, 8, None, "marketing", rules, 1) == 3
    assert pool_of(1, 8, None, "marketing", rules, 1) == 2
    assert pool_of(2, 7, 9, "transactional", rules, 1) == 1


def test_a_relays_limit_holds_for_all_providers_together() -> None:
    pool = ((1, 100),)
    wishes = [Wish(1, 1, "google", pool), Wish(1, 2, "yahoo", pool), Wish(2, 3, "other", pool)]
    lanes = {(1, provider): Lane() for provider in PROVIDERS}
    buckets = Buckets()
    grants = allot(wishes, lanes, buckets, 0.0, batch=100, rates={1: 120.0})
    assert sum(grant.n for grant in grants) == 10, "five seconds' worth"
    assert len(grants) >= 1
    buckets.take(("egress", 1), 10)
    assert allot(wishes, lanes, buckets, 0.1, batch=100, rates={1: 120.0}) == []
    assert sum(grant.n for grant in allot(wishes, lanes, buckets, 1.0, batch=100, rates={1: 120.0})) == 2


@pytest.mark.parametrize(
    ("members", "parts"),
    [
        ({1: (100, None), 2: (100, None)}, {1: 300, 2: 300}),
        ({1: (900, None), 2: (100, None)}, {1: 540, 2: 60}),
        ({1: (100, None), 2: (100, 10.0)}, {1: 590, 2: 10}),
        ({1: (100, None), 2: (100, 10.0), 3: (200, None)}, {1: 590 / 3, 2: 10, 3: 2 * 590 / 3}),
        ({1: (100, 250.0), 2: (100, 10.0), 3: (100, None)}, {1: 250, 2: 10, 3: 340}),
        ({1: (100, 0.0), 2: (1, None)}, {1: 0, 2: 600}),
        ({1: (300, 10.0), 2: (100, 50.0)}, {1: 10 + 540 * 0.75, 2: 50 + 540 * 0.25}),  # nobody can: no matter
        ({}, {}),
    ],
)
def test_a_speed_is_divided_by_weight_and_what_one_cannot_do_goes_to_the_others(
    members: dict[int, tuple[int, float | None]], parts: dict[int, float]
) -> None:
    assert divide(600.0, members) == pytest.approx(parts)


@given(
    st.floats(0.01, 1e6),
    st.dictionaries(
        st.integers(1, 9), st.tuples(st.integers(1, 1000), st.none() | st.floats(0, 1e6)), min_size=1, max_size=6
    ),
)
def test_the_parts_of_a_speed_add_up_to_it(speed: float, members: dict[int, tuple[int, float | None]]) -> None:
    parts = divide(speed, members)
    assert sum(parts.values()) == pytest.approx(speed)
    assert min(parts.values()) >= -1e-9 * speed
    if any(most is None for _, most in members.values()):
        assert all(part <= most * (1 + 1e-9) for part, (_, most) in zip(parts.values(), members.values(), strict=True)
                   if most is not None)  # fmt: skip


def test_a_bucket_without_a_rate_gives_nothing() -> None:
    buckets = Buckets()
    assert buckets.free("a", 0.0, 0.0) == 0
    assert buckets.free("a", 60.0, 1.0) == 1
    assert buckets.free("a", 0.0, 2.0) == 0


@pytest.mark.parametrize("cap", [1, 10, 100])
def test_turns_go_by_weight_within_a_workspace_and_never_at_the_cost_of_another(cap: int) -> None:
    high = Wish(1, 1, "google", ((1, 100),), weight=16)
    normal = Wish(1, 2, "google", ((1, 100),), weight=4)
    low = Wish(1, 3, "google", ((1, 100),), weight=1)
    other = Wish(2, 4, "google", ((1, 100),), weight=1)
    got = dict.fromkeys((high, normal, low, other), 0)
    for turn in range(42 * 4):
        for grant in allot(
            [high, normal, low, other], {(1, "google"): Lane(cap_left=cap)}, Buckets(), 0.0, batch=100, turn=turn
        ):
            got[grant.wish] += grant.n
    assert got[high] > 2 * got[normal] > 4 * got[low] > 0
    assert 0.8 < got[other] / (got[high] + got[normal] + got[low]) < 1.25
