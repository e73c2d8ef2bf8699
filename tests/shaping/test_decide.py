"""The decisions: a table of cases, and what holds whatever is answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from thurn.shaping import decide as d
from thurn.shaping.decide import FLOOR, FOREVER, Answers, Deed, State, decide, elsewhere, held_by_hand, lifted
from thurn.shaping.rules import Rule, built_in

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SLOWER = Answers(NOW, "deferred", 5, "rate-limited", "slow down", "421 Slow down")
BLOCK = Answers(NOW, "bounced", 5, "reputation-block", "blocked", "550 Blocked")
PAUSE = Rule(
    "block", "move", "x", "y", patterns=("blocked",), outcome="bounced", count=5, period=10, share=0.2, minutes=30,
    why="They block us.", todo="Ask them.", link="https://example.org",
)  # fmt: skip


def at(seconds: float, answers: Answers, n: int = 5) -> Answers:
    return replace(answers, at=NOW + timedelta(seconds=seconds), n=n)


def good(seconds: float, n: int) -> Answers:
    return Answers(NOW + timedelta(seconds=seconds), "delivered", n)


class Pair:
    """A sending address at a provider, with the memory that the database has."""

    def __init__(self, *rules: Rule, provider: str = "google") -> None:
        self.state = State()
        self.rules, self.provider = rules, provider
        self.answers: list[Answers] = []
        self.fired: dict[str, datetime] = {}

    def tick(self, seconds: float, *answers: Answers) -> list[Deed]:
        now = NOW + timedelta(seconds=seconds)
        self.answers += answers
        self.state, deeds = decide(self.state, self.answers, self.rules, self.fired, now, self.provider)
        self.fired |= {deed.rule: deed.at for deed in deeds}
        return deeds


def test_deferrals_halve_the_pace_once_and_quiet_raises_it_step_by_step():
    pair = Pair()
    (deed,) = pair.tick(1, at(0, SLOWER), good(0, 40))
    assert (deed.rule, deed.action, deed.n, deed.of, deed.evidence) == ("deferrals", "slow", 5, 45, "421 Slow down")
    assert (pair.state.factor, pair.state.mode, pair.state.evidence) == (0.5, "slowed", "421 Slow down")
    assert not pair.tick(2), "the same answers halve it once"
    assert not pair.tick(8, at(7, SLOWER)), "these answer what was on its way"
    assert pair.tick(14, at(13, SLOWER))
    assert pair.state.factor == 0.25
    factors = []
    for minute in range(1, 12):
        assert not pair.tick(14 + 60 * minute, good(14 + 60 * minute, 10))
        factors.append(round(pair.state.factor, 2))
    assert factors == [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.0, 1.0, 1.0, 1.0]
    assert (pair.state.mode, pair.state.evidence) == ("normal", "")


def test_a_few_deferrals_among_many_deliveries_change_nothing():
    assert not Pair().tick(1, at(0, SLOWER), good(0, 46))
    assert not Pair().tick(1, at(0, SLOWER, 2))


def test_a_full_mailbox_greylisting_or_the_network_slow_nobody_down():
    for category in ("mailbox-full", "greylisted", "network", "inactive", "system-error"):
        assert not Pair().tick(1, replace(SLOWER, category=category, n=100))


def test_deferrals_that_go_on_at_the_lowest_pace_suspend_and_each_time_for_longer():
    pair = Pair()
    lengths = []
    second = 0.0
    while len(lengths) < 3 and second < 36_000:
        second += 5
        for deed in pair.tick(second, at(second, SLOWER)) if pair.state.mode != "suspended" else pair.tick(second):
            assert pair.state.factor >= FLOOR
            if deed.action == "move":
                lengths.append((deed.until or NOW) - deed.at)
    assert lengths == [timedelta(minutes=15), timedelta(minutes=30), timedelta(minutes=60)]


def test_a_rule_counts_within_its_own_period_and_not_within_that_of_its_action():
    """The other way round 5 in an hour with an action of a minute would mean 5 in a minute."""
    rule = replace(PAUSE, count=4, period=60, minutes=1, share=0)
    pair = Pair(rule)
    for minute in (0, 15, 30):
        assert not pair.tick(60 * minute, at(60 * minute, BLOCK, 1))
    assert pair.tick(60 * 45, at(60 * 45, BLOCK, 1))
    short = Pair(replace(rule, period=10))
    assert not any(short.tick(60 * m, at(60 * m, BLOCK, 1)) for m in (0, 15, 30, 45, 60))


def test_a_rule_that_suspends_says_why_what_to_do_and_for_how_long():
    pair = Pair(PAUSE)
    (deed,) = pair.tick(1, at(0, BLOCK), good(0, 20))
    state = pair.state
    assert (state.mode, state.until, deed.until) == ("suspended", NOW + timedelta(minutes=30, seconds=1), state.until)
    assert (state.reason, state.todo, state.link) == ("They block us.", "Ask them.", "https://example.org")
    assert state.evidence == deed.evidence == "550 Blocked"
    assert not Pair(PAUSE).tick(1, at(0, BLOCK), good(0, 21)), "below its share"
    assert not Pair(PAUSE).tick(1, at(0, BLOCK, 4)), "below its count"
    assert not Pair(PAUSE, provider="other").tick(1, at(0, BLOCK)), "one small server is about itself"
    many = [replace(at(0, BLOCK, 2), domain=f"{name}.example") for name in "abc"]
    assert Pair(PAUSE, provider="other").tick(1, *many)


def test_a_suspension_hears_nothing_and_what_was_heard_meanwhile_does_not_start_the_next():
    pair = Pair(PAUSE)
    pair.tick(1, at(0, BLOCK))
    until = pair.state.until
    for second in range(10, 1801, 10):
        assert not pair.tick(second, at(second, BLOCK, 50), at(second, SLOWER, 50))
        assert pair.state.until == until
    assert not pair.tick(1802)
    assert (pair.state.mode, pair.state.factor, pair.state.until) == ("slowed", 0.25, None)
    assert not pair.tick(1803), "the blocks during the suspension count for nothing"
    assert pair.tick(1810, at(1805, BLOCK))
    assert pair.state.until == NOW + timedelta(seconds=1810, minutes=60), "the second time for twice as long"


def test_a_rule_may_wait_for_a_person_who_then_lifts_it():
    pair = Pair(replace(PAUSE, minutes=0))
    (deed,) = pair.tick(1, at(0, BLOCK))
    assert (pair.state.mode, pair.state.until, deed.until) == ("held", FOREVER, FOREVER)
    assert not pair.tick(30 * 86_400)
    now = NOW + timedelta(seconds=60)
    pair.state = lifted(pair.state, now)
    assert not pair.tick(61), "what was said before it was lifted is forgiven"
    assert (pair.state.mode, pair.state.factor) == ("normal", 1.0)


def test_a_slow_rule_keeps_the_pace_down_for_its_time():
    rule = replace(PAUSE, action="slow", minutes=30)
    pair = Pair(rule)
    pair.tick(1, at(0, BLOCK))
    assert (pair.state.mode, pair.state.factor, pair.state.rule) == ("slowed", 0.5, "block")
    for minute in range(1, 30):
        pair.tick(60 * minute)
    assert pair.state.factor == 0.5
    pair.tick(60 * 30 + 2)
    assert pair.state.factor == 0.6


def test_the_strongest_of_several_rules_wins_and_suspend_concerns_every_address():
    everywhere = replace(PAUSE, name="all", action="suspend", minutes=10, patterns=("domain",))
    pair = Pair(replace(PAUSE, name="slowly", action="slow", patterns=("later",)), PAUSE, everywhere)
    deeds = pair.tick(1, *(replace(at(0, BLOCK), wording=wording) for wording in ("blocked", "domain", "later")))
    assert {deed.rule for deed in deeds} == {"all", "slowly", "block"}
    assert (pair.state.rule, pair.state.mode) == ("all", "suspended")
    assert [deed.rule for deed in deeds if deed.everywhere] == ["all"]
    other = elsewhere(State(), pair.state, NOW)
    assert (other.mode, other.until, other.reason) == ("suspended", pair.state.until, "They block us.")
    held = held_by_hand(State(), NOW, FOREVER, "")
    assert elsewhere(held, pair.state, NOW) is held


def test_the_first_rule_that_fits_a_reply_counts_it_so_the_precise_goes_before_the_general():
    general = replace(PAUSE, name="general", action="suspend", patterns=("block",))
    pair = Pair(PAUSE, general)
    assert [deed.rule for deed in pair.tick(1, at(0, BLOCK))] == ["block"]
    elsewhere_said = Pair(replace(PAUSE, providers=frozenset({"yahoo"})), general)
    assert [deed.rule for deed in elsewhere_said.tick(1, at(0, BLOCK))] == ["general"]


def test_held_by_hand_stays_so_until_its_hour():
    pair = Pair()
    pair.state = held_by_hand(State(), NOW, NOW + timedelta(hours=1), "Moving house.")
    assert not pair.tick(3599, at(100, SLOWER))
    assert (pair.state.mode, pair.state.reason, pair.state.rule) == ("suspended", "Moving house.", "by hand")
    pair.tick(3600)
    assert pair.state.mode == "slowed"


categories = st.sampled_from(["", "rate-limited", "reputation-block", "policy-block", "greylisted", "unknown-address"])
answers = st.builds(
    Answers,
    at=st.integers(-4000, 30).map(lambda s: NOW + timedelta(seconds=s)),
    outcome=st.sampled_from(["delivered", "deferred", "bounced"]),
    n=st.integers(1, 2000),
    category=categories,
    wording=st.sampled_from(["blocked because of its reputation", "too many connections", "[tss04] x", "user unknown"]),
    domain=st.sampled_from(["a.example", "b.example", "c.example", "d.example"]),
)
providers = st.sampled_from(["google", "yahoo", "other"])
RULES = (*built_in(), PAUSE, replace(PAUSE, name="hold", minutes=0))


@given(st.lists(st.lists(answers, max_size=8), max_size=25), providers, st.integers(1, 900))
def test_whatever_is_answered_the_pace_stays_within_its_bounds_and_twice_is_once(
    told: list[list[Answers]], provider: str, step: int
):
    pair = Pair(*RULES, provider=provider)
    for i, batch in enumerate(told):
        now = NOW + timedelta(seconds=step * i)
        before = pair.state
        pair.answers += [replace(a, at=a.at + timedelta(seconds=step * i)) for a in batch]
        pair.tick(step * i)
        state = pair.state
        assert FLOOR <= state.factor <= 1
        assert (state.until is not None) == (state.mode in ("suspended", "held"))
        assert state.mode != "normal" or state.factor == 1
        assert state.until is None or state.until > now
        if before.until is not None and now < before.until:
            assert state == before, "a suspension changes by nothing that is heard"
        assert pair.tick(step * i) == []
        assert pair.state == state


@given(st.lists(answers, max_size=30), providers)
def test_left_in_peace_every_pace_comes_back_to_normal_unless_a_person_must_lift_it(told: list[Answers], provider: str):
    pair = Pair(*built_in(), PAUSE, provider=provider)
    pair.tick(30, *told)
    for minute in range(1, 60 * 24 + 20):
        if not pair.tick(30 + 60 * minute) and pair.state.mode == "normal":
            break
    assert pair.state.mode == "normal"


@given(st.integers(3, 500), st.integers(0, 500), st.integers(0, 500))
def test_more_deferrals_never_mean_a_higher_pace(n: int, more: int, delivered: int):
    few = decide(State(), [at(0, SLOWER, n), good(0, delivered + 1)], (), {}, NOW + timedelta(seconds=1), "google")
    many = decide(
        State(), [at(0, SLOWER, n + more), good(0, delivered + 1)], (), {}, NOW + timedelta(seconds=1), "google"
    )
    assert many[0].factor <= few[0].factor


def test_the_day_is_the_longest_pause_that_nobody_asked_for():
    assert d.PAUSE * 2**10 > d.LONGEST
