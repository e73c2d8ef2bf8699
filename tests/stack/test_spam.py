"""Spam, with the real daemons: judged by Rspamd as the recipients wish, sorted by Dovecot, learnt."""

import http.client
import smtplib
import uuid
from collections.abc import Iterator

import pytest
from spamworld import forget, hand_in, learnt, list_sender, query, unlearn, wish
from stackworld import (
    APOSTROPHE,
    DOMAIN,
    RESI,
    STRANGER,
    UNDERSCORE,
    XAVER,
    fetch,
    imap,
    message,
    smtp,
    wait_for,
)

from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.spam.reasons import reasons


@pytest.fixture(autouse=True)
def nothing_kept(stack: Settings) -> Iterator[None]:
    forget(stack)
    yield
    forget(stack)


@pytest.fixture(scope="module", autouse=True)
def nothing_learnt(stack: Settings) -> Iterator[None]:
    """What other tests taught the filter judges nothing here, and what is taught here nothing of theirs."""
    unlearn(stack)
    yield
    unlearn(stack)


def test_every_mail_gets_a_verdict_and_shows_its_score(stack: Settings) -> None:
    mark = hand_in(stack, [XAVER], 3, headers="X-Spam-Level: ******************\r\nX-Spam-Junk-For: -\r\n")
    mail = fetch(stack, XAVER, mark)
    assert b"X-Spam-Score: 4." in mail
    assert b"SIMULATED_SPAM=3.0" in mail
    assert b"\nX-Spam-Level: ****\r\n" in mail
    assert b"*****" not in mail, "what the sender claimed is gone"
    [verdict] = query(stack, "SELECT * FROM spam_verdict WHERE action = 'no action'")
    assert (verdict["spf"], verdict["dkim"], verdict["dmarc"], verdict["arc"]) == ("none", "none", "none", "none")
    assert mark in verdict["subject"]
    assert verdict["required"] == 15


def test_suspicious_mail_is_put_off_once_and_taken_when_it_comes_again(stack: Settings) -> None:
    stranger, other = (f"{uuid.uuid4().hex}@elsewhere.example" for _ in range(2))  # whom Rspamd has not met
    hand_in(stack, [RESI], 4, sender=stranger)
    actions = [row["action"] for row in query(stack, "SELECT action FROM spam_verdict ORDER BY id")]
    assert actions[0] == "soft reject"
    assert actions[-1] == "no action"
    query(stack, "DELETE FROM spam_verdict")
    wish(stack, RESI, greylist=False)
    hand_in(stack, [RESI], 4, sender=other)
    assert [row["action"] for row in query(stack, "SELECT action FROM spam_verdict")] == ["no action"]


def test_each_mailbox_sorts_by_its_own_threshold_and_the_mildest_decides_about_refusal(stack: Settings) -> None:
    wish(stack, RESI, junk_at=3, refuse_at=8, greylist=False)
    wish(stack, XAVER, junk_at=12, refuse_at=20, greylist=False)
    mark = hand_in(stack, [RESI, XAVER], 9)  # alone, Resi would have refused it
    fetch(stack, RESI, mark, folder="Junk")
    fetch(stack, XAVER, mark)
    with pytest.raises(smtplib.SMTPDataError):
        hand_in(stack, [RESI], 9)
    assert [row["address"] for row in query(
        stack, "SELECT m.address FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id")] == [RESI]  # fmt: skip


def test_a_wish_of_the_domain_counts_until_the_mailbox_has_its_own(stack: Settings) -> None:
    query(stack, """INSERT INTO spam_setting (workspace_id, domain_id, junk_at, greylist)
                    SELECT workspace_id, id, 2, false FROM domain WHERE name = %s""", DOMAIN)  # fmt: skip
    fetch(stack, RESI, hand_in(stack, [RESI], 3), folder="Junk")
    wish(stack, RESI, junk_at=1000, refuse_at=1000)
    fetch(stack, RESI, hand_in(stack, [RESI], 40))


def test_a_blocked_sender_is_refused_and_another_with_nearly_the_same_name_is_not(stack: Settings) -> None:
    list_sender(stack, RESI, "block", "a_b@elsewhere.example")
    with pytest.raises(smtplib.SMTPDataError, match="takes no mail from this sender"):
        hand_in(stack, [RESI], sender="a_b@elsewhere.example")
    fetch(stack, RESI, hand_in(stack, [RESI], sender="acb@elsewhere.example"))
    assert query(stack, "SELECT 1 FROM held_mail") == []


def test_who_is_blocked_by_one_of_two_goes_to_that_ones_junk_and_the_other_learns_nothing(stack: Settings) -> None:
    list_sender(stack, RESI, "block", "elsewhere.example")
    mark = hand_in(stack, [RESI, XAVER])
    assert b"X-Spam-Junk-For" not in fetch(stack, RESI, mark, folder="Junk")
    assert b"X-Spam-Junk-For" not in fetch(stack, XAVER, mark)


