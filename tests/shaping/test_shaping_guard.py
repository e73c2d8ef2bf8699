"""The guard over campaigns: what it believes, and what it does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.campaigns import guard, service
from thurn.campaigns.guard import Counts, Limits, at_least, judge
from thurn.db.connect import Connection
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Invalid


@pytest.mark.parametrize(
    ("answered", "hard", "level"),
    [
        (99, 99, None),  # too few to judge
        (100, 4, None),  # 4 % of 100 may well be 2 %
        (100, 6, "warn"),  # more than 5 %, and not yet sure
        (100, 10, "pause"),
        (10_000, 540, "pause"),
        (10_000, 520, "warn"),
        (1_000_000, 50_500, "pause"),
        (1_000_000, 21_000, "warn"),
        (1_000_000, 20_000, None),
        (10_000, 0, None),
    ],
)
def test_bounces_pause_when_their_share_is_sure(answered: int, hard: int, level: str | None):
    found = judge(Counts(answered, hard, answered - hard, 0), Limits())
    assert (found.level if found else None) == level


@pytest.mark.parametrize(
    ("delivered", "complained", "level"),
    [
        (10, 2, None),  # fewer than three say nothing
        (100, 3, "pause"),
        (1000, 3, "warn"),
        (10_000, 10, None),
        (10_000, 20, "warn"),
        (10_000, 41, "pause"),
        (10_000, 3, None),
    ],
)
def test_complaints_pause_when_their_share_is_sure(delivered: int, complained: int, level: str | None):
    found = judge(Counts(delivered, 0, delivered, complained), Limits())
    assert (found.level if found else None) == level


def test_a_judgement_says_the_figures_and_what_to_do_and_one_that_is_off_says_nothing():
    counts = Counts(703, 52, 600, 0)
    found = judge(counts, Limits())
    assert found is not None
    for words in ("52 of 703 mails bounced hard", "7.40%", "paused from 5.00% on", "Find out where"):
        assert words in found.why
    assert judge(counts, Limits(enabled=False)) is None


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_the_bound_is_a_share_below_what_was_seen(n: int, of: int):
    n = min(n, of)
    assert 0 <= at_least(n, of) <= (n / of if of else 0) + 1e-12


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 1000))
def test_more_bounces_never_calm_the_guard(of: int, n: int, more: int):
    levels = [None, "warn", "pause"]
    few = judge(Counts(of + more, min(n, of), 0, 0), Limits())
    many = judge(Counts(of + more, min(n, of) + more, 0, 0), Limits())
    assert levels.index(many.level if many else None) >= levels.index(few.level if few else None)


async def campaign(db: Connection, *, workspace: int = 1, state: str = "sending", **measures: int) -> int:
    """A campaign with these figures."""
    row = await one(
        db,
        """INSERT INTO campaign (workspace_id, name, from_address, state, started_at, recipients)
           VALUES (%s, 'Sale', 'a@b.example', %s, now(), 10000) RETURNING id""",
        [workspace, state],
    )
    await counted(db, row["id"], workspace, **measures)
    return int(row["id"])


async def counted(db: Connection, number: int, workspace: int = 1, **measures: int) -> None:
    for measure, n in measures.items():
        await db.execute(
            """INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
               VALUES (%s, %s, 'google', %s, %s)
               ON CONFLICT (campaign_id, provider, measure) DO UPDATE SET n = excluded.n""",
            [workspace, number, measure, n],
        )


async def state_of(db: Connection, number: int) -> str:
    return str((await one(db, "SELECT state FROM campaign WHERE id = %s", [number]))["state"])


async def test_a_campaign_that_bounces_is_paused_its_owners_told_and_resumed_only_on_purpose(system: Connection):
    bad = await campaign(system, delivered=900, bounced_hard=100)
    good = await campaign(system, delivered=990, bounced_hard=10)
    assert await guard.step(system) == 1
    assert await guard.step(system) == 0
    assert (await state_of(system, bad), await state_of(system, good)) == ("paused", "sending")
    alert = await one(system, "SELECT subject, text, link FROM alert")
    assert alert["subject"] == "“Sale” was paused by the guard"
    assert "100 of 1,000 mails bounced hard (10.00%" in alert["text"]
    assert alert["link"] == f"campaigns/{bad}/progress"
    assert (await one(system, "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'"))[
        "n"
    ]
    with pytest.raises(service.WrongState, match="explicitly"):
        await service.resume(system, 1, bad)
    await service.resume(system, 1, bad, despite_guard=True)
    assert await state_of(system, bad) == "launching"
    assert await guard.step(system) == 0, "what was counted until then is forgiven"
    await counted(system, bad, delivered=1800, bounced_hard=110)
    assert await guard.step(system) == 0
    await counted(system, bad, delivered=1800, bounced_hard=250)
    assert await guard.step(system) == 1, "what came after is judged"
    assert (await one(system, "SELECT times FROM campaign_guard"))["times"] == 2


async def test_a_warning_stands_on_home_alone_and_goes_with_its_campaign(system: Connection):
    number = await campaign(system, delivered=960, bounced_hard=40)
    assert await guard.step(system) == 0
    alert = await one(system, "SELECT level, subject FROM alert WHERE cleared_at IS NULL")
    assert (alert["level"], alert["subject"]) == ("warn", "“Sale” is close to being paused")
    assert await maybe(system, "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'thurn:mail_owners'") is None
    await system.execute("UPDATE campaign SET state = 'sent' WHERE id = %s", [number])
    await guard.step(system)
    assert await rows(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL") == []


async def test_a_second_paused_campaign_pauses_the_workspace_and_no_other(system: Connection):
    other = await one(system, "INSERT INTO workspace (slug, name) VALUES ('other', 'Other') RETURNING id")
    theirs = await campaign(system, workspace=other["id"], delivered=100)
    first = await campaign(system, delivered=900, bounced_hard=100)
    await guard.step(system)
    second = await campaign(system, delivered=5000, complained=50)
    third = await campaign(system, delivered=5000)
    assert await guard.step(system) == 2
    assert [await state_of(system, number) for number in (first, second, third, theirs)] == [*["paused"] * 3, "sending"]
    assert await maybe(system, "SELECT 1 FROM alert WHERE key = 'guard-workspace' AND workspace_id = 1")
    with pytest.raises(service.WrongState, match="all campaigns of this workspace"):
        await service.resume(system, 1, third)
    late = await campaign(system, state="launching")
    await guard.step(system)
    assert await state_of(system, late) == "paused", "nor does one that is launched now"
    await guard.lift(system, 1)
    await guard.step(system)
    assert await maybe(system, "SELECT 1 FROM alert WHERE key = 'guard-workspace' AND cleared_at IS NULL") is None
    await service.resume(system, 1, third)
    await guard.step(system)
    assert await state_of(system, third) == "launching", "what was before is not held against it again"


async def test_many_small_bad_campaigns_are_noticed_together(system: Connection):
    numbers = [await campaign(system, delivered=60, bounced_hard=30) for _ in range(3)]
    assert await guard.step(system) == 3
    why = (await one(system, "SELECT paused_why FROM sending_guard"))["paused_why"]
    assert why.startswith("Of 3 small campaigns within seven days together: 90 of 270")
    assert {await state_of(system, number) for number in numbers} == {"paused"}


async def test_limits_belong_to_a_workspace_and_are_checked(system: Connection):
    number = await campaign(system, delivered=900, bounced_hard=100)
    await guard.set_limits(system, 1, Limits(bounce_pause=0.5, bounce_warn=0.4))
    assert await guard.step(system) == 0
    await guard.set_limits(system, 1, Limits(enabled=False))
    assert await guard.step(system) == 0
    await guard.set_limits(system, 1, Limits())
    assert await guard.step(system) == 1
    assert await state_of(system, number) == "paused"
    for wrong in (
        Limits(bounce_warn=0.5), Limits(complaint_pause=2), Limits(complaint_warn=0), Limits(least_mails=0),
        Limits(least_complaints=0), Limits(bounce_pause=float("nan")),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            await guard.set_limits(system, 1, wrong)
