"""What comes of accepted mail: requests to the web server, bounces and complaints to `mx`, and none elsewhere."""

import smtplib
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from thurn.mail.tokens import VerpTokens
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.behaviour import behaviour
from thurn.simulate.engage import Browser, NotLoopback, only_loopback
from thurn.simulate.links import find_links
from thurn.tracking.classify import BURST

VERP = VerpTokens(b"k" * 32)
NONSENSE = [
    b"\r\n",
    b"\xff\xfe\r\n",
    b"Content-Type: text/html\r\n\r\n<img src=\x00><a href='http://['>\r\n",
    b"To: =?x?=\r\n\r\n",
]


def campaign_mail(url: str, token: str, *, signed: str = "from:list-unsubscribe:list-unsubscribe-post") -> bytes:
    return (
        f"From: us@brotzeit.example\r\nTo: <{token}>\r\nMessage-ID: <{token}>\r\nSubject: Hi\r\n"
        f"List-Unsubscribe: <mailto:leave@brotzeit.example>,\r\n <{url}/u/{token}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; d=brotzeit.example;\r\n h={signed}; b=x\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        f'<p>Hello <a href="{url}/c/{token}-1">one</a> <a href="{url}/c/{token}-2">two</a>\r\n'
        f'<a href="https://outside.example/">away</a> <a href="{url}/c/{token}-3">three</a></p>\r\n'
        f'<a href="{url}/u/{token}">Leave</a><img src="{url}/o/{token}" width="1"><img src="https://outside.example/x.png">'
        '<a href="mailto:us@brotzeit.example">Write</a><img src="cid:logo">\r\n'
    ).encode()


def envelope(campaign: int) -> str:
    return f"{VERP.local_part('e1', 'gmx', campaign, 1)}@bounce.brotzeit.example"


@dataclass
class Afternoon:
    """Everybody got a campaign of their own; what has come of it."""

    campaigns: dict[str, int]
    sent: dict[str, float]
    surroundings: Any
    settings: Settings

    def made(self, recipient: str) -> list[Any]:
        """The requests made for a recipient."""
        return [hit for hit in self.surroundings.site.hits if f"/{recipient}" in hit.path]

    def kinds(self, recipient: str) -> list[tuple[str, str]]:
        """(method, first part of the path) of them."""
        return [(hit.method, hit.path.split("/")[1]) for hit in self.made(recipient)]

    def counted(self, recipient: str) -> dict[str, int]:
        """What truth says about the recipient, without what is zero."""
        truth = client.truth(self.settings, campaign=self.campaigns[recipient], dkim=False)
        names = ("opens_human", "opens_machine", "clicks_human", "clicks_machine", "unsubscribes", "complaints")
        return {name: getattr(truth, name) for name in names if getattr(truth, name)}


@pytest.fixture(scope="module")
def afternoon(running_internet: Settings, afternoon_surroundings: Any) -> Afternoon:
    url = afternoon_surroundings.site.url
    afternoon_surroundings.exchanger.refuse_next = 1
    result = Afternoon({}, {}, afternoon_surroundings, running_internet)
    unsigned = campaign_mail(url, "unsub.eve@gmx.example", signed="from:subject")
    mails = {who: campaign_mail(url, who) for who in EVERYBODY} | {"unsub.eve@gmx.example": unsigned}
    mails |= {f"click.nonsense{n}@gmx.example": mail for n, mail in enumerate(NONSENSE)}
    with smtplib.SMTP("127.0.0.1", running_internet.port["sim_smtp"], local_hostname="out.example") as connection:
        for campaign, (recipient, mail) in enumerate(mails.items(), 1):
            result.campaigns[recipient], result.sent[recipient] = campaign, time.time()
            connection.sendmail(envelope(campaign), recipient, mail)
        connection.sendmail("", "bounce.null@gmx.example", campaign_mail(url, "bounce.null@gmx.example"))
    assert client.wait_until_quiet(running_internet, 120)
    return result


# Who comes soonest after the mail: there is the most time left until people come.
SCANNED = min((f"scanner.{n}@outlook.example" for n in range(300)), key=lambda who: behaviour(who, 1).steps[0].after)
EVERYBODY = (
    "plain.ada@gmx.example",
    "open.ada@gmx.example",
    "click.ada@gmx.example",
    "gproxy.ada@gmail.example",
    "mpp.ada@icloud.example",
    SCANNED,
    "sneaky.ada@freemail.example",
    "unsub.ada@gmx.example",
    "bounce.ada@gmx.example",
    "complain.ada@yahoo.example",
)


def test_a_plain_recipient_does_nothing(afternoon: Afternoon) -> None:
    assert afternoon.kinds("plain.ada@gmx.example") == []
    assert afternoon.counted("plain.ada@gmx.example") == {}


def test_a_person_opens_with_a_mail_program(afternoon: Afternoon) -> None:
    (hit,) = afternoon.made("open.ada@gmx.example")
    assert (hit.method, hit.path) == ("GET", "/o/open.ada@gmx.example")
    assert hit.agent.startswith("Mozilla/5.0 (")
    assert hit.at - afternoon.sent["open.ada@gmx.example"] > 2.4
    assert afternoon.counted("open.ada@gmx.example") == {"opens_human": 1}


def test_a_person_follows_one_link_and_no_redirect(afternoon: Afternoon) -> None:
    assert afternoon.kinds("click.ada@gmx.example") == [("GET", "o"), ("GET", "c")]
    assert not any(hit.path == "/elsewhere" for hit in afternoon.surroundings.site.hits)
    assert afternoon.counted("click.ada@gmx.example") == {"opens_human": 1, "clicks_human": 1}


