"""A mail's way in words."""

import pytest

from thurn.trace.route import reason


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
