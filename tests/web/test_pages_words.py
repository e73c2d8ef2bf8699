"""Numbers, dates, bars and states as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from thurn.campaigns.figures import figures
from thurn.campaigns.why import why
from thurn.feedback.classify import CATEGORIES
from thurn.web import bars, icons, words
from thurn.web.render import environment


@pytest.mark.parametrize(
    ("n", "of", "text"),
    [
        (319, 1000, "31.9%"), (1, 1, "100%"), (0, 5, "0%"), (218, 145_000, "0.15%"), (15, 150_000, "0.010%"),
        (9999, 10_000, "99.9%"), (5, 0, "–"), (None, 5, "–"), (1, 10_000_000, "under 0.001%"), (43, 1000, "4.3%"),
    ],
)  # fmt: skip
def test_a_rate_has_as_many_digits_as_it_deserves(n, of, text):
    assert words.rate(n, of) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (14, "14 s"),
        (59.6, "1 min"),
        (360, "6 min"),
        (10_200, "2 h 50 min"),
        (7200, "2 h"),
        (260_000, "3 days"),
        (None, "–"),
    ],
)
def test_a_duration_is_short(seconds, text):
    assert words.duration(seconds) == text


def test_a_moment_is_today_this_year_or_long_ago():
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert str(words.when(now - timedelta(hours=1), now=now)).count("today") == 1
    assert "yesterday, " in words.when(now - timedelta(days=1), now=now)
    assert "Fri 20 Nov, " in words.when(now - timedelta(days=3), now=now)
    assert "15 Oct 2025, " in words.when(datetime(2025, 10, 15, 12, tzinfo=UTC), now=now)
    assert 'datetime="2026-11-23T' in words.when(now, now=now)
    assert words.when(None) == "–"


def test_small_words_fit_their_numbers():
    assert words.count(1, "person", "people") == "1 person"
    assert words.count(41_386, "person", "people") == "41,386 people"
    assert words.joined([]) == ""
    assert words.joined(["a", "b", "c"]) == "a, b and c"
    assert (words.size(0), words.size(1536), words.size(5 * 1024**3)) == ("0 bytes", "1.5 KB", "5.0 GB")
    assert (words.initials("Anna Maria Lindner"), words.initials("anna.lindner@x.example"), words.initials("")) == (
        "AL",
        "AL",
        "?",
    )


def test_the_parts_of_a_bar_add_up_to_its_whole():
    svg = bars.tally([("ok", 1), ("warn", 1), ("bad", 0), ("wait", 2)], height=8)
    assert svg.count('width="25.000%"') == 2
    assert 'width="50.000%"' in svg
    assert 'aria-label="1 delivered, 1 retrying, 2 waiting"' in svg
    assert "Nothing yet" in bars.tally([("ok", 0)])


def test_a_share_never_leaves_its_bar():
    assert 'width="100.00%"' in bars.share(1.7, 0.5)
    assert "h-machine" not in bars.share(1.7, 0.5)
    assert 'x="30.00%" y="0" width="70.00%"' in bars.share(0.3, 5)
    assert "&lt;b&gt;" in bars.share(0.3, label="<b>")
    assert ["f-warn" in bars.share(0.9, tone=tone) for tone in ("warn", "", "anything")] == [True, False, False]
    assert "f-bad" in bars.share(1, tone="bad")


def test_every_recipient_is_in_one_part():
    tallies = {
        "delivered": 70,
        "deferred": 5,
        "bounced_hard": 3,
        "bounced_soft": 2,
        "suppressed": 4,
        "failed": 1,
        "handed_over": 80,
    }
    found = figures(100, tallies)
    assert sum(n for _, n in found.parts) == 100
    assert (found.answered, found.waiting, found.left_out) == (80, 15, 5)
    assert figures(0, tallies).waiting == 0


def test_every_state_of_a_campaign_and_every_category_has_words():
    for state in ("draft", "launching", "sending", "paused", "cancelled", "sent"):
        assert icons.CAMPAIGN_STATES[state] in icons.STATES
    for word in icons.STATES:
        assert word in icons.state(word)
    for category in CATEGORIES:
        assert "-" not in why(category, "bounced").what or category == "other"
        assert (why(category, "bounced").then == "Suppressed") == (
            category in ("unknown-address", "moved", "host-unknown")
        )
    assert why("brand-new", "deferred").what == "Brand new"


def test_every_template_compiles_and_escapes():
    template = environment.from_string(
        "{{ field('a', x, x, help=x, error=x) }}{{ verdict('bad', x, x) }}{{ stop_it(x) }}"
    )
    with pytest.raises(Exception, match="stop_it"):
        template.render(x="<b>")
    html = environment.from_string(
        "{{ field('a', x, x, help=x, error=x) }}{{ verdict('bad', x, x) }}{{ copy(x) }}"
    ).render(x='"<b>')
    assert "<b>" not in html
