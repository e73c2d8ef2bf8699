"""Human or machine: each rule by name, and that people are not taken for machines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.tracking.classify import SOON, agents, bursts, by_agent, decide
from thurn.tracking.spool import Hit

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
OUTLOOK = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Microsoft Outlook 16.0.17928)"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


def hit(
    purpose: str = "o",
    at: float = 100.0,
    agent: str = FIREFOX,
    method: str = "GET",
    link: int = 0,
    prefetch: bool = False,
) -> Hit:
    return Hit(purpose, 1, 7, 8, link, at, method, prefetch, agent)


@pytest.mark.parametrize(
    ("what", "actor", "rule"),
    [
        (hit(), "human", "person"),
        (hit(agent=IPHONE), "human", "person"),
        (hit(agent=OUTLOOK), "human", "person"),
        (hit(agent=GMAIL), "human", "image-proxy"),
        (hit(agent=GMAIL, at=90.5), "machine", "too-soon"),
        (hit(agent="Mozilla/5.0"), "machine", "apple-mail-privacy"),
        (hit(agent=""), "machine", "no-user-agent"),
        (hit(agent=" "), "machine", "no-user-agent"),
        (hit(method="HEAD"), "machine", "head-request"),
        (hit(prefetch=True), "machine", "prefetch"),
        (
            hit(agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
            "machine",
            "known-robot",
        ),
        (hit(agent="curl/8.1"), "machine", "known-robot"),
        (hit(purpose="c", agent="BarracudaCentral/1.0"), "machine", "known-robot"),
        (hit(purpose="c", at=89.0), "machine", "too-soon"),  # before the server even said yes
        (hit(purpose="c", at=92.6), "human", "person"),
    ],
)
def test_a_hit_is_decided_by_the_first_rule_that_gives_it_away(what: Hit, actor: str, rule: str) -> None:
    assert decide(what, 90.0, {}) == (actor, rule)


def test_time_decides_nothing_when_nobody_knows_when_the_mail_arrived() -> None:
    assert decide(hit(at=0.5), None, {}) == ("human", "person")


KEY = (7, 8)


@pytest.mark.parametrize(
    ("clicks", "moments"),
    [
        ([(10.0, 1), (10.2, 2)], [10.0, 10.2]),
        ([(10.0, 1), (10.0, 1)], []),  # a double click
        ([(10.0, 1), (12.5, 2)], []),  # a person, back in the mail
        ([(10.0, 1), (11.2, 2), (11.9, 3)], [10.0, 11.2, 11.9]),
        ([(10.0, 1), (10.1, 2), (60.0, 3)], [10.0, 10.1]),
        ([(60.0, 3), (10.1, 2), (10.0, 1)], [10.0, 10.1]),  # in any order
    ],
)
def test_several_links_at_once_are_a_scanner(clicks: list[tuple[float, int]], moments: list[float]) -> None:
    assert bursts([(KEY, at, link) for at, link in clicks]).get(KEY, []) == moments


def test_a_burst_makes_its_clicks_and_the_open_beside_it_machine_but_not_the_person_after_it() -> None:
    burst = bursts([(KEY, 100.0, 1), (KEY, 100.1, 2)])
    assert decide(hit("c", 100.1, link=2), 50.0, burst).rule == "burst-of-links"
    assert decide(hit("o", 99.8), 50.0, burst).rule == "beside-burst"
    assert decide(hit("c", 103.0, link=2), 50.0, burst) == ("human", "person")
    assert decide(hit("o", 103.0), 50.0, burst) == ("human", "person")


def test_clicks_of_different_recipients_are_no_burst() -> None:
    assert bursts([((7, n), 10.0, n % 3) for n in range(100)]) == {}


def test_the_list_of_agents_knows_no_word_that_people_s_mail_programs_use() -> None:
    programs = [
        FIREFOX, IPHONE, OUTLOOK,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Safari/537.36 Edg/126.0",
    ]  # fmt: skip
    assert {by_agent(program) for program in programs} == {("human", "person")}
    assert all(word == word.lower() for word in (*agents().robots, *agents().proxies))


@given(st.text(max_size=300), st.floats(0, 1e10), st.one_of(st.none(), st.floats(0, 1e10)), st.sampled_from("oc"))
def test_any_hit_gets_a_decision_with_a_named_rule(
    agent: str, at: float, delivered: float | None, purpose: str
) -> None:
    decision = decide(hit(purpose, at, agent), delivered, {})
    assert decision.actor in ("human", "machine")
    assert decision.rule
    if delivered is not None and at < delivered + SOON:
        assert decision.actor == "machine"
