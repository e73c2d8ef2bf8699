"""When a stricter policy is safe, and what is said of each sender: by table."""

from datetime import date
from typing import Any

import pytest

from thurn.dmarc.advice import advise
from thurn.dmarc.sources import Source, group
from thurn.dmarc.telling import words
from thurn.dmarc.tlsfailures import MEANINGS, UNKNOWN, meaning
from thurn.web.bars import columns


def ours(passed: int, failed: int = 0, **more: Any) -> Source:
    return Source("own", mails=passed + failed, passed=passed, dkim=passed, **more)


FORGER = Source("203.0.113.0/24", mails=400)


@pytest.mark.parametrize(
    ("published", "days", "sources", "at_policy", "level", "next_one"),
    [
        ("", 0, [], 0, "off", ""),
        ("none", 14, [ours(990, 10)], 14, "ok", "quarantine"),
        ("none", 13, [ours(990, 10)], 13, "warn", ""),
        ("none", 30, [ours(99)], 30, "warn", ""),  # too few mails to speak in per cent
        ("none", 30, [ours(975, 25)], 30, "warn", ""),
        ("none", 30, [ours(980, 20)], 30, "ok", "quarantine"),
        ("none", 30, [ours(980, 120, forwarded=110)], 30, "ok", "quarantine"),
        ("none", 30, [ours(1000), FORGER], 30, "warn", ""),
        ("none", 30, [ours(1000), Source("203.0.113.0/24", "foreign", mails=400)], 30, "ok", "quarantine"),
        ("none", 30, [ours(1000), Source("printer.example", "ours", mails=400)], 30, "warn", ""),
        ("none", 30, [ours(100_000), Source("192.0.2.0/24", mails=50)], 30, "ok", "quarantine"),  # too small to matter
        ("none", 30, [ours(1000), Source("192.0.2.0/24", mails=1)], 30, "ok", "quarantine"),
        ("none", 30, [ours(1000), Source("list.example", mails=50, forwarded=50)], 30, "ok", "quarantine"),
        ("none", 30, [], 30, "warn", ""),
        ("quarantine", 30, [ours(995, 5)], 14, "ok", "reject"),
        ("quarantine", 30, [ours(985, 15)], 30, "warn", ""),
        ("quarantine", 30, [ours(1000)], 13, "warn", ""),
        ("reject", 30, [ours(1000), FORGER], 30, "ok", ""),
        ("reject", 30, [ours(950, 50)], 30, "bad", ""),
    ],
)
def test_the_advice_follows_from_days_share_and_decided_senders(
    published: str, days: int, sources: list[Source], at_policy: int, level: str, next_one: str
):
    advice = advise(published, days, sources, days_at_policy=at_policy)
    assert (advice.level, advice.next) == (level, next_one)
    assert bool(advice.figures) is bool(published)
    if next_one:
        assert all(figure.good for figure in advice.figures)
    if level == "warn":
        assert not all(figure.good for figure in advice.figures)


def test_the_figures_stand_in_the_advice():
    advice = advise("none", 9, [ours(970, 30), FORGER], days_at_policy=9)
    said = [(figure.good, figure.text) for figure in advice.figures]
    assert said == [
        (False, "Reports of 9 days in the last 30; 14 are enough."),
        (True, "1,000 mails of your own, forwarded ones left out; 100 are enough."),
        (False, "97.0% of them pass (970 of 1,000); it takes 98%."),
        (False, "It is not known whether 1 sender is yours: 203.0.113.0/24."),
    ]


@pytest.mark.parametrize(
    ("source", "state"),
    [
        (Source("a", mails=5, passed=5), "Passes"),
        (Source("a", mails=5, passed=3, forwarded=2), "Passes"),
        (Source("a", mails=5, passed=3), "Partly passes"),
        (Source("a", "ours", mails=5), "Fails"),
        (Source("a", "foreign", mails=5, passed=5), "Forged"),
        (Source("a", mails=5), "Undecided"),
        (Source("a", mails=5, forwarded=5), "Forwarded"),
    ],
)
def test_a_sender_has_one_state(source: Source, state: str):
    assert source.state == state


def test_servers_of_one_service_are_one_sender():
    def row(ip: str, sender: str, org: str, mails: int) -> dict[str, Any]:
        return {"source": ip, "sender": sender, "org": org, "host": "", "mails": mails, "passed": 1, "dkim": 1,
                "spf": 0, "forwarded": 0, "stopped": 0, "last": date(2026, 11, mails)}  # fmt: skip

    found = group(
        [
            row("192.0.2.1", "ses", "", 3),
            row("192.0.2.2", "", "amazonses.com", 4),
            row("192.0.2.3", "", "x.example", 9),
        ],
        {"x.example": "foreign"},
    )
    assert [(s.name, s.mails, s.passed, len(s.addresses), s.verdict) for s in found] == [
        ("x.example", 9, 1, 1, "foreign"), ("Amazon SES", 7, 2, 2, ""),
    ]  # fmt: skip
    assert found[1].last == date(2026, 11, 4)


def test_every_failure_of_the_standard_has_its_words():
    assert len(MEANINGS) == 11
    assert meaning("certificate-expired").what == "The certificate had run out"
    assert meaning("dragons") is UNKNOWN


def test_many_new_senders_are_told_in_one_sentence():
    subject, text = words("brotzeit.example", [Source(f"{n}.example", mails=n) for n in range(1, 15)])
    assert subject == "14 new senders as brotzeit.example, of which nothing passes"
    assert "1.example (1 mail), 2.example (2 mails)" in text
    assert "and 4 more" in text


def test_columns_are_as_high_as_their_part_and_never_invisible():
    chart = str(columns([(96, 0), (0, 1), (0, 0)], label="It <passed>", height=100))
    assert 'aria-label="It &lt;passed&gt;"' in chart
    assert 'height="96.0" class="f-ok"' in chart
    assert 'height="2.0" class="f-bad"' in chart
    assert chart.count("<rect") == 3
    assert "<svg" in str(columns([], label="Nothing"))
