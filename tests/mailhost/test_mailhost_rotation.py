"""A DKIM rotation, step by step: what time and DNS allow, and what they do not."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg.errors import ExclusionViolation

from thurn.db.connect import Connection, Pool, in_workspace
from thurn.db.fetch import rows
from thurn.dns.facts import facts
from thurn.dns.records import records
from thurn.dns.verdicts import Answers, Check, judge
from thurn.mailhost import rotate, service
from thurn.mailhost.keys import ALGORITHMS, make_keys, selector
from thurn.mailhost.rotation import GRACE, SETTLE, Key, Plan, State, plan
from thurn.problems import Conflict
from thurn.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD, FRESH = NOW - timedelta(days=365), NOW - timedelta(seconds=5)


def pair(state: State, since: datetime = OLD, first: int = 1) -> list[Key]:
    return [Key(first + n, f"{state}{n}", algorithm, state, since, since) for n, algorithm in enumerate(ALGORITHMS)]


ACTIVE = pair("active")
SEEN = {"active0": True, "active1": True}


def moved(keys: list[Key], seen: dict[str, bool | None], **how: int) -> dict[str, str]:
    names = {key.id: key.selector for key in keys}
    return {names[number]: state for number, state in plan(keys, SEEN | seen, NOW, **how).moves}


BOTH: dict[str, bool | None] = {"published0": True, "published1": True}
CASES: list[tuple[list[Key], dict[str, bool | None], dict[str, str]]] = [
    # a new pair: seen, not seen, not told; each key by itself
    (pair("pending", first=3), {}, {}),
    (pair("pending", first=3), {"pending0": None, "pending1": False}, {}),
    (pair("pending", first=3), {"pending0": True, "pending1": None}, {"pending0": "published"}),
    (pair("pending", first=3), {"pending0": True, "pending1": True},
     {"pending0": "published", "pending1": "published"}),
    # published: used after a second look, together, or not at all
    (pair("published", FRESH, 3), BOTH, {}),
    (pair("published", NOW - SETTLE, 3), BOTH,
     {"published0": "active", "published1": "active", "active0": "retiring", "active1": "retiring"}),
    (pair("published", OLD, 3), {"published0": True, "published1": None}, {}),
    (pair("published", OLD, 3), {"published0": True, "published1": False}, {"published1": "pending"}),
    (pair("published", OLD, 3)[:1], BOTH, {}),  # half a pair never takes over
    ([pair("published", OLD, 3)[0], pair("pending", OLD, 3)[1]], {**BOTH, "pending1": True}, {"pending1": "published"}),
    # the old pair's days
    (pair("retiring", NOW - GRACE + timedelta(seconds=1), 3), {}, {}),
    (pair("retiring", NOW - GRACE, 3), {}, {"retiring0": "retired", "retiring1": "retired"}),
    (pair("retiring", NOW - GRACE, 3), {"active0": None, "active1": None},
     {"retiring0": "retired", "retiring1": "retired"}),
    # the wrong records were deleted: the old pair signs again
    (pair("retiring", FRESH, 3), {"active0": False, "active1": False, "retiring0": True, "retiring1": True},
     {"retiring0": "active", "retiring1": "active", "active0": "pending", "active1": "pending"}),
    (pair("retiring", FRESH, 3), {"active0": False, "active1": None, "retiring0": True, "retiring1": True}, {}),
    (pair("retiring", FRESH, 3), {"active0": False, "active1": False, "retiring0": True, "retiring1": None}, {}),
    # both gone, or DNS away: nothing moves, what signs goes on
    ([], {"active0": False, "active1": False}, {}),
    ([], {"active0": None, "active1": None}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "seen", "expected"), CASES)
def test_keys_move_as_far_as_dns_allows(
    keys: list[Key], seen: dict[str, bool | None], expected: dict[str, str]
) -> None:
    assert moved([*ACTIVE, *keys], seen) == expected


@pytest.mark.parametrize(("keys", "seen", "expected"), CASES)
def test_each_step_leaves_a_whole_pair_that_signs(
    keys: list[Key], seen: dict[str, bool | None], expected: dict[str, str]
) -> None:
    everything = [*ACTIVE, *keys]
    moves = dict(plan(everything, SEEN | seen, NOW).moves)
    after = [key.algorithm for key in everything if moves.get(key.id, key.state) == "active"]
    assert sorted(after) == sorted(ALGORITHMS)


@pytest.mark.parametrize(
    ("months", "age", "seen", "make"),
    [(0, 900, {}, False), (12, 300, {}, False), (12, 400, {}, True), (12, 400, {"active1": False}, False),
     (12, 400, {"active1": None}, False)],
)  # fmt: skip
def test_an_old_pair_is_replaced_by_itself_when_the_domain_says_so(
    months: int, age: int, seen: dict[str, bool | None], make: bool
) -> None:
    keys = pair("active", NOW - timedelta(days=age))
    assert plan(keys, SEEN | seen, NOW, months=months) == Plan((), make)
    assert not plan([*keys, *pair("pending", FRESH, 3)], SEEN | seen, NOW, months=months).make


def test_a_selector_is_never_used_twice() -> None:
    day = NOW.date()
    assert selector("rsa-sha256", day) == "t2611r"
    assert selector("rsa-sha256", day, {"t2611r", "t2611r2"}) == "t2611r3"


async def test_a_rotation_from_button_to_retired(app_pool: Pool, system: Connection, clean: Settings) -> None:
    async def states() -> list[tuple[str, str]]:
        found = await rows(system, "SELECT selector, state FROM dkim_key ORDER BY id")
        return [(row["selector"][5:], row["state"]) for row in found]

    async def look(missing: str = "") -> None:
        """A look at DNS that has every record but those whose name holds `missing`."""
        async with in_workspace(app_pool, 1) as db:
            domain = await service.get_domain(db, "brotzeit.example")
            checks: list[Check] = []
            for record in records(facts(domain, clean)):
                gone = missing and missing in record.name
                checks.append(judge(record, Answers("nothing") if gone else Answers("found", record.values)))
            await rotate.step(db, domain, checks, clean)

    async def signing() -> set[str]:
        return {key.selector[5:] for key in await service.signing_keys(system, "brotzeit.example", clean)}

    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
        await rotate.start(db, await service.get_domain(db, "brotzeit.example"), clean)
    with pytest.raises(Conflict, match="under way"):
        async with in_workspace(app_pool, 1) as db:
            await rotate.start(db, await service.get_domain(db, "brotzeit.example"), clean)
    await look(missing="2._domainkey")
    assert await states() == [("r", "active"), ("e", "active"), ("r2", "pending"), ("e2", "pending")]
    await look(missing="e2._domainkey")
    assert await states() == [("r", "active"), ("e", "active"), ("r2", "published"), ("e2", "pending")]
    await look()
    await look()
    assert await signing() == {"r", "e"}
    await system.execute("UPDATE dkim_key SET published_at = now() - interval '1 hour' WHERE state = 'published'")
    await look()
    assert await states() == [("r", "retiring"), ("e", "retiring"), ("r2", "active"), ("e2", "active")]
    assert await signing() == {"r2", "e2"}
    await system.execute("UPDATE dkim_key SET retiring_at = now() - interval '8 days' WHERE state = 'retiring'")
    await look()
    assert [state for _, state in await states()] == ["retired", "retired", "active", "active"]
    gone = await rows(system, "SELECT selector, length(private_key) AS n FROM dkim_key WHERE state = 'retired'")
    assert [row["n"] for row in gone] == [0, 0]
    async with in_workspace(app_pool, 1) as db:
        named = [r.name for r in records(facts(await service.get_domain(db, "brotzeit.example"), clean))]
    assert named
    assert not any(name.startswith(tuple(f"{row['selector']}." for row in gone)) for name in named)


async def test_the_database_holds_one_active_key_of_each_algorithm(system: Connection, clean: Settings) -> None:
    number = await service.add_domain(system, 1, name="brotzeit.example", settings=clean)
    with pytest.raises(ExclusionViolation):
        await make_keys(system, 1, domain_id=number, domain="brotzeit.example", settings=clean)


async def test_a_rotation_that_is_not_wanted_after_all_leaves_the_old_pair(
    app_pool: Pool, system: Connection, clean: Settings
) -> None:
    async with in_workspace(app_pool, 1) as db:
        await service.add_domain(db, 1, name="brotzeit.example", settings=clean)
        domain = await service.get_domain(db, "brotzeit.example")
        await rotate.start(db, domain, clean)
        await rotate.cancel(db, domain)
        assert [key["state"] for key in (await service.get_domain(db, "brotzeit.example"))["keys"]] == ["active"] * 2
        with pytest.raises(Conflict):
            await rotate.cancel(db, domain)
