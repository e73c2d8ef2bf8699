"""Reputation: for those who run the installation, and nobody else; providers are stand-ins of theirs."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from page_check import check
from typer.testing import CliRunner

from tests.web.conftest import Post
from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.problems import Invalid
from thurn.reputation import access, google, meanings, snds
from thurn.reputation.dnsbl import judge, lists
from thurn.reputation.refusals import CONTACTS
from thurn.reputation.watch import Subject, keep
from thurn.settings import Settings
from thurn.web.words import PROVIDERS

PAGE = "/house/reputation"
HOSTILE = '"><script>alert(1)</script>'
ZEN = lists()["spamhaus-zen"]
KEY = generate_private_key(65537, 2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SERVICE = json.dumps({"client_email": "t@x.iam.example", "private_key": PEM, "token_uri": "http://127.0.0.1/steal"})
LINK = "https://sendersupport.olc.protection.outlook.com/snds/data.aspx?key=0a1b2c3d-0000-4000-8000-000000000000"


async def refused(db: Connection, n: int, category: str = "reputation-block", reply: str = "550 5.7.1 blocked") -> None:
    await db.execute(
        """INSERT INTO provider_answer (at, egress, provider, outcome, category, fingerprint, reply, n)
           VALUES (now(), 'e1', 'google', 'bounced', %s, %s, %s, %s)""",
        [category, category.encode(), reply, n],
    )


async def delivered(db: Connection, n: int) -> None:
    await db.execute(
        """INSERT INTO provider_answer (at, egress, provider, outcome, fingerprint, n)
           VALUES (now(), 'e1', 'google', 'delivered', '', %s)""",
        [n],
    )


async def test_an_empty_page_says_what_comes(signed_in: tuple[httpx.AsyncClient, SignedInAs]):
    words = check((await signed_in[0].get(PAGE)).text).words()
    for part in ("Not asked yet", "No provider refused mail because of its sender", "The JSON key", "Spamhaus ZEN"):
        assert part in words, part


async def test_listings_and_refusals_are_shown_with_what_to_do(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], system: Connection
):
    await keep(system, Subject("192.0.2.7"), ZEN, judge(ZEN, ["127.0.0.2"]))
    await keep(system, Subject("192.0.2.8"), ZEN, judge(ZEN, []))
    await keep(system, Subject("192.0.2.7"), lists()["barracuda"], judge(lists()["barracuda"], ["203.0.113.1"]))
    await delivered(system, 60)
    await refused(system, 40, reply=f"550 {HOSTILE}")
    await refused(system, 7, category="unknown-address")  # a dead address is no block
    answer = await signed_in[0].get(PAGE)
    words = check(answer.text).words()
    for part in ("192.0.2.7 is on Spamhaus ZEN", "SBL: spam came from here", "Barracuda cannot be told",
                 "That is no listing", "They refuse the sending address", "37.4%", "Form"):  # fmt: skip
        assert part in words, part
    assert CONTACTS["google"].form in answer.text
    assert "<script>alert" not in answer.text
    assert "unknown-address" not in words


async def test_only_operators_see_and_change_it(site: Any, system: Connection, make_account: Any, other_workspace: int):
    account = await make_account("vroni@other.example", workspace=other_workspace)
    session = await start_session(system, account=account)
    async with site.client(cookies={"thurn-session": session.token}) as client:
        assert (await client.get(PAGE)).status_code == 403
        for path in ("/look", "/access", "/access/forget"):
            assert (await client.post(f"{PAGE}{path}", data={"csrf": session.csrf})).status_code == 403
    _, key = await create_api_key(system, other_workspace, "other")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert (await client.get("/api/v1/reputation")).status_code == 403


async def test_access_is_kept_sealed_asked_at_once_and_forgotten(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], post: Post, system: Connection
):
    client, _ = signed_in
    await client.get(PAGE)
    wrong = await post("/access", provider="google", key=HOSTILE)
    assert wrong.status_code == 422
    assert "no service account" in check(wrong.text).words()
    assert "<script>alert" not in wrong.text
    for name, key in (("google", SERVICE), ("microsoft", LINK)):
        assert (await post("/access", provider=name, key=key)).headers["location"] == f"{PAGE}?done=access"
    sealed = await rows(system, "SELECT sealed FROM provider_access")
    assert not any(b"PRIVATE" in bytes(row["sealed"]) or b"key=" in bytes(row["sealed"]) for row in sealed)
    shown = (await client.get(PAGE)).text
    assert "Forget access" in check(shown).words()
    assert "0a1b2c3d" not in shown
    waiting = "SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'thurn:ask_providers_now'"
    assert (await one(system, waiting))["n"] == 2
    for _ in range(2):
        assert (await post("/access/forget", provider="google")).status_code == 303
    assert (await post("/access", provider="nobody", key="x")).status_code == 404
    assert [row["provider"] for row in await rows(system, "SELECT provider FROM provider_access")] == ["microsoft"]
    assert (await post("/look")).headers["location"] == f"{PAGE}?done=looking"


async def test_the_api_and_the_command_say_the_same(api: httpx.AsyncClient, clean: Settings, system: Connection):
    await keep(system, Subject("192.0.2.7"), ZEN, judge(ZEN, ["127.0.0.2"]))
    await refused(system, 4)
    said = (await api.get("/api/v1/reputation")).json()
    assert [(each["subject"], each["key"], each["listed"]) for each in said["listings"]] == [
        ("192.0.2.7", "spamhaus-zen", True)
    ]
    assert (said["refusals"][0]["n"], said["refusals"][0]["form"]) == (4, CONTACTS["google"].form)
    assert (await api.post("/api/v1/reputation/look")).status_code == 204
    assert (await api.put("/api/v1/reputation/access", json={"provider": "microsoft", "key": LINK})).status_code == 204
    assert (await api.get("/api/v1/reputation")).json()["access"][0]["provider"] == "microsoft"
    gone = [await api.delete("/api/v1/reputation/access", params={"provider": "microsoft"}) for _ in range(2)]
    assert [answer.status_code for answer in gone] == [204, 404]

    def run(*more: str) -> Any:
        return CliRunner().invoke(build("reputation"), ["reputation", *more, "--state", str(clean.state)])

    shown = await asyncio.to_thread(run)
    assert shown.exit_code == 1
    assert "LISTED   192.0.2.7 on Spamhaus ZEN: SBL" in shown.stdout
    as_json = json.loads((await asyncio.to_thread(run, "--json")).stdout)
    assert as_json["refusals"][0]["n"] == 4
    await keep(system, Subject("192.0.2.7"), ZEN, judge(ZEN, []))
    assert (await asyncio.to_thread(run)).exit_code == 0


# ---------------------------------------------------------------- Google


class Google:
    """A stand-in of Google's: gives tokens for good assertions, domains and figures."""

    def __init__(self, **figures: float) -> None:
        self.figures, self.asked = figures, []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        assert request.url.host in ("oauth2.googleapis.com", "gmailpostmastertools.googleapis.com")
        if request.url.host == "oauth2.googleapis.com":
            form = parse_qs(request.content.decode())
            if form["grant_type"] == ["refresh_token"]:
                return httpx.Response(400, json={"error": "invalid_grant", "error_description": "Token was revoked."})
            head, claims, signature = form["assertion"][0].split(".")
            KEY.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
            assert json.loads(_decoded(claims))["aud"] == "https://oauth2.googleapis.com/token"
            return httpx.Response(200, json={"access_token": "t0ken"})
        assert request.headers["authorization"] == "Bearer t0ken"
        if request.method == "GET":
            names = [{"name": "domains/brotzeit.example"}, {"name": "domains/../../x?y"}, "nonsense"]
            return httpx.Response(200, json={"domains": names})
        body = json.loads(request.content)
        assert body["metricDefinitions"][0] == {"name": "spam_rate", "baseMetric": {"standardMetric": "SPAM_RATE"}}
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        day = {"year": yesterday.year, "month": yesterday.month, "day": yesterday.day}
        page = [
            {"name": name, "date": day, "value": {"doubleValue": value}} for name, value in self.figures.items()
        ] + [{"name": "spam_rate", "date": {"year": 0}}, {"name": "other", "date": day}, {"value": 7}]
        if "pageToken" in body:
            return httpx.Response(200, json={"domainStats": page[1:]})
        return httpx.Response(200, json={"domainStats": page[:1], "nextPageToken": "more"})


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def ask(db: Connection, settings: Settings, answer: Callable[[httpx.Request], httpx.Response]) -> int:
    return await access.ask_all(db, settings, httpx.MockTransport(answer))


