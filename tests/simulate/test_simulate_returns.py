"""What people and programs send back in the simulated internet is what Thurn reads it to be."""

import pytest

from thurn.feedback.bounce_mail import read
from thurn.feedback.matching import Tokens, matches
from thurn.feedback.mime import split
from thurn.mail.tokens import TrackingTokens, VerpTokens
from thurn.simulate.behaviour import FORCED, behaviour
from thurn.simulate.returns import RETURNS, Got

TOKENS = Tokens(VerpTokens(b"v" * 32), TrackingTokens(b"t" * 32))
LOCAL = TOKENS.verp.local_part("e1", "gmx", 7, 42)
TOKEN = LOCAL.rpartition(".")[2]
HOME = "bounce.brotzeit.example"
MAIL = (
    f"From: Brotzeit <post@brotzeit.example>\r\nReply-To: hello@brotzeit.example\r\nTo: ada@gmx.example\r\n"
    f"Subject: May\r\nMessage-ID: <{TOKEN}@brotzeit.example>\r\nCFBL-Feedback-ID: {TOKEN}\r\n"
    f"List-Unsubscribe: <https://x.example/u/x>,\r\n <mailto:{TOKENS.verp.leave(7, 42)}@{HOME}?subject=unsubscribe>\r\n"
    "\r\nHello\r\n"
).encode()
GOT = Got(f"{LOCAL}@{HOME}", "ada@gmx.example", MAIL, 5)


@pytest.mark.parametrize(
    ("what", "kind", "sender", "to", "by"),
    [
        ("answer", "reply", "ada@gmx.example", "hello@brotzeit.example", "reference"),
        ("answer-sender", "reply", "ada@gmx.example", GOT.sender, "address"),
        ("away", "auto-reply", "", GOT.sender, "address"),
        ("unsubscribe-by-mail", "other", "ada@gmx.example", f"{TOKENS.verp.leave(7, 42)}@{HOME}", ""),
        ("delayed", "delayed", "", GOT.sender, "address"),
        ("complain-redacted", "complaint", "feedback@gmx.example", f"fbl@{HOME}", "feedback-id"),
        ("complain-attached", "complaint", "staff@gmx.example", f"fbl@{HOME}", "message-id"),
        ("forge", "bounce", "", f"b.e1.gmx.{'a' * 20}@{HOME}", ""),
    ],
)
def test_it_is_read_as_what_it_is_and_matched_by_what_it_has(
    what: str, kind: str, sender: str, to: str, by: str
) -> None:
    sent = RETURNS[what](GOT, "full")
    assert sent is not None
    incoming = read(sent.mail)
    assert (incoming.kind, sent.sender, sent.to) == (kind, sender, to)
    found = next(matches(TOKENS, to, incoming, split(sent.mail)[0]), None)
    assert (found.by, found.key) == (by, (7, 42)) if by else found is None
    assert b"ada@" not in sent.mail or what != "complain-redacted"


def test_a_mail_without_an_address_for_it_is_not_left_by_mail() -> None:
    assert RETURNS["unsubscribe-by-mail"](Got(GOT.sender, GOT.recipient, b"Subject: x\r\n\r\n", 5), "") is None


@pytest.mark.parametrize("label", FORCED)
def test_every_forced_label_has_a_behaviour_that_needs_no_dice(label: str) -> None:
    for n in range(20):
        how = behaviour(f"{label}.r{n}@gmx.example", 1)
        first = behaviour(f"{label}.r0@gmx.example", 1)
        assert (how.receive, [s.what for s in how.steps]) == (first.receive, [s.what for s in first.steps])