def test_an_alias_and_a_detail_follow_the_wishes_of_the_mailbox_behind(stack: Settings) -> None:
    list_sender(stack, RESI, "block", "elsewhere.example")
    for recipient in (f"wirt@{DOMAIN}", RESI.replace("@", "+shop@")):
        with pytest.raises(smtplib.SMTPDataError, match="takes no mail"):
            hand_in(stack, [recipient])
    fetch(stack, UNDERSCORE, hand_in(stack, [UNDERSCORE]))


def test_an_allowed_sender_who_cannot_be_proven_is_judged_as_anybody(stack: Settings) -> None:
    list_sender(stack, RESI, "allow", STRANGER)
    with pytest.raises(smtplib.SMTPDataError):
        hand_in(stack, [RESI], 30)
    [held] = query(stack, "SELECT symbols FROM held_mail")
    assert "THURN_ALLOWED_NOT_PROVEN" in [symbol["name"] for symbol in held["symbols"]]


def from_whom(sender: str) -> bytes:
    return message(uuid.uuid4().hex).replace(b"Franz <" + STRANGER.encode(), b"Franz <" + sender.encode())


def test_a_forged_sender_is_refused_or_goes_to_junk_as_the_domain_itself_asks(stack: Settings) -> None:
    with smtp(stack) as client, pytest.raises(smtplib.SMTPDataError, match="held for the recipient"):
        client.sendmail(STRANGER, [RESI], from_whom("billing@bank.example"))
    [held] = query(stack, "SELECT symbols, header_from FROM held_mail")
    [first, *_] = reasons(held["symbols"], header_from=held["header_from"])
    assert first.text == "Claims to be from bank.example, but was not sent from their server."
    [verdict] = query(stack, "SELECT dmarc, spf FROM spam_verdict")
    assert verdict == {"dmarc": "fail", "spf": "none"}
    with smtp(stack) as client:
        mail = from_whom("news@shop.example")
        client.sendmail(STRANGER, [RESI], mail)
    fetch(stack, RESI, mail.split(b"Subject: ")[1].split(b"\r\n")[0].decode(), folder="Junk")


@pytest.mark.parametrize("sender", ["resi@friend.example", "resi@small.example"])
def test_an_allowed_sender_is_let_in_when_it_is_really_them(stack: Settings, sender: str) -> None:
    """By DMARC, or by SPF alone where the domain has no DMARC record."""
    list_sender(stack, RESI, "allow", sender.partition("@")[2])
    mail = b"X-Simulated-Spam: 40\r\n" + from_whom(sender)
    mark = mail.split(b"Subject: ")[1].split(b"\r\n")[0].decode()
    with smtp(stack) as client:
        client.sendmail(sender, [RESI], mail)
    fetch(stack, RESI, mark)
    # The same name above an envelope of somebody else's, who may send that one: nothing is proven.
    with smtp(stack) as client, pytest.raises(smtplib.SMTPDataError):
        client.sendmail("x@friend.example" if "small" in sender else "x@small.example", [RESI], mail)
    # A second address in the same field is none that could be believed.
    two = mail.replace(b"From: Franz", b"From: <x@small.example>, Franz")
    with smtp(stack) as client, pytest.raises(smtplib.SMTPDataError):
        client.sendmail(sender, [RESI], two)


def test_mail_to_a_bounce_host_is_never_refused_as_spam(stack: Settings) -> None:
    with smtp(stack) as client:
        client.mail("")
        client.rcpt(f"b.x.y@bounce.{DOMAIN}")
        assert client.data(b"X-Simulated-Spam: 40\r\n" + message("returned"))[0] == 250


def test_rspamd_learns_from_nobody_without_its_password(stack: Settings) -> None:
    for path in ("/learnspam", "/learnham"):
        link = http.client.HTTPConnection("127.0.0.1", stack.port["rspamd"], timeout=60)
        link.request("POST", path, message("lesson"))
        assert link.getresponse().status in {401, 403}
        link.close()


@pytest.mark.parametrize("path", ["/spam/ask", "/spam/tell", "/spam/hold"])
def test_guard_hears_only_rspamd_and_takes_no_nonsense(stack: Settings, path: str) -> None:
    def post(body: bytes, secret: str) -> int:
        link = http.client.HTTPConnection("127.0.0.1", stack.port["guard"], timeout=60)
        link.request("POST", path, body, {"Authorization": f"Bearer {secret}"})
        status = link.getresponse().status
        link.close()
        return status

    secret = Secrets(stack.state).ensure("guard")
    assert post(b"{}", "wrong") == 403
    for nonsense in (b"", b"[]", b"null", b"\xff\0", b"{" * 5000, b'"' + b"x" * 1_000_000):
        assert post(nonsense, secret) == 400, nonsense[:20]
    odd = (
        b'{"rcpts": [1, null, {}, "\\ud800\\u0000@x"], "score": 1e999, "symbols": [{"name": "\\u0000"}, 3], "from": []}'
    )
    assert post(odd, secret) in {200, 204}