async def test_gmails_figures_come_by_a_service_account_from_fixed_hosts(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], clean: Settings, system: Connection
):
    await access.put(system, clean, "google", {"key": SERVICE})
    world = Google(spam_rate=0.0042, auth_rate=0.998)
    assert await ask(system, clean, world) == 1
    assert len([url for url in world.asked if "domainStats:query" in url]) == 2
    row = await one(system, "SELECT subject, figures FROM provider_figure")
    assert row == {"subject": "brotzeit.example", "figures": {"spam_rate": 0.0042, "auth_rate": 0.998}}
    words = check((await signed_in[0].get(PAGE)).text).words()
    for part in ("brotzeit.example", "0.42%", "Far too many call it spam", "99.8%"):
        assert part in words, part


async def test_what_google_refuses_is_shown_in_its_words(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], clean: Settings, system: Connection
):
    user = {"client_id": "a", "client_secret": "b", "refresh_token": "c"}
    await access.put(system, clean, "google", user)
    assert await ask(system, clean, Google()) == 0
    words = check((await signed_in[0].get(PAGE)).text).words()
    assert "Google refuses this access (400): Token was revoked." in words


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(302, headers={"location": "http://169.254.169.254/"}), "answered 302"),
        (httpx.Response(503, text="<html>"), "answered 503"),
        (httpx.Response(200, text="[" * 5000), "answered 200"),
        (httpx.Response(200, json={"access_token": 5}), "no token"),
        (httpx.Response(200, content=b" " * (3 * 2**20)), "too long"),
        (httpx.Response(403, json={"error": {"message": "no\x1b[31m\ntouch"}}), "(403): no [31m touch"),
    ],
)
async def test_an_answer_that_is_none_is_said_so(clean: Settings, system: Connection, answer: httpx.Response, why: str):
    await access.put(system, clean, "google", {"key": SERVICE})
    asked = []
    assert await ask(system, clean, lambda request: asked.append(request) or answer) == 0
    assert why in (await one(system, "SELECT trouble FROM provider_access"))["trouble"]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "key", ["", "{}", "[]", "x", json.dumps({"client_email": "x", "private_key": "y"}), '{"client_email": 1}']
)
def test_what_is_no_key_of_googles_is_refused(key: str):
    with pytest.raises(Invalid):
        google.check({"key": key})


