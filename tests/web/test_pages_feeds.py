"""Feeds as a browser, a program and a sending service meet them: forged calls change nothing, true ones count once."""

import json
from typing import Any

import httpx
import pytest
from page_check import check

from tests.feeds.test_feed_events import TOPIC, Amazon, mailgun_signed, sendgrid_signed
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.db.connect import Connection
from thurn.feedback.incoming import Tokens
from thurn.feeds import runner, service
from thurn.settings import Settings

SignedInBrowser = tuple[httpx.AsyncClient, SignedInAs]
W = "/w/main/feeds"
SECRET = "pa55 w0rd <ü>"
MAILBOX = {"name": "Old server", "kind": "imap", "host": "imap.example.net", "port": "993", "login": "bounces",
           "secret": SECRET, "folder": "INBOX", "afterwards": "keep"}  # fmt: skip
SIGNING = {"mailgun": "key-0123456789", "ses": TOPIC, "postmark": "", "sparkpost": "", "brevo": ""}


async def post(signed_in: SignedInBrowser, path: str, **fields: str) -> httpx.Response:
    browser, session = signed_in
    return await browser.post(W + path, data={"csrf": session.csrf, **fields})


async def seen(signed_in: SignedInBrowser, path: str) -> str:
    answer = await signed_in[0].get(W + path)
    assert answer.status_code == 200
    check(answer.text)
    return answer.text


async def test_a_mailbox_is_added_shown_switched_and_removed_and_its_password_is_nowhere(
    signed_in: SignedInBrowser, system: Connection
) -> None:
    assert "Do bounces go somewhere else?" in await seen(signed_in, "")
    await seen(signed_in, "/new")
    assert "imap.example.net" in await seen(signed_in, "/new?kind=imap")
    await seen(signed_in, "/new?kind=pop3")
    answer = await post(signed_in, "/new", **(MAILBOX | {"host": "a b"}))
    assert answer.status_code == 422
    check(answer.text)
    assert SECRET not in answer.text
    answer = await post(signed_in, "/new", **MAILBOX)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{W}/1")
    assert (await post(signed_in, "/new", **MAILBOX)).status_code == 409
    assert (await post(signed_in, "/new", kind="smtp")).status_code == 422
    for state in ("waiting", "ok", "retrying", "broken"):
        await system.execute("UPDATE feed SET state = %s, reason = '<i>said</i>', taken = 3, matched = 2", [state])
        shown = await seen(signed_in, "/1") + await seen(signed_in, "/1?ask=remove") + await seen(signed_in, "")
        assert "<i>said" not in shown
        assert SECRET not in shown
    row = await (await system.execute("SELECT secret FROM feed")).fetchone()
    assert row is not None
    assert SECRET.encode() not in bytes(row["secret"])
    assert (await post(signed_in, "/1/disable")).status_code == 303
    assert "Switched off" in await seen(signed_in, "/1")
    assert (await post(signed_in, "/1/enable")).status_code == 303
    assert (await post(signed_in, "/1/remove")).headers["location"] == W
    assert (await signed_in[0].get(f"{W}/1")).status_code == 404
    assert (await post(signed_in, "/1/remove")).status_code == 404
    assert (await signed_in[0].get(f"{W}/{2**70}")).status_code == 404


async def test_each_service_s_page_says_what_to_enter(
    signed_in: SignedInBrowser, system: Connection, make_account: Any, site: Any
) -> None:
    key, _ = sendgrid_signed(b"")
    looker = await start_session(system, account=await make_account("eva@brotzeit.example", role="viewer"))
    for number, kind in enumerate([*SIGNING, "sendgrid"], 1):
        await seen(signed_in, f"/new?kind={kind}")
        assert (await post(signed_in, "/new", name=kind, kind=kind, secret=SIGNING.get(kind, key))).status_code == 303
        shown = await seen(signed_in, f"/{number}")
        row = await (await system.execute("SELECT hook FROM feed WHERE id = %s", [number])).fetchone()
        assert row is not None
        assert f"/hooks/{row['hook']}" in shown
        assert ("thurn:" in shown) == (kind in ("postmark", "sparkpost", "brevo"))
        assert "key-0123" not in shown
        async with site.client(cookies={"thurn-session": looker.token}) as client:
            shown = (await client.get(f"{W}/{number}")).text
        check(shown)
        assert "thurn:" not in shown


