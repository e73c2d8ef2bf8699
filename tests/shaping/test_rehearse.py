"""A dry run says what would have happened, and is the same code that would have done it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from thurn.shaping.decide import Answers
from thurn.shaping.rehearse import rehearse
from thurn.shaping.rules import Rule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = Rule(
    "block", "move", "x", "y", patterns=("blocked",), outcome="bounced", count=5, period=10, share=0.2, minutes=30
)


def blocks(minute: float, n: int, reply: str = "550 Blocked") -> Answers:
    return Answers(NOW + timedelta(minutes=minute), "bounced", n, "reputation-block", "blocked", reply)


def good(minute: float, n: int) -> Answers:
    return Answers(NOW + timedelta(minutes=minute), "delivered", n)


def test_a_dry_run_counts_what_fits_and_tells_each_deed_with_its_end():
    found = rehearse(
        RULE, [blocks(0, 3), blocks(4, 3), good(3, 20), blocks(20, 99), blocks(40, 7, "550 Other")], "google"
    )
    assert (found.fitted, found.of) == (112, 132)
    assert [(d.at, d.until, d.n, d.of) for d in found.deeds] == [
        (NOW + timedelta(minutes=4), NOW + timedelta(minutes=34), 6, 26),
        (NOW + timedelta(minutes=40), NOW + timedelta(minutes=70), 7, 7),
    ]
    assert found.replies == (("550 Blocked", 105), ("550 Other", 7))


def test_a_share_that_is_not_reached_does_nothing_and_says_how_many_fit():
    found = rehearse(RULE, [blocks(0, 19), good(0, 81)], "google")
    assert (found.fitted, found.of, found.deeds) == (19, 100, ())


def test_a_rule_of_another_provider_fits_nothing():
    rule = Rule("x", "slow", "x", "y", patterns=("blocked",), providers=frozenset({"yahoo"}))
    assert rehearse(rule, [blocks(0, 99)], "google").fitted == 0


def test_giving_up_concerns_each_mail_and_no_lane():
    rule = Rule("x", "give-up", "x", "y", patterns=("blocked",))
    found = rehearse(rule, [blocks(0, 99)], "google")
    assert (found.fitted, found.deeds, found.gives_up) == (99, (), True)


@given(st.lists(st.tuples(st.integers(0, 1440), st.integers(1, 500), st.booleans()), max_size=60))
def test_deeds_never_overlap_and_each_reached_its_threshold(told: list[tuple[int, int, bool]]):
    answers = [blocks(minute, n) if bad else good(minute, n) for minute, n, bad in told]
    found = rehearse(RULE, answers, "google")
    end = None
    for deed in found.deeds:
        assert end is None or deed.at >= end
        assert deed.n >= RULE.count
        assert deed.n >= RULE.share * deed.of
        end = deed.until