# ---------------------------------------------------------------- Microsoft

CSV = (
    "192.0.2.7,11/23/2026 12:00 AM,11/23/2026 11:59 PM,1205,1200,1190,GREEN,< 0.1%,,,0,h,m,\r\n"
    "192.0.2.8,11/23/2026 12:00 AM,11/23/2026 11:59 PM,50,50,40,RED,2.3%,11/23/2026,11/23/2026,4,h,m,\r\n"
    "nobody,11/23/2026,x,1,1,1,GREEN,0%\r\n192.0.2.9,never,x,1,1,1,GREEN,0%\r\n192.0.2.9,11/23/2026,x,1,1,1,PINK,0%\r\n"
)


async def test_outlooks_verdicts_come_by_the_link(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], clean: Settings, system: Connection
):
    await access.put(system, clean, "microsoft", {"key": LINK})
    asked: list[str] = []

    def world(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, text=CSV)

    assert await ask(system, clean, world) == 2
    assert asked == [LINK]
    await system.execute("UPDATE provider_figure SET day = now()")
    words = check((await signed_in[0].get(PAGE)).text).words()
    for part in ("192.0.2.7", "Less than 10% of the mail", "< 0.1%", "More than 90%", "4 mails went to trap addresses"):
        assert part in words, part
    assert await access.ask_all(system, clean) == 0  # simulated, and no stand-in: nobody is asked
    for answer, why in (
        (httpx.Response(401), "Make a new one"),
        (httpx.Response(200, text="<html>"), "a page instead"),
    ):
        await ask(system, clean, lambda _, answer=answer: answer)
        assert why in (await one(system, "SELECT trouble FROM provider_access"))["trouble"]


@pytest.mark.parametrize(
    "key",
    ["", "x", "http://sendersupport.olc.protection.outlook.com/snds/data.aspx?key=12345678", "https://evil.example/?key=12345678",
     "https://sendersupport.olc.protection.outlook.com@evil.example/snds/data.aspx?key=12345678",
     "https://sendersupport.olc.protection.outlook.com.evil.example/?key=12345678",
     "https://sendersupport.olc.protection.outlook.com:8443/snds/data.aspx?key=12345678",
     "https://sendersupport.olc.protection.outlook.com/snds/data.aspx?key=a&key=b", "https://[::1]/?key=12345678",
     "https://sendersupport.olc.protection.outlook.com/%2e%2e/x?key=12345678", "https://[bad/?key=12345678"],
)  # fmt: skip
def test_only_microsofts_own_links_are_taken(key: str):
    with pytest.raises(Invalid):
        snds.check({"key": key})


def test_a_key_alone_is_enough():
    assert snds.check({"key": "0a1b2c3d-0000"}) == {"url": f"{snds.DATA}?key=0a1b2c3d-0000"}


@given(st.text(max_size=400))
@profile(max_examples=60, deadline=None)
def test_any_text_is_read_as_rows_or_passed_over(text: str):
    snds.read(text)
    assert len(snds.read(CSV + text.replace("\r", "").replace('"', ""))) >= 2


@pytest.mark.parametrize(
    ("figures", "level"),
    [({"spam_rate": 0.0}, "ok"), ({"spam_rate": 0.001}, "warn"), ({"spam_rate": 0.003}, "bad"), ({}, "off")],
)
def test_gmails_spam_rate_means_what_google_says(figures: dict[str, float], level: str):
    assert meanings.of_google(figures)[0] == level


def test_forms_belong_to_providers_of_the_book():
    assert set(CONTACTS) <= set(PROVIDERS)
    assert all(contact.form.startswith("https://") for contact in CONTACTS.values())
