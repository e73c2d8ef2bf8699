"""A mail's way in words."""

from datetime import UTC, datetime

import pytest

from thurn.trace.route import reason, route, state_of


@pytest.mark.parametrize(
    ("state", "reply", "words"),
    [
        ("deferred", "452 4.2.2 over quota", "Mailbox is full"),
        ("bounced", "550 5.1.1 no such user", "Address does not exist"),
        ("refused", "550 5.1.1 <a@b.example>: Recipient address rejected: no", "Recipient address rejected: no"),
        ("postponed", "4.7.1 Try again later", "Try again later"),
        ("refused", "", ""),
        ("refused", "554 5.7.1 " + "x" * 500, "x" * 119 + "…"),
    ],
)
def test_why_a_mail_did_not_arrive(state: str, reply: str, words: str) -> None:
    assert reason(state, reply) == words


def test_what_the_spam_filter_held_against_it_is_said_in_sentences() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    verdict = {
        "at": now, "action": "reject", "score": 17.2, "required": 15.0, "spf": "fail", "dkim": "", "dmarc": "fail",
        "arc": "", "header_from": "anna@brotzeit.example", "mail_from": "x@elsewhere.example",
        "symbols": [{"name": "DMARC_POLICY_REJECT", "score": 2.0}, {"name": "ODD"}, {"score": 1}],
    }  # fmt: skip
    mail = {
        "queue_id": "4Nl1Wk2bQHz1", "at": now, "login": "", "client_ip": "192.0.2.7", "client_name": "unknown",
        "verdict": verdict, "recipients": [], "steps": [],
    }  # fmt: skip
    (came, judged) = route(mail)
    assert came.title == "Taken in"
    assert (judged.kind, judged.title) == ("bad", "Refused as spam")
    assert "Claims to be from brotzeit.example, but was not sent from their server." in judged.text
    assert ("SPF", "fail") in judged.facts
    assert state_of(mail) == ""