# ------------------------------------------------------------------ calls


class World:
    """A mail that was sent, and a feed of each kind."""

    def __init__(self, system: Connection, settings: Settings, delivery: int) -> None:
        self.system, self.settings, self.delivery = system, settings, delivery
        local = Tokens.of(settings).verp.local_part("e1", "other", 1, delivery)
        self.verp = f"{local}@bounce.b.example"
        self.message_id = f"{local.rpartition('.')[2]}@b.example"

    async def feed(self, kind: str, secret: str = "", workspace: int = 1) -> dict[str, Any]:
        number = await service.add(
            self.system, workspace, service.New(kind, kind, secret), settings=self.settings
        )  # fmt: skip
        feed = await service.get(self.system, number)
        return feed | {"secret": await service.secret_of(self.system, number, self.settings)}

    async def read(self) -> list[dict[str, Any]]:
        """Outcomes, once the worker has read what came."""
        await runner.calls(self.settings, self.system)
        found = await self.system.execute("SELECT kind, category, hard, delivery_id FROM outcome ORDER BY id")
        return list(await found.fetchall())


@pytest.fixture
async def world(system: Connection, clean: Settings) -> World:
    await system.execute(
        "INSERT INTO campaign (workspace_id, name, from_address, state) VALUES (1, 'May', 'a@b.example', 'sent')"
    )
    await system.execute("INSERT INTO contact (workspace_id, email) VALUES (1, 'ann@example.org')")
    row = await (
        await system.execute(
            """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, handed_over_at,
                 settled_at)
               VALUES (1, 1, 1, 'ann@example.org', 'other', 'delivered', now(), now()) RETURNING id"""
        )
    ).fetchone()
    assert row is not None
    return World(system, clean, row["id"])


DEAD = {"kind": "bounced", "category": "unknown-address", "hard": True}


async def test_sendgrid_s_calls_count_once_and_only_signed(world: World, browser: httpx.AsyncClient) -> None:
    event = {"event": "bounce", "email": "ann@example.org", "smtp-id": f"<{world.message_id}>", "status": "5.1.1",
             "reason": "550 5.1.1 unknown"}  # fmt: skip
    body = json.dumps([event, {"event": "bounce", "email": "x@y.example", "smtp-id": "<not@ours>"}]).encode()
    key, headers = sendgrid_signed(body)
    feed = await world.feed("sendgrid", key)
    url = f"/hooks/{feed['hook']}"
    assert (await browser.post(url, content=body)).status_code == 403
    assert (await browser.post(url, content=body + b" ", headers=headers)).status_code == 403
    assert (await browser.post(url + "x", content=body, headers=headers)).status_code == 404
    assert await world.read() == []
    for _ in range(3):
        assert (await browser.post(url, content=body, headers=headers)).status_code == 200
    assert await world.read() == [DEAD | {"delivery_id": world.delivery}]
    shown = await service.get(world.system, feed["id"])
    assert (shown["refused"], shown["taken"], shown["matched"], shown["state"]) == (2, 2, 1, "ok")
    row = await (await world.system.execute("SELECT count(*) AS n FROM incoming_report")).fetchone()
    assert row == {"n": 1}, "events about mails of others are counted only"


