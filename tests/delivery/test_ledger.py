"""The ledger's rules, by table and by random walks."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.delivery.ledger import Entry, Fact, advance, gauge

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def walk(*facts: Fact) -> tuple[Entry, dict[str, int]]:
    entry, tallies = Entry("leased", 1), {}
    for fact in facts:
        change = advance(entry, fact)
        if change:
            entry = change.entry
            for measure, n in change.tallies.items():
                tallies[measure] = tallies.get(measure, 0) + n
    return entry, {k: v for k, v in tallies.items() if v}


def fact(kind: str, **more: object) -> Fact:
    return Fact(kind, NOW, **more)  # type: ignore[arg-type]  # test shorthand


@pytest.mark.parametrize(
    ("facts", "state", "tallies"),
    [
        ([fact("handed_over"), fact("delivered")], "delivered", {"handed_over": 1, "delivered": 1}),
        ([fact("delivered"), fact("handed_over")], "delivered", {"handed_over": 1, "delivered": 1}),
        ([fact("handed_over"), fact("handed_over")], "handed_over", {"handed_over": 1}),
        (
            [fact("deferred"), fact("deferred"), fact("delivered")],
            "delivered",
            {"handed_over": 1, "delivered": 1, "deferred_then_delivered": 1},
        ),
        ([fact("deferred")], "deferred", {"handed_over": 1, "deferred": 1}),
        ([fact("bounced", hard=True)], "bounced", {"handed_over": 1, "bounced_hard": 1}),
        ([fact("delivered"), fact("bounced", hard=False)], "bounced", {"handed_over": 1, "bounced_soft": 1}),
        ([fact("bounced", hard=True), fact("delivered")], "bounced", {"handed_over": 1, "bounced_hard": 1}),
        ([fact("delivered"), fact("deferred")], "delivered", {"handed_over": 1, "delivered": 1}),
        ([fact("returned", attempt=1)], "queued", {}),
        ([fact("returned", attempt=0)], "leased", {}),
        ([fact("handed_over"), fact("returned", attempt=1)], "handed_over", {"handed_over": 1}),
        ([fact("handed_over"), fact("lost")], "unknown", {"handed_over": 1, "unknown": 1}),
        (
            [fact("handed_over"), fact("lost"), fact("bounced", hard=True)],
            "bounced",
            {"handed_over": 1, "bounced_hard": 1},
        ),
        ([fact("lost")], "leased", {}),
        ([fact("delivered"), fact("lost")], "delivered", {"handed_over": 1, "delivered": 1}),
        ([fact("suppressed", attempt=1)], "suppressed", {"suppressed": 1}),
        ([fact("failed", attempt=1)], "failed", {"failed": 1}),
        (
            [fact("delivered"), fact("complained"), fact("complained")],
            "delivered",
            {"handed_over": 1, "delivered": 1, "complained": 1},
        ),
    ],
)
def test_outcomes_lead_to_a_state_and_tallies(facts: list[Fact], state: str, tallies: dict[str, int]) -> None:
    assert walk(*facts)[0].state == state
    assert walk(*facts)[1] == tallies


def test_a_mail_whose_time_is_over_keeps_the_last_reply_of_its_provider() -> None:
    over = fact("bounced", hard=False, category="expired", reply="4.4.7 expired")
    entry, _ = walk(fact("deferred", reply="451 4.7.1 Greylisted"), over)
    assert (entry.state, entry.hard, entry.category, entry.reply) == (
        "bounced", False, "expired", "451 4.7.1 Greylisted"
    )  # fmt: skip
    assert walk(fact("handed_over"), over)[0].reply == "4.4.7 expired"


def test_only_a_hard_bounce_or_a_complaint_suppresses() -> None:
    entry = Entry("handed_over", 1, handed_over_at=NOW)
    suppressions = [
        (c.suppress if (c := advance(entry, f)) else None)
        for f in (fact("bounced", hard=True), fact("bounced", hard=False), fact("deferred"), fact("complained"))
    ]
    assert suppressions == ["bounce", None, None, "complaint"]


facts_strategy = st.lists(
    st.builds(
        Fact,
        st.sampled_from(
            [
                "handed_over",
                "delivered",
                "deferred",
                "bounced",
                "complained",
                "returned",
                "suppressed",
                "failed",
                "lost",
            ]
        ),
        st.just(NOW),
        attempt=st.sampled_from([None, 1, 2]),
        hard=st.booleans(),
    ),
    max_size=8,
)


@given(facts_strategy)
def test_tallies_always_add_up_to_the_state(facts: list[Fact]) -> None:
    entry, tallies = walk(*facts)
    measure = gauge(entry)
    gauges = {
        m: tallies.get(m, 0) for m in ("deferred", "delivered", "bounced_hard", "bounced_soft", "suppressed", "failed")
    }
    assert gauges == {m: int(m == measure) for m in gauges}
    assert tallies.get("handed_over", 0) == (entry.handed_over_at is not None)


@given(facts_strategy)
def test_hearing_everything_twice_changes_nothing(facts: list[Fact]) -> None:
    once = [f for f in facts if f.kind != "deferred"]
    assert walk(*once)[1] == walk(*[g for f in once for g in (f, f)])[1]