def test_google_fetches_images_through_its_proxy_when_a_person_reads(afternoon: Afternoon) -> None:
    (hit,) = afternoon.made("gproxy.ada@gmail.example")
    assert "GoogleImageProxy" in hit.agent
    assert afternoon.counted("gproxy.ada@gmail.example") == {"opens_human": 1}


def test_apple_fetches_images_whoever_reads(afternoon: Afternoon) -> None:
    (hit,) = afternoon.made("mpp.ada@icloud.example")
    assert hit.agent == "Mozilla/5.0"
    assert afternoon.counted("mpp.ada@icloud.example") == {"opens_machine": 1}


def test_a_scanner_follows_every_link_at_once_and_unsubscribes_nobody(afternoon: Afternoon) -> None:
    links = [("HEAD", "c"), ("GET", "c")] * 3 + [("HEAD", "u"), ("GET", "u")]
    assert sorted(afternoon.kinds(SCANNED)) == sorted([*links, ("GET", "o")])
    assert all(hit.at - afternoon.sent[SCANNED] < 2.5 for hit in afternoon.made(SCANNED))
    assert afternoon.counted(SCANNED) == {"clicks_machine": 1, "opens_machine": 1}


def test_a_scanner_may_look_like_a_browser(afternoon: Afternoon) -> None:
    hits = afternoon.made("sneaky.ada@freemail.example")
    assert sorted(afternoon.kinds("sneaky.ada@freemail.example")) == [("GET", "c")] * 3 + [("GET", "u")]
    assert "Chrome" in hits[0].agent
    assert hits[-1].at - hits[0].at < BURST, "no person follows three links in that time"
    assert afternoon.counted("sneaky.ada@freemail.example") == {"clicks_machine": 1}


def test_the_unsubscribe_button_posts_once(afternoon: Afternoon) -> None:
    assert afternoon.kinds("unsub.ada@gmx.example") == [("GET", "o"), ("POST", "u")]
    assert afternoon.made("unsub.ada@gmx.example")[1].body == "List-Unsubscribe=One-Click"
    assert afternoon.counted("unsub.ada@gmx.example") == {"opens_human": 1, "unsubscribes": 1}


def test_there_is_no_button_where_no_signature_covers_the_header(afternoon: Afternoon) -> None:
    assert afternoon.kinds("unsub.eve@gmx.example") == [("GET", "o")]
    assert afternoon.counted("unsub.eve@gmx.example") == {"opens_human": 1}
    truth = client.truth(afternoon.settings, campaign=afternoon.campaigns["unsub.eve@gmx.example"], dkim=False)
    assert "no signed one-click header" in truth.samples["failed_actions"][0]


def test_bounces_and_complaints_come_back_though_mx_was_busy(afternoon: Afternoon) -> None:
    """One each: nobody bounces a mail without envelope sender."""
    got = {(sender, recipient): mail for sender, recipient, mail in afternoon.surroundings.exchanger.got}
    bounced = ("<>", envelope(afternoon.campaigns["bounce.ada@gmx.example"]))
    complained = ("feedback@yahoo.example", "fbl@bounce.brotzeit.example")
    assert set(got) == {bounced, complained}
    assert b"report-type=delivery-status" in got[bounced]
    assert b"Message-ID: <bounce.ada@gmx.example>" in got[bounced]
    whole = campaign_mail(afternoon.surroundings.site.url, "complain.ada@yahoo.example")
    assert whole in got[complained]
    assert afternoon.counted("complain.ada@yahoo.example") == {"complaints": 1}
    truth = client.truth(afternoon.settings, campaign=afternoon.campaigns["bounce.ada@gmx.example"], dkim=False)
    assert sum(truth.late_bounces.values()) == 1


def test_a_mail_that_makes_no_sense_comes_to_nothing(afternoon: Afternoon) -> None:
    assert not any("nonsense" in hit.path for hit in afternoon.surroundings.site.hits)
    for number in range(len(NONSENSE)):
        assert afternoon.counted(f"click.nonsense{number}@gmx.example") == {}


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.org/",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org/",
        "http://127.0.0.1@example.org/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::2]/",
        "http://2130706433/",
        "http://[",
        "//x",
        "",
    ],
)
async def test_no_request_leaves_the_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotLoopback):
        only_loopback(url)

    def reached(*_: object, **__: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.setattr(httpx.AsyncClient, "stream", reached)
    browser = Browser()
    ok, _ = await browser.request("GET", url, "x")
    await browser.close()
    assert not ok


def test_loopback_is_reached() -> None:
    for url in ("http://127.0.0.1:8080/x", "http://127.9.9.9/", "http://[::1]:80/", "http://localhost/"):
        only_loopback(url)


def test_links_are_found_in_html_and_else_in_text() -> None:
    links = find_links(campaign_mail("http://127.0.0.1:1", "t"))
    assert [url.rpartition("/")[2] for url in links.links] == ["t-1", "t-2", "", "t-3"]
    assert links.leaving == ("http://127.0.0.1:1/u/t",) == (links.one_click,)
    text = b"Subject: x\r\nContent-Type: text/plain\r\n\r\nSee http://127.0.0.1/a, (http://127.0.0.1/b) http://127.0.0.1/b\r\n"
    assert find_links(text).links == ("http://127.0.0.1/a,", "http://127.0.0.1/b")
