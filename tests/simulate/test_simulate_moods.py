"""Providers in a mood."""

import pytest

from thurn.feedback.classify import classify
from thurn.shaping.rules import built_in
from thurn.simulate.moods import REFUSALS, Mood, Moods
from thurn.simulate.replies import refusal


def test_a_rate_is_enforced_over_any_minute_and_refills():
    moods = Moods()
    moods.put("gmx", Mood("rate", 1000, per_minute=60))
    taken = [moods.answer("gmx", "127.0.0.1", 0, 0.1 * tick) is None for tick in range(600)]
    assert sum(taken) == pytest.approx(60 + 5, abs=1)
    assert sum(taken[:6]) == 5
    assert moods.answer("google", "127.0.0.1", 0, 1) is None


def test_a_mood_passes_by_itself_is_calmed_and_may_concern_one_address_and_a_share():
    moods = Moods()
    moods.put("yahoo", Mood("block", 10, share=0.25, client="127.0.0.2"))
    assert moods.answer("yahoo", "127.0.0.2", 0.2, 9) == "block"
    assert moods.answer("yahoo", "127.0.0.2", 0.3, 9) is None
    assert moods.answer("yahoo", "127.0.0.1", 0.2, 9) is None
    assert moods.answer("yahoo", "127.0.0.2", 0.2, 10) is None
    moods.put("yahoo", Mood("tempfail", 99))
    moods.calm()
    assert moods.answer("yahoo", "127.0.0.2", 0, 1) is None


@pytest.mark.parametrize("provider", ["google", "microsoft", "yahoo", "apple", "gmx", "other"])
def test_what_they_say_in_a_mood_is_about_the_sender_and_never_suppresses(provider: str):
    for kind in REFUSALS:
        reply = " ".join(refusal(kind, provider, "a@b.example", 7))
        assert reply.startswith("5" if kind == "block" else "4")
        verdict = classify(reply)
        assert not verdict.hard
        assert verdict.action in ("slow", "stop"), (reply, verdict)


@pytest.mark.parametrize(
    ("kind", "provider", "rule"),
    [
        ("rate", "google", "google-rate-of-address"),
        ("rate", "microsoft", "microsoft-rate-limited"),
        ("rate", "gmx", "gmx-rate-limited"),
        ("tempfail", "yahoo", "yahoo-complaints"),
        ("block", "microsoft", "microsoft-blocked"),
        ("block", "yahoo", "yahoo-blocked"),
        ("block", "gmx", "gmx-blocked"),
        ("block", "apple", "apple-blocked"),
        ("block", "other", "on-a-block-list"),
    ],
)
def test_the_rules_know_what_they_say(kind: str, provider: str, rule: str):
    reply = " ".join(refusal(kind, provider, "a@b.example", 7))
    fitting = [each.name for each in built_in() if each.concerns(provider) and each.fits_reply(reply)]
    assert fitting[0] == rule
