"""The quarantine and wishes of spam, as administrators and owners of mailboxes see them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from page_check import check
from psycopg.types.json import Jsonb

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection
from thurn.db.fetch import maybe, one, rows

Maker = Callable[..., Awaitable[Any]]
SYMBOLS = [{"name": "DMARC_POLICY_REJECT", "score": 2.0, "options": ["bank.example : reject"]},
           {"name": "URIBL_BLACK", "score": 7.5, "options": []}]  # fmt: skip
HOSTILE = "<script>alert(1)</script> {{ 7*7 }} \u202e" + "W" * 280
MESSAGE = (
    b"From: a@bank.example\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n<script>alert(2)</script><p>Pay now</p>"
)


class Admin:
    """An owner of the workspace in a browser."""

    def __init__(self, browser: httpx.AsyncClient, csrf: str) -> None:
        self.browser, self.csrf = browser, csrf

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.browser.get(f"/w/main{path}")
        assert answer.status_code == status, answer.text
        return answer.text

    async def post(self, path: str, status: int = 303, **fields: str) -> httpx.Response:
        answer = await self.browser.post(f"/w/main{path}", data={"csrf": self.csrf, **fields})
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
def admin(signed_in: tuple[httpx.AsyncClient, SignedInAs]) -> Admin:
    return Admin(signed_in[0], signed_in[1].csrf)


async def hold(db: Connection, address: str, subject: str = "Invoice 7", message: bytes = MESSAGE) -> int:
    row = await one(
        db,
        """INSERT INTO held_mail (workspace_id, mailbox_id, queue_id, mail_from, header_from, subject, score, required,
             symbols, size, message)
           SELECT workspace_id, id, 'Q', 'x@evil.example', 'billing@bank.example', %s, 17.26, 15, %s, %s, %s
           FROM mailbox WHERE address = %s RETURNING id""",
        [subject, Jsonb(SYMBOLS), len(message), message, address],
    )
    return int(row["id"])


async def test_an_empty_quarantine_says_what_it_is_for(admin: Admin) -> None:
    assert "Nothing is held" in check(await admin.get("/quarantine")).words()


async def test_held_mail_is_listed_with_its_reason_and_shown_as_text(
    admin: Admin, make_mailbox: Maker, system: Connection
) -> None:
    await make_mailbox()
    held_id = await hold(system, "sepp@brotzeit.example", HOSTILE)
    listed = await admin.get("/quarantine")
    words = check(listed).words()
    assert "Claims to be from bank.example, but was not sent from their server." in words
    assert "<script>alert" not in listed
    mail = await admin.get(f"/quarantine/{held_id}")
    assert "Pay now" in check(mail).words()
    assert "alert(2)" not in mail
    assert "17.3 points" in check(mail).words()
    for ask in ("release", "delete"):
        check(await admin.get(f"/quarantine/{held_id}?ask={ask}"))


async def test_held_mail_is_found_by_sender_subject_and_mailbox(
    admin: Admin, make_mailbox: Maker, system: Connection
) -> None:
    await make_mailbox("a_b@brotzeit.example")
    await make_mailbox("acb@brotzeit.example")
    for number in range(30):
        await hold(system, "a_b@brotzeit.example", f"Bill {number}")
    await hold(system, "acb@brotzeit.example", "Other")
    first = check(await admin.get("/quarantine"))
    assert "25 of 31" in first.words()
    older = next(a["href"] for a in first.all("a") if "before=" in a.get("href", ""))
    second = check(await admin.get(older.removeprefix("/w/main")))
    assert "Bill 0" in second.words()
    assert "Other" not in check(await admin.get("/quarantine?mailbox=a_b@brotzeit.example")).words()
    found = check(await admin.get("/quarantine?q=bILL+29")).words()
    assert "Bill 29" in found
    assert "Bill 28" not in found
    for odd in ("%", "_", "\\", "'", "%00", "%ED%A0%80"):
        await admin.get(f"/quarantine?q={odd}")
    await admin.get("/quarantine?mailbox=nobody@brotzeit.example", 404)


async def test_deleting_is_asked_for_and_final(admin: Admin, make_mailbox: Maker, system: Connection) -> None:
    await make_mailbox()
    held_id = await hold(system, "sepp@brotzeit.example")
    await admin.post(f"/quarantine/{held_id}/delete")
    assert await maybe(system, "SELECT 1 FROM held_mail") is None
    await admin.post(f"/quarantine/{held_id}/delete", 404)


async def test_what_cannot_be_delivered_stays_held_and_is_said(admin: Admin, sepp: Any, system: Connection) -> None:
    """No Dovecot runs here."""
    held_id = await hold(system, sepp.address)
    answer = await admin.post(f"/quarantine/{held_id}/release", 409)
    assert "Nothing is lost" in check(answer.text).words()
    answer = await sepp.browser.post(f"/mailbox/held/{held_id}/release", data={"csrf": sepp.csrf})
    assert answer.status_code == 409
    assert "Nothing is lost" in check(answer.text).words()
    assert await maybe(system, "SELECT 1 FROM held_mail") is not None


async def test_an_owner_sees_what_is_held_for_them_and_nothing_of_others(
    sepp: Any, make_mailbox: Maker, system: Connection
) -> None:
    await make_mailbox("rosi@brotzeit.example")
    mine = await hold(system, sepp.address, "For Sepp")
    hers = await hold(system, "rosi@brotzeit.example", "For Rosi")
    page = check((await sepp.browser.get("/mailbox/held")).text)
    assert "For Sepp" in page.words()
    assert "For Rosi" not in page.words()
    assert (await sepp.browser.get(f"/mailbox/held/{mine}")).status_code == 200
    assert (await sepp.browser.get(f"/mailbox/held/{hers}")).status_code == 404
    for verb in ("release", "delete"):
        answer = await sepp.browser.post(f"/mailbox/held/{hers}/{verb}", data={"csrf": sepp.csrf})
        assert answer.status_code == 404
    assert len(await rows(system, "SELECT 1 FROM held_mail")) == 2
    assert (await sepp.browser.post(f"/mailbox/held/{mine}/delete", data={"csrf": "no"})).status_code == 403
    assert (await sepp.browser.get(f"/mailbox/held/{mine}/release")).status_code == 405, "a link never releases"
    home = (await sepp.browser.get("/mailbox")).text
    assert f"/mailbox/held/{mine}/" in home
    assert f"/mailbox/held/{hers}" not in home
    check(home)
    answer = await sepp.browser.post(f"/mailbox/held/{mine}/delete", data={"csrf": sepp.csrf})
    assert answer.headers["location"] == "/mailbox/held?done=deleted"
    assert "Nothing is held for you" in (await sepp.browser.get("/mailbox/held?done=deleted")).text


async def test_the_portal_is_closed_to_strangers(browser: httpx.AsyncClient) -> None:
    for path in ("/mailbox/held", "/mailbox/held/1", "/mailbox/held/wishes"):
        assert (await browser.get(path)).status_code == 303


async def test_an_owner_changes_wishes_of_their_own_mailbox_only(
    sepp: Any, make_mailbox: Maker, system: Connection
) -> None:
    await make_mailbox("rosi@brotzeit.example")
    check((await sepp.browser.get("/mailbox/held/wishes")).text)
    fields = {"csrf": sepp.csrf, "junk_at": "4", "refuse_at": "", "greylist": "no", "digest": "no", "digest_hour": "9"}
    assert (await sepp.browser.post("/mailbox/held/wishes", data=fields)).status_code == 303
    [row] = await rows(system, "SELECT * FROM spam_setting")
    assert (row["mailbox_id"], row["junk_at"], row["refuse_at"]) == (sepp.mailbox_id, 4, None)
    page = check((await sepp.browser.get("/mailbox/held/wishes?saved=1")).text)
    assert "4 points or more goes to Junk" in page.words()
    for name, value in (
        ("junk_at", "0"),
        ("junk_at", "-1"),
        ("refuse_at", "99999"),
        ("digest_hour", "24"),
        ("junk_at", "²"),
    ):
        answer = await sepp.browser.post("/mailbox/held/wishes", data={**fields, name: value})
        assert answer.status_code == 422, (name, value)
    add = {"csrf": sepp.csrf, "sender": "*.shop.example", "verdict": "allow"}
    assert (await sepp.browser.post("/mailbox/held/wishes/senders", data=add)).status_code == 303
    answer = await sepp.browser.post("/mailbox/held/wishes/senders", data={**add, "sender": "<b>"})
    assert answer.status_code == 422
    check(answer.text)
    remove = {"csrf": sepp.csrf, "sender": "*.shop.example"}
    assert (await sepp.browser.post("/mailbox/held/wishes/senders/remove", data=remove)).status_code == 303
    assert await maybe(system, "SELECT 1 FROM spam_sender") is None


@pytest.mark.parametrize("kind", ["domains/brotzeit.example", "mailboxes/sepp@brotzeit.example"])
async def test_an_administrator_sets_wishes_and_senders(
    admin: Admin, make_mailbox: Maker, system: Connection, kind: str
) -> None:
    await make_mailbox()
    page = check(await admin.get(f"/{kind}/spam"))
    assert "6 points or more goes to Junk" in page.words()
    await admin.post(f"/{kind}/spam", junk_at="9", refuse_at="1000")
    words = check(await admin.get(f"/{kind}/spam?saved=1")).words()
    assert "9 points or more goes to Junk" in words
    assert "No mail is refused for its points" in words
    answer = await admin.post(f"/{kind}/spam", 422, junk_at="25", refuse_at="10")
    assert "as many points as Junk" in check(answer.text).words()
    await admin.post(f"/{kind}/spam/senders", sender="Shop.Example", verdict="block")
    await admin.post(f"/{kind}/spam/senders", 422, sender="nonsense", verdict="allow")
    assert "shop.example" in check(await admin.get(f"/{kind}/spam")).words()
    await admin.post(f"/{kind}/spam/senders/remove", sender="shop.example")
    await admin.post(f"/{kind}/spam/senders/remove", 404, sender="shop.example")


async def test_the_api_does_what_the_pages_do(api: httpx.AsyncClient, make_mailbox: Maker, system: Connection) -> None:
    await make_mailbox()
    held_id = await hold(system, "sepp@brotzeit.example")
    [item] = (await api.get("/api/v1/quarantine", params={"mailbox": "sepp@brotzeit.example"})).json()["items"]
    assert item["reasons"][0].startswith("Claims to be from bank.example")
    assert (await api.get(f"/api/v1/quarantine/{held_id}")).json()["text"] == "Pay now"
    assert (await api.post(f"/api/v1/quarantine/{held_id}/release")).status_code == 409
    assert (await api.delete(f"/api/v1/quarantine/{held_id}")).status_code == 204
    assert (await api.delete(f"/api/v1/quarantine/{held_id}")).status_code == 404
    wish = {"junk_at": 5, "digest": False}
    for of in ("domains/brotzeit.example", "mailboxes/sepp@brotzeit.example"):
        assert (await api.put(f"/api/v1/{of}/spam", json=wish)).json()["own"]["junk_at"] == 5
        assert (await api.get(f"/api/v1/{of}/spam")).json()["effective"]["refuse_at"] == 15
        added = await api.post(f"/api/v1/{of}/senders", json={"sender": "*.Shop.example", "verdict": "allow"})
        assert [each["sender"] for each in added.json()["items"]] == ["*.shop.example"]
        assert (await api.delete(f"/api/v1/{of}/senders/*.shop.example")).status_code == 204
        assert (await api.get(f"/api/v1/{of}/senders")).json() == {"items": []}
