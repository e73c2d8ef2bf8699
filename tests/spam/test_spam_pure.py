"""What needs no daemon: lists of senders, reasons in words, reading a hostile mail, reports of any shape."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thurn.problems import Invalid
from thurn.spam import judged
from thurn.spam.digest import words
from thurn.spam.preferences import Effective, Preferences, outcome
from thurn.spam.reading import read
from thurn.spam.reasons import reasons
from thurn.spam.senders import Entry, entry, keys, listed
from thurn.spam.wishes import NEVER, Wish, answer


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" Shop@Example.ORG ", "shop@example.org"),
        ("a_b@x.example", "a_b@x.example"),
        ("x.example", "x.example"),
        ("*.x.example", "*.x.example"),
        ("news@brötchen.example", "news@xn--brtchen-b1a.example"),
        ("o'hara+x@x.example", "o'hara+x@x.example"),
    ],
)
def test_a_sender_is_stored_in_one_form(typed: str, stored: str) -> None:
    assert entry(typed) == stored


@pytest.mark.parametrize(
    "typed",
    ["", "@", "@x.example", "x", "*", "*@x.example", "a*b@x.example", "*.*.x.example", "x.*.example", "a b@x.example",
     "<a@x.example>", '"a"@x.example', "a@", "\0", "a@[192.0.2.1]", "x" * 400 + "@x.example", ".*@x.example", "%"],
)  # fmt: skip
def test_what_is_no_sender_is_refused_in_words(typed: str) -> None:
    with pytest.raises(Invalid):
        entry(typed)


@pytest.mark.parametrize(
    ("listed_as", "address", "matches"),
    [
        ("a_b@x.example", "a_b@x.example", True),
        ("a_b@x.example", "acb@x.example", False),
        ("a_b@x.example", "A_B@X.EXAMPLE", True),
        ("x.example", "anybody@x.example", True),
        ("x.example", "anybody@sub.x.example", False),
        ("x.example", "anybody@notx.example", False),
        ("*.x.example", "anybody@a.b.x.example", True),
        ("*.x.example", "anybody@x.example", False),
        ("x.example", "x.example", False),
        ("x.example", "", False),
        ("x.example", "a@x.example@evil.example", False),
    ],
)
def test_a_sender_is_matched_whole(listed_as: str, address: str, matches: bool) -> None:
    assert (listed([Entry(listed_as, "block", True)], address) == "block") is matches


def test_the_mailboxs_own_entry_goes_before_the_domains_and_the_exact_one_before_the_wide() -> None:
    wide, exact = Entry("x.example", "block", False), Entry("a@x.example", "allow", False)
    assert listed([wide, exact], "a@x.example") == "allow"
    assert listed([wide, exact], "b@x.example") == "block"
    assert listed([Entry("x.example", "allow", True), Entry("a@x.example", "block", False)], "a@x.example") == "allow"


@given(st.text())
def test_no_address_breaks_the_lists(address: str) -> None:
    keys(address)


def test_the_mildest_of_several_recipients_decides_about_refusal() -> None:
    said = answer([Wish(3, 8), Wish(9, 20, greylist=False)])
    assert said["actions"] == {"greylist": NEVER, "add header": 9, "reject": 20}
    assert answer([])["actions"] == {"greylist": 4, "add header": 6, "reject": 15}


def test_a_list_entry_decides_for_all_only_when_all_have_it() -> None:
    blocks, other = Wish(blocked=True, mark="m1"), Wish(mark="m2")
    assert answer([blocks])["blocked"]
    assert (answer([blocks, other])["blocked"], answer([blocks, other])["junk_for"]) == (False, ["m1"])
    assert not answer([Wish(allowed=True), other])["allowed"]
    assert answer([Wish(allowed=True)])["actions"]["greylist"] == NEVER


def symbol(name: str, score: float = 1.0) -> dict[str, object]:
    return {"name": name, "score": score, "options": []}


def test_reasons_are_sentences_the_gravest_first_and_each_once() -> None:
    found = reasons(
        [symbol("URIBL_BLACK", 7), symbol("DBL_SPAM", 6), symbol("DMARC_POLICY_REJECT", 0), symbol("R_DKIM_NA", 0)],
        header_from="billing@bank.example",
    )
    assert [reason.text for reason in found] == [
        "Claims to be from bank.example, but was not sent from their server.",
        "Has a link to a site known from spam.",
    ]


def test_there_is_always_a_reason() -> None:
    assert reasons([])[0].text == reasons([symbol("NEVER_HEARD_OF", 20)])[0].text
    assert "{" not in reasons([symbol("R_SPF_FAIL")], mail_from="")[0].text


def test_a_sender_with_braces_in_its_name_fills_in_nothing() -> None:
    [found] = reasons([symbol("R_SPF_FAIL")], mail_from="a@{seen}.{0.__class__}", header_from="b@c")
    assert "{0.__class__}" in found.text


@given(st.binary(max_size=3000))
def test_no_mail_breaks_the_reading(raw: bytes) -> None:
    reading = read(raw)
    assert reading.text.isprintable() or "\n" in reading.text or "\t" in reading.text
    assert len(reading.text) <= 20_000


def test_a_held_mail_is_text_and_nothing_of_it_is_followed() -> None:
    raw = (
        b"Subject: =?utf-8?B?4oCuZXZpbA==?=\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/html\r\n\r\n<style>p{}</style><script>alert(1)</script><p>Pay <b>now</b></p>"
        b'<img src=http://evil.example/pixel.png>\r\n--x\r\nContent-Type: application/x-msdownload; name="a.exe"\r\n'
        b"Content-Disposition: attachment\r\n\r\nMZ\r\n--x--\r\n"
    )
    reading = read(raw)
    assert "Pay now" in reading.text
    assert "alert" not in reading.text
    assert reading.files == ["a.exe"]
    assert "\u202e" not in reading.subject


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["score", "symbols", "rcpts", "from", "subject", "user", "x"]), json_values))
def test_a_report_of_any_shape_becomes_a_verdict(report: dict[str, object]) -> None:
    said = judged.verdict(judged.parse(json.dumps(report).encode()))
    assert said.subject.isprintable()
    assert abs(said.score) <= 1e6


def test_results_of_authentication_are_words_of_the_standard() -> None:
    said = judged.verdict({"symbols": [symbol("R_SPF_SOFTFAIL"), symbol("DMARC_POLICY_REJECT"), symbol("ARC_ALLOW")]})
    assert [said.result(method) for method in ("spf", "dkim", "dmarc", "arc")] == ["softfail", "", "fail", "pass"]


def test_what_would_happen_is_said_in_words() -> None:
    said = " ".join(outcome(Effective().under(Preferences(junk_at=4, refuse_at=NEVER))))
    assert "4 points or more goes to Junk" in said
    assert "No mail is refused" in said
    assert "list" not in said, "nothing is held, so there is nothing to list"


def test_a_subject_stays_on_its_line_in_the_daily_list() -> None:
    row = {
        "subject": "Win! " * 50,
        "header_from": "a@b.example",
        "mail_from": "",
        "at": datetime.now(UTC),
        "symbols": [],
    }
    subject, text = words([row] * 25, "https://h.example/mailbox/held")
    assert subject == "25 mails are held for you"
    assert "… and 5 more." in text
    assert "https://h.example/mailbox/held" in text
    assert "release" not in text, "no link of the mail does anything by itself"