def test_headers_of_any_kind_are_judged_and_kept(stack: Settings) -> None:
    wish(stack, APOSTROPHE, refuse_at=6)
    odd = (
        b"X-Simulated-Spam: 30\r\nFrom: \xff\xfe <x@elsewhere.example>, <y@elsewhere.example>\r\n"
        b"Subject: =?utf-7?Q?+ADw-script+AD4-?= =?broken?B?//8=?= \xc3\x28 \x01 " + b"A" * 900 + b"\r\n"
        b"X-Long: "
        + b"\r\n ".join([b"v" * 900] * 30)
        + b"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\x00\xff\r\n"
    )
    with smtp(stack) as client, pytest.raises(smtplib.SMTPDataError, match="Refused as spam"):
        client.sendmail(STRANGER, [APOSTROPHE], odd)
    [held] = query(stack, "SELECT subject, header_from FROM held_mail")
    assert "\0" not in held["subject"]
    assert held["header_from"] == "", "two senders are none that could be believed"


def moved(settings: Settings, address: str, mark: str, source: str, target: str) -> None:
    with imap(settings, address) as client:
        client.select(source)
        [numbers] = client.search(None, "SUBJECT", f'"{mark}"')[1]
        assert client.copy(numbers.decode(), target)[0] == "OK"
        client.store(numbers.decode(), "+FLAGS", "\\Deleted")
        client.expunge()


def teach(settings: Settings, what: str, address: str, text: str) -> None:
    link = http.client.HTTPConnection("127.0.0.1", settings.port["rspamd"], timeout=60)
    headers = {"Password": Secrets(settings.state).ensure("rspamd"), "Deliver-To": address}
    link.request("POST", f"/learn{what}", message(uuid.uuid4().hex, text), headers)
    assert link.getresponse().status in {200, 204, 208}  # 204: it knows as much already
    link.close()


def test_what_one_domain_learns_shapes_nobody_elses_mail(stack: Settings) -> None:
    offer = (
        "Cheap watches and blue pills for you my dear friend, {} order today and pay by wire transfer tomorrow morning"
    )
    news = "The village fair begins on Sunday, {} bring bread, radish and cheese, the brass band plays from noon on"
    query(stack, """WITH d AS (INSERT INTO domain (workspace_id, name, bounce_host, proven_at)
                      VALUES (1, 'laugen.example', 'bounce.laugen.example', now()) RETURNING id)
                    INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
                    SELECT 1, id, 'leni@laugen.example', 'x' FROM d""")  # fmt: skip
    try:
        for word in ("please", "really", "kindly", "quickly"):
            teach(stack, "spam", RESI, offer.format(word))
            teach(stack, "ham", RESI, news.format(word))
        hand_in(stack, [RESI], body=offer.format("now"))
        hand_in(stack, ["leni@laugen.example"], body=offer.format("now"))
        said = {
            row["rcpts"][0]: [symbol["name"] for symbol in row["symbols"]]
            for row in query(stack, "SELECT rcpts, symbols FROM spam_verdict")
        }
        assert "BAYES_SPAM" in said[RESI]
        assert "BAYES_SPAM" not in said["leni@laugen.example"]
    finally:
        query(stack, "DELETE FROM domain WHERE name = 'laugen.example'")


def test_moving_a_mail_into_junk_and_out_again_teaches_the_filter(stack: Settings) -> None:
    text = "This cheap offer of watches and pills is only for you, dear friend, so answer today and pay tomorrow."
    mark = hand_in(stack, [RESI], body=text)
    fetch(stack, RESI, mark)
    before = learnt(stack)
    moved(stack, RESI, mark, "INBOX", "Junk")
    wait_for(lambda: learnt(stack)["learns_spam"] == before["learns_spam"] + 1)
    moved(stack, RESI, mark, "Junk", "INBOX")
    wait_for(lambda: learnt(stack)["learns_ham"] == before["learns_ham"] + 1)
    after = learnt(stack)
    moved(stack, RESI, mark, "INBOX", "Junk")
    wait_for(lambda: learnt(stack)["learns_spam"] > after["learns_spam"])
    mark_two = hand_in(stack, [RESI], body=text + " Twice.")
    fetch(stack, RESI, mark_two)
