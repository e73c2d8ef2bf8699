"""The rules that come with Thurn, walked one by one, and what makes a rule fit to be used."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.delivery.providers import PROVIDERS
from thurn.shaping.rules import ACTIONS, Rule, built_in, faults, trouble_of

OWN = Rule(
    name="my-rule", action="slow", patterns=("come back tomorrow",), matches="451 4.7.1 Come back tomorrow",
    differs="451 4.7.1 Come back in a minute", count=3, period=5,
)  # fmt: skip


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.name)
def test_each_rule_fits_its_example_leaves_the_other_alone_and_tells_an_operator_what_to_do(rule: Rule):
    assert list(faults(rule)) == []
    assert rule.fits_reply(rule.matches)
    assert not rule.fits_reply(rule.differs)
    assert rule.why.endswith(".")
    assert rule.todo.endswith(".")
    assert re.match(r"https?://|practice: ", rule.source)
    assert not rule.link or rule.link.startswith("https://")
    assert rule.minutes or rule.action != "slow", "nobody has to lift a slow pace by hand"


def test_rules_speak_of_providers_that_the_book_has():
    assert {name for rule in built_in() for name in rule.providers} <= set(PROVIDERS)


def test_rule_names_are_unique_and_every_action_is_used():
    names = [rule.name for rule in built_in()]
    assert len(names) == len(set(names))
    assert {rule.action for rule in built_in()} == set(ACTIONS)


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.name)
def test_a_rule_for_one_provider_hears_no_other_and_no_rule_fits_a_dead_address(rule: Rule):
    assert not rule.providers or not rule.concerns("nowhere")
    for reply in (
        "550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
        "552 5.2.2 The email account that you tried to reach is over quota - gsmtp",
        "450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/",
        "250 2.0.0 Ok: queued as 4XyZ",
    ):
        assert not rule.fits_reply(reply)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"matches": ""}, "matches", "Give a reply this rule must fit"),
        ({"matches": "550 5.1.1 User unknown"}, "matches", "does not fit this reply. After normalisation it reads"),
        ({"differs": ""}, "differs", "must not be caught"),
        ({"differs": "452 Come back tomorrow, please"}, "differs", "fits this reply too"),
        ({"patterns": ()}, "any", "would fit every reply"),
        ({"patterns": ("(",)}, "any", "no regular expression"),
        ({"patterns": (" ",)}, "any", "may not be empty"),
        ({"patterns": ("x*",)}, "any", "fits an empty reply"),
        ({"patterns": ("(a+)+$",)}, "any", "busy for hours"),
        ({"patterns": ("a",) * 21}, "any", "at most 20 patterns"),
        ({"unless": ("[",)}, "unless", "no regular expression"),
        ({"name": "My rule!"}, "name", "small letters"),
        ({"action": "explode"}, "action", "Choose one of slow"),
        ({"outcome": "sent"}, "outcome", "deferred, bounced or both"),
        ({"categories": frozenset({"gremlins"})}, "category", "no category gremlins"),
        ({"count": 0}, "count", "at least 1"),
        ({"period": 1441}, "period", "1,440"),
        ({"share": 1.5}, "share", "between 0 and 1"),
        ({"minutes": -1}, "minutes", "30 days"),
    ],
)
def test_a_rule_with_a_fault_is_told_which_field_and_why(change: dict[str, object], field: str, words: str):
    found = dict(faults(replace(OWN, **change)))
    assert words in found[field]


def test_a_rule_without_fault_has_none():
    assert list(faults(OWN)) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "((ab)*c)*d",
        "(a|ab)*c",
        "(?:a?){30}b",
        "(x+x+)+y",
        "(a{1,9}){2,9}b",
        "a.*b.*c.*d",
        "(" * 300,
    ],
)
def test_a_pattern_that_could_take_hours_is_refused(pattern: str):
    assert trouble_of(pattern)


@given(st.text(alphabet="ab|()*+?{}3,.\\d[]^$", max_size=14))
def test_whatever_is_accepted_answers_at_once(pattern: str):
    if not trouble_of(pattern):
        began = time.thread_time()
        re.search(pattern, "ab3" * 200 + "!")
        assert time.thread_time() - began < 2


@given(st.text(max_size=80), st.text(max_size=300))
def test_no_reply_and_no_pattern_raises(pattern: str, reply: str):
    rule = replace(OWN, patterns=(pattern,), matches=reply)
    list(faults(rule))
    if not trouble_of(pattern):
        rule.fits_reply(reply)