async def test_mailgun_s_signature_counts_once_whatever_stands_beside_it(
    world: World, browser: httpx.AsyncClient
) -> None:
    event = {
        "event": "complained",
        "recipient": "ann@example.org",
        "message": {"headers": {"message-id": world.message_id}},
    }
    feed = await world.feed("mailgun", "key")
    url = f"/hooks/{feed['hook']}"
    assert (await browser.post(url, content=mailgun_signed(event, "other"))).status_code == 403
    assert (await browser.post(url, content=mailgun_signed({"event": "opened"}, "key"))).status_code == 200
    # Somebody who saw that call puts another event under its signature.
    assert (await browser.post(url, content=mailgun_signed(event, "key"))).status_code == 200
    assert await world.read() == []
    assert (await browser.post(url, content=mailgun_signed(event, "key", "u" * 50))).status_code == 200
    assert [each["kind"] for each in await world.read()] == ["complained"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("postmark", {"RecordType": "Bounce", "Type": "HardBounce", "Details": "smtp;550 5.1.1 unknown"}),
        ("sparkpost", [{"msys": {"message_event": {"type": "bounce", "raw_reason": "550 5.1.1 unknown"}}}]),
        ("brevo", {"event": "hard_bounce", "email": "ann@example.org", "reason": "550 5.1.1 unknown"}),
    ],
)  # fmt: skip
async def test_services_that_sign_nothing_bring_the_password(
    world: World, browser: httpx.AsyncClient, kind: str, body: Any
) -> None:
    if kind == "postmark":
        body = body | {"Metadata": {"thurn": world.message_id.partition("@")[0]}}
    elif kind == "sparkpost":
        body[0]["msys"]["message_event"]["msg_from"] = world.verp
    else:
        body = body | {"message-id": f"<{world.message_id}>"}
    feed = await world.feed(kind)
    url = f"/hooks/{feed['hook']}"
    for auth in (None, ("thurn", "wrong"), ("other", feed["secret"])):
        assert (await browser.post(url, json=body, auth=auth)).status_code == 403
    assert await world.read() == []
    assert (await browser.post(url, json=body, auth=("thurn", feed["secret"]))).status_code == 200
    bearer = {"authorization": f"Bearer {feed['secret']}"}
    assert (await browser.post(url, json=body, headers=bearer)).status_code == 200
    assert await world.read() == [DEAD | {"delivery_id": world.delivery}]


async def test_amazon_s_topic_is_confirmed_and_then_heard(world: World, browser: httpx.AsyncClient, site: Any) -> None:
    amazon = Amazon()
    site.app.state.fetch_amazon = amazon.fetch
    feed = await world.feed("ses", TOPIC)
    url = f"/hooks/{feed['hook']}"
    confirm = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    outside = amazon.message("x", "SubscriptionConfirmation", Token="t", SubscribeURL="https://evil.example/")
    assert (await browser.post(url, json=outside)).status_code == 403
    assert "https://evil.example/" not in amazon.asked
    wanted = amazon.message("x", "SubscriptionConfirmation", Token="t", SubscribeURL=confirm)
    assert (await browser.post(url, json=wanted)).status_code == 200
    assert amazon.asked[-1] == confirm
    bounce = {"notificationType": "Bounce", "bounce": {"bounceType": "Permanent", "bounceSubType": "General",
              "bouncedRecipients": [{"emailAddress": "ann@example.org", "diagnosticCode": "smtp; 550 5.1.1 unknown"}]},
              "mail": {"headers": [{"name": "Message-ID", "value": f"<{world.message_id}>"}]}}  # fmt: skip
    told = amazon.message(json.dumps(bounce))
    assert (await browser.post(url, json=told | {"Message": "{}"})).status_code == 403
    assert await world.read() == []
    for _ in range(2):
        assert (await browser.post(url, json=told)).status_code == 200
    assert await world.read() == [DEAD | {"delivery_id": world.delivery}]
    for junk in (b"", b"[]", b"\xff", b'{"Type": []}', b"[" * 50_000):
        assert (await browser.post(url, content=junk)).status_code == 403


async def test_a_simulation_asks_nobody_outside(world: World, browser: httpx.AsyncClient) -> None:
    feed = await world.feed("ses", TOPIC)
    message = Amazon().message("{}", SigningCertURL="https://sns.eu-west-1.amazonaws.com/never-fetched.pem")
    assert (await browser.post(f"/hooks/{feed['hook']}", json=message)).status_code == 403


