"""The classifier: every rule of the data file decides its own example; what it must never get wrong, by table."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.feedback.classify import CATEGORIES, DEAD, UNNAMED, Rule, classify, codes, normalise, rules

RULES = [*rules().provider, *rules().words]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_decides_its_own_example_and_no_earlier_rule_takes_it(rule: Rule) -> None:
    verdict = classify(rule.matches)
    assert (verdict.rule, verdict.category) == (rule.name, rule.category)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_leaves_its_counter_example_alone(rule: Rule) -> None:
    assert not rule.fits(normalise(rule.differs))


def test_every_category_of_the_data_file_is_a_known_one() -> None:
    table = rules()
    named = {rule.category for rule in RULES} | {*table.precise.values(), *table.vague.values(), *table.reply.values()}
    assert named <= set(CATEGORIES)
    assert len({rule.name for rule in RULES}) == len(RULES)


REPLIES = [
    (
        "550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
        "unknown-address",
        True,
    ),
    (
        "host mx.example.org[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command)",
        "unknown-address",
        True,
    ),
    (
        "550-5.1.1 The email account that you tried to reach does not exist. Please\r\n550-5.1.1 try double-checking",
        "unknown-address",
        True,
    ),
    ("550 Requested action not taken: mailbox unavailable", "unknown-address", True),
    ("450 4.1.1 <a@example.org>: Recipient address rejected: unverified address", "unknown-address", False),
    ("552 5.2.2 The email account that you tried to reach is over quota.", "mailbox-full", False),
    ("452 4.2.2 Mailbox full", "mailbox-full", False),
    ("550 5.2.1 The email account that you tried to reach is disabled.", "inactive", False),
    ("550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using Spamhaus", "reputation-block", False),
    (
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
        "reputation-block",
        False,
    ),
    (
        "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        "auth-failure",
        False,
    ),
    ("450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted", "greylisted", False),
    ("451 4.7.1 Greylisting in action, please come back later", "greylisted", False),
    ("554 5.7.1 Message rejected as spam by Content Filtering.", "spam-refused", False),
    ("552 5.3.4 Message size exceeds fixed limit", "too-large", False),
    ("550 5.7.1 relaying denied for <example@example.com>", "relay-refused", False),
    (
        "Host or domain name not found. Name service error for name=gone.example type=MX: Host not found",
        "host-unknown",
        True,
    ),
    ("connect to mx.example.org[192.0.2.1]:25: Connection refused", "network", False),
    ("lost connection with mx.example.org[192.0.2.1] while sending end of data", "network", False),
    ("450 4.7.0 Too many connections from your IP", "rate-limited", False),
    ("530 5.7.0 Must issue a STARTTLS command first", "tls-failure", False),
    ("554 5.7.1 Access denied", "policy-block", False),
    (
        "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]",
        "unknown-address",
        True,
    ),
    ("552 5.2.2 Das Postfach des Empfängers ist voll", "mailbox-full", False),
    ("550 El usuario destinatario no existe", "unknown-address", True),
    ("550 Пользователь не найден", "unknown-address", True),
    ("550 宛先不明です", "unknown-address", True),
    ("", "other", False),
]


@pytest.mark.parametrize(
    ("reply", "category", "hard"), REPLIES, ids=[reply[:50] or "nothing" for reply, _, _ in REPLIES]
)
def test_a_reply_is_read_as_people_who_run_mail_servers_read_it(reply: str, category: str, hard: bool) -> None:
    verdict = classify(reply)
    assert (verdict.category, verdict.hard) == (category, hard), verdict.rule


WORLD = [
    line.split(" ", 2)
    for line in (Path(__file__).parent / "replies.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_replies_of_the_world_s_providers_in_their_languages_are_read() -> None:
    wrong = []
    for category, hardness, reply in WORLD:
        verdict = classify(reply)
        if (verdict.category, verdict.hard) != (category, hardness == "hard"):
            wrong.append(f"{category} {hardness}, not {verdict.category} by {verdict.rule}: {reply}")
    assert not wrong, "\n".join(wrong)
    assert len(WORLD) > 350


@pytest.mark.parametrize(
    ("reply", "hard"),
    [
        ("550 User unknown", True),  # a reply as such, or one in our own log
        (f"550 User unknown {UNNAMED}", False),
        (f"5.0.0 550 User unknown {UNNAMED}", False),
        (f"550 5.1.1 User unknown {UNNAMED}", True),
        (f"554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0] {UNNAMED}", True),
        ("550 User unknown (in reply to rcpt to command)", True),
        ("550 5.1.1 User unknown (in reply to end of data command)", False),
        ("501 Invalid domain name (in reply to helo command)", False),
    ],
)
def test_words_in_a_mail_that_came_back_prove_nothing_if_nobody_says_to_which_command(reply: str, hard: bool) -> None:
    verdict = classify(reply)
    assert verdict.hard is hard
    assert hard or verdict.action != "suppress"


def test_words_inside_an_address_decide_nothing() -> None:
    assert classify("250 2.0.0 <mailbox-full@spam.example> ok").category == "other"
    assert classify("550 5.1.1 <spamhaus@example.org> user unknown").category == "unknown-address"


def test_an_address_in_numbers_is_neither_a_reply_code_nor_an_enhanced_one() -> None:
    assert codes("refused by 550.5.1.1 mx") == ("", "")
    assert codes("550-5.7.26 hard fail 5.1.1.1") == ("550", "5.7.26")


def test_what_takes_part_in_no_rule_is_remembered_as_one_reply() -> None:
    first = normalise("550 5.1.1 <a@example.org> unknown 192.0.2.1")
    assert first == normalise("550 5.1.1 <bcd@example.com> unknown 198.51.100.7")


@given(st.text(max_size=3000))
def test_any_text_gets_a_verdict_and_only_dead_addresses_are_hard(reply: str) -> None:
    verdict = classify(reply)
    assert verdict.category in CATEGORIES
    assert verdict.hard == (verdict.action == "suppress")
    assert not verdict.hard or (verdict.category in DEAD and verdict.fault == "address")


@given(st.sampled_from(RULES), st.sampled_from(["421 4.7.0 ", "450 4.1.1 ", "451 "]))
def test_nothing_temporary_is_hard(rule: Rule, prefix: str) -> None:
    words = re.sub(r"^[245]\d\d[- ](?:[245]\.\d+\.\d+ )?", "", rule.matches)
    assert not classify(prefix + words).hard


def test_hostile_replies_are_read_quickly() -> None:
    for reply in (
        "a" * 100_000,
        "user " * 20_000,
        "550 " + "5.1.1 " * 10_000,
        "@" * 50_000,
        "ip address " * 5_000,
        "size " * 9000,
    ):
        started = time.thread_time()  # what it costs, whatever else this machine does
        classify(reply)
        assert time.thread_time() - started < 0.5, reply[:20]
