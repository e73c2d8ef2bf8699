"""Curves, decisions and forecasts of a warm-up, by table."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from thurn.delivery.providers import LOCAL, PROVIDERS
from thurn.problems import Invalid
from thurn.warmup.chart import chart, days
from thurn.warmup.curve import MOST, checked, of_factor, parse, per_minute, preset, presets, reachable
from thurn.warmup.decide import Counts, Plan, judge, new_day, within_day
from thurn.warmup.simulate import Road, forecast, together

DAY = date(2026, 3, 2)
PLAN = Plan((50, 100, 200, 400), DAY, DAY, DAY)
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def later(days: int) -> date:
    return DAY + timedelta(days=days)


# ---------------------------------------------------------------- curves


def test_every_provider_of_the_book_has_a_curve_that_starts_small_and_a_source() -> None:
    for name in PROVIDERS:
        if name != LOCAL:
            caps = checked(preset(name).curve)
            assert (caps[0] <= 100, caps[-1], len(caps) < 30) == (True, 100_000, True)
            assert all(later <= 2 * earlier for earlier, later in pairwise(caps))
    assert all("https://" in each.source or each.source.startswith("As above") for each in presets().values())


@pytest.mark.parametrize(
    ("text", "curve"),
    [
        ("50, 100, 200", (50, 100, 200)),
        ("50 100;200\n 200", (50, 100, 200, 200)),
        ("50 x 2 to 300", (50, 100, 200, 300)),
        ("1,000 × 1.5 to 2,000", (1000, 1500, 2000)),
        ("7*1.05..9", (7, 8, 9)),
        ("5", (5,)),
    ],
)
def test_a_curve_is_typed_as_caps_or_with_a_factor(text: str, curve: tuple[int, ...]) -> None:
    assert parse(text) == curve


@pytest.mark.parametrize(
    "text",
    ["", "   ", "0", "-5", "1.5", "50, x", "100, 50", f"{MOST + 1}", "50 x 1 to 100", "50 x 9 to 100", "9 x 2 to 5",
     "50 x 1.05 to 9000000", ", ".join(["5"] * 121), "٥٠", "50 x 1.4", "1e3", "99999999999", "50 x 1.4 to 1000000000"],
)  # fmt: skip
def test_what_is_no_curve_is_refused_with_words(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert refused.value.field == "curve"
    assert str(refused.value).endswith(".")


def test_a_preset_in_words_is_what_parse_takes() -> None:
    assert all(parse(each.in_words()) == each.curve for each in presets().values())


def test_a_cap_is_spread_over_eight_hours_and_pressed_only_when_the_day_is_nearly_over() -> None:
    day = 24 * 60.0
    assert per_minute(480, 480, day, day) == 1.0
    assert per_minute(480, 480, day, day / 6) == 2.0, "four hours are left"
    assert per_minute(480, 480, day, 1.0) == 8.0, "never pressed into less than an hour"
    assert per_minute(480, 0, day, 1.0) == 1.0
    assert (reachable(480, 1.0, 60), reachable(5, 1.0, 60)) == (60, 5)
    assert of_factor(50, 1.4, 1000)[:5] == (50, 70, 98, 140, 190)


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        (Counts(1000), ""),
        (Counts(50, complained=1), ""),  # one may be a slip
        (Counts(50, complained=2), "called it spam"),
        (Counts(5000, complained=5), ""),
        (Counts(5000, complained=30), "called it spam"),
        (Counts(0, complained=3), ""),  # of mails that were sent before the plan
        (Counts(4, bounced=4), ""),  # too few
        (Counts(90, bounced=10), "does not exist"),
        (Counts(94, bounced=6), ""),
        (Counts(60, put_off=40), "asks for less"),
        (Counts(90, put_off=10), ""),
        (Counts(0, put_off=20), "asks for less"),
    ],
)
def test_answers_are_judged_only_as_far_as_the_sample_carries(counts: Counts, word: str) -> None:
    assert (word in judge(counts)) if word else judge(counts) == ""


@pytest.mark.parametrize(
    ("used", "what", "step", "state"),
    [(50, "grown", 2, "running"), (38, "grown", 2, "running"), (37, "repeated", 1, "running"),
     (0, "repeated", 1, "running")],
)  # fmt: skip
def test_a_day_counts_only_if_enough_of_it_was_used(used: int, what: str, step: int, state: str) -> None:
    done = new_day(PLAN, used, Counts(used), later(1))
    assert done is not None
    assert (done.what, done.plan.step, done.plan.state) == (what, step, state)
    assert new_day(done.plan, used, Counts(used), later(1)) is None, "told the same again it decides nothing"


def test_the_last_day_of_the_curve_ends_it() -> None:
    done = new_day(replace(PLAN, step=4), 400, Counts(400), later(1))
    assert done is not None
    assert (done.what, done.plan.state) == ("done", "done")
    assert new_day(done.plan, 400, Counts(), later(2)) is None


def test_many_days_that_nobody_decided_about_are_one_step() -> None:
    done = new_day(PLAN, 50, Counts(50), later(9))
    assert done is not None
    assert (done.plan.step, done.plan.decided) == (2, later(9))


def test_after_a_month_without_mail_it_begins_again() -> None:
    done = new_day(replace(PLAN, step=4), 0, Counts(), later(31))
    assert done is not None
    assert (done.what, done.plan.cap) == ("rested", 50)


def test_bad_answers_pause_it_a_day_back_at_once_and_two_quiet_days_let_it_go_on() -> None:
    plan, bad = replace(PLAN, step=3), Counts(200, complained=4)
    paused = within_day(plan, bad, DAY)
    assert paused is not None
    assert (paused.what, paused.plan.state, paused.plan.cap) == ("paused", "paused", 100)
    assert "4 of 200 readers called it spam" in paused.why
    assert within_day(paused.plan, bad, DAY) is None, "each reason counts once"
    plan, seen = paused.plan, []
    for day in (1, 2, 3):
        done = new_day(plan, 100, Counts(100), later(day))
        assert done is not None
        seen.append((done.what, done.plan.cap))
        plan = done.plan
    assert seen == [("held", 100), ("held", 100), ("resumed", 100)]
    grown = new_day(plan, 100, Counts(100), later(4))
    assert grown is not None
    assert grown.plan.cap == 200


def test_new_trouble_while_paused_goes_a_further_day_back_and_the_quiet_days_begin_anew() -> None:
    plan = replace(PLAN, step=3, state="paused", counted_from=later(1), clean=1, decided=later(1))
    done = within_day(plan, Counts(100, complained=3), later(1))
    assert done is not None
    assert (done.what, done.plan.cap, done.plan.clean) == ("lowered", 100, 0)
    again = within_day(replace(done.plan, counted_from=later(2)), Counts(100, complained=3), later(2))
    assert again is not None
    first = within_day(replace(again.plan, counted_from=later(3)), Counts(50, complained=3), later(3))
    assert first is not None
    assert first.plan.cap == 50, "never less than the first day"


def test_what_somebody_paused_nobody_else_lets_go_on() -> None:
    plan = replace(PLAN, state="paused", by_hand=True)
    for day in (1, 2, 3, 4):
        done = new_day(plan, 50, Counts(50), later(day))
        assert done is not None
        assert (done.what, done.why) == ("held", ""), "there is nothing new to say"
        plan = done.plan


def test_a_plan_that_is_over_decides_nothing() -> None:
    for state in ("off", "done"):
        plan = replace(PLAN, state=state)  # type: ignore[arg-type]  # a name in a loop
        assert new_day(plan, 50, Counts(complained=9, delivered=50), later(1)) is None
        assert within_day(plan, Counts(complained=9, delivered=50), later(1)) is None


def test_a_chart_has_a_column_for_each_day_that_was_is_and_will_be() -> None:
    columns = days([(50, 50), (100, 30)], [200, 400], today=True)
    assert [(each.cap, each.sent, each.when) for each in columns] == [
        (50, 50, "was"), (100, 30, "today"), (200, 0, "will"), (400, 0, "will"),
    ]  # fmt: skip
    drawn = str(chart(columns, label='<i>"'))
    assert (drawn.count("<rect"), "<i>" in drawn) == (11, False), "a base, four caps with a line each, two sent"
    assert "<svg" in chart([], label="Nothing yet")


# ---------------------------------------------------------------- forecasts


def test_nobody_is_done_at_once_and_nothing_leaves_without_a_road() -> None:
    assert forecast(0, [Road("e1", 60)], NOW).until == NOW
    assert forecast(5, [], NOW).until is None
    assert forecast(5, [], NOW).left == 5


def test_a_warm_road_takes_them_at_its_speed() -> None:
    done = forecast(6000, [Road("e1", 100)], NOW)
    assert done.until == NOW + timedelta(hours=1)
    assert [day.total for day in done.days] == [6000]


def test_a_cold_address_takes_its_curve_and_the_last_hour_is_told() -> None:
    done = forecast(650, [Road("e1", 600, (50, 100, 200, 400))], NOW)
    assert [day.total for day in done.days] == [50, 100, 200, 300]
    # 400 are spread over eight hours: 300 take six.
    assert done.until == datetime(2026, 3, 5, 6, 0, tzinfo=UTC)


def test_after_its_curve_an_address_is_warm() -> None:
    done = forecast(10_000, [Road("e1", 60, (50,))], NOW)
    assert [day.total for day in done.days] == [50, 9950]


def test_what_was_sent_today_is_gone_and_a_paused_plan_does_not_grow_until_it_goes_on() -> None:
    done = forecast(130, [Road("e1", 600, (50, 100), left=10, holds=None)], NOW)
    assert [day.total for day in done.days] == [10, 50, 50, 20]
    done = forecast(300, [Road("e1", 600, (50, 100), holds=2)], NOW)
    assert [day.total for day in done.days] == [50, 50, 50, 100, 50]


def test_a_warm_address_beside_it_takes_the_rest_the_same_day() -> None:
    done = forecast(1000, [Road("e2", 600, (50, 100)), Road("e1", 10)], NOW)
    assert [dict(day.sent) for day in done.days] == [{"e2": 50, "e1": 950}]
    assert done.until == NOW + timedelta(minutes=480), "50 are spread over eight hours; 950 take 95 minutes"


def test_what_never_ends_says_so() -> None:
    done = forecast(10_000_000, [Road("e1", 600, (50,), holds=None)], NOW)
    assert done.until is None
    assert done.left > 0
    assert len(done.days) == 400


def test_the_table_has_each_day_with_each_provider() -> None:
    found = {
        "google": forecast(150, [Road("e1", 600, (50, 100))], NOW),
        "yahoo": forecast(20, [Road("e1", 600, (50, 100))], NOW),
    }
    assert together(found) == [(DAY, {"google": 50, "yahoo": 20}), (later(1), {"google": 100})]