async def test_a_workspace_s_feed_touches_its_own_mails_only(
    world: World, browser: httpx.AsyncClient, other_workspace: int
) -> None:
    body = {
        "event": "hard_bounce",
        "email": "ann@example.org",
        "message-id": f"<{world.message_id}>",
        "reason": "550 5.1.1",
    }
    theirs = await world.feed("brevo", workspace=other_workspace)
    answer = await browser.post(f"/hooks/{theirs['hook']}", json=body, auth=("thurn", theirs["secret"]))
    assert answer.status_code == 200
    assert await world.read() == []
    shown = await service.get(world.system, theirs["id"])
    assert (shown["taken"], shown["matched"]) == (1, 0)


NONSENSE = (b"", b"no json", b"\xff\0", b"[" * 100_000, b"null", b'"x"', b'{"event": {"a": []}}')


async def test_nonsense_with_the_right_password_breaks_nothing(world: World, browser: httpx.AsyncClient) -> None:
    feed = await world.feed("brevo")
    for body in NONSENSE:
        answer = await browser.post(f"/hooks/{feed['hook']}", content=body, auth=("thurn", feed["secret"]))
        assert answer.status_code == 200
    assert await world.read() == []
    left = await (await world.system.execute("SELECT count(*) AS n FROM feed_item WHERE body IS NOT NULL")).fetchone()
    assert left == {"n": 0}


async def test_a_call_that_is_too_large_is_refused_and_one_to_a_feed_switched_off_finds_nobody(
    world: World, browser: httpx.AsyncClient
) -> None:
    feed = await world.feed("brevo")
    url, auth = f"/hooks/{feed['hook']}", ("thurn", feed["secret"])
    assert (await browser.post(url, content=b"x" * (3 * 1024 * 1024), auth=auth)).status_code == 413
    assert (await browser.get(url)).status_code == 405
    assert (await browser.post("/hooks/%00", content=b"x")).status_code == 404
    await service.switch(world.system, feed["id"], enabled=False)
    assert (await browser.post(url, content=b"{}", auth=auth)).status_code == 404


async def test_a_program_does_what_a_person_can(api: httpx.AsyncClient, system: Connection) -> None:
    added = await api.post("/api/v1/feeds", json={"name": "Brevo", "kind": "brevo"})
    assert added.status_code == 201
    number = added.json()["id"]
    assert "secret" not in added.json()
    address = (await api.get(f"/api/v1/feeds/{number}/address")).json()["url"]
    row = await (await system.execute("SELECT hook FROM feed")).fetchone()
    assert row is not None
    assert address.endswith(f"/hooks/{row['hook']}")
    assert "//thurn:" in address
    box = await api.post("/api/v1/feeds", json={"name": "Box", "kind": "imap", "host": "imap.example.net", "login": "a",
                                                "secret": SECRET})  # fmt: skip
    assert (box.status_code, box.json()["port"]) == (201, 993)
    assert (await api.get(f"/api/v1/feeds/{box.json()['id']}/address")).status_code == 422
    assert (await api.post("/api/v1/feeds", json={"name": "x", "kind": "imap", "host": "x"})).status_code == 422
    listed = (await api.get("/api/v1/feeds?limit=1")).json()
    assert [each["name"] for each in listed["items"]] == ["Brevo"]
    listed = (await api.get(f"/api/v1/feeds?cursor={listed['next']}")).json()
    assert [each["name"] for each in listed["items"]] == ["Box"]
    assert (await api.post(f"/api/v1/feeds/{number}/disable")).json()["enabled"] is False
    assert (await api.post(f"/api/v1/feeds/{number}/enable")).json()["enabled"] is True
    assert (await api.delete(f"/api/v1/feeds/{number}")).status_code == 204
    assert (await api.get(f"/api/v1/feeds/{number}")).status_code == 404
