"""The button that opens webmail."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.web.conftest import Owner
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.settings import Settings
from thurn.webmail.service import exchange, hashed

Signer = Callable[..., Awaitable[Owner]]
NUMBER = "n" * 43
BOUND = f"/mailbox/webmail?bind={hashed(NUMBER).hex()}"


async def test_the_button_leads_to_webmail_and_back_and_then_in(
    make_owner: Signer, system: Connection, clean: Settings
) -> None:
    owner = await make_owner("sepp@brotzeit.example")
    assert 'href="/mailbox/webmail"' in (await owner.browser.get("/mailbox")).text
    first = await owner.browser.get("/mailbox/webmail")
    assert (first.status_code, first.headers["location"]) == (303, f"{clean.webmail_url}/?_thurn=open")
    assert await rows(system, "SELECT * FROM webmail_token") == [], "nothing is made before webmail has said for whom"
    answer = await owner.browser.get(BOUND)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{clean.webmail_url}/?_task=login&_thurn=")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    token = parse_qs(urlsplit(answer.headers["location"]).query)["_thurn"][0]
    assert token not in str(await rows(system, "SELECT * FROM webmail_token")), "only its hash is kept"
    lasts = await one(system, "SELECT expires_at - now() < interval '31 seconds' AS short FROM webmail_token")
    assert lasts["short"]
    ticket = await exchange(system, token, NUMBER)
    assert ticket is not None
    assert ticket.address == "sepp@brotzeit.example"


async def test_nobody_else_gets_a_token(make_owner: Signer, browser: httpx.AsyncClient, system: Connection) -> None:
    await make_owner("sepp@brotzeit.example")
    for path in ("/mailbox/webmail", BOUND):
        anonymous = await browser.get(path)
        assert (anonymous.status_code, anonymous.headers["location"]) == (303, "/mailbox/sign-in")
    assert (await one(system, "SELECT count(*)::int AS n FROM webmail_token"))["n"] == 0


@pytest.mark.parametrize(
    "bind", ["", "x", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", "é" * 64, "https://evil.example"]
)
async def test_what_is_no_hash_binds_nothing_and_leads_nowhere_else(
    make_owner: Signer, system: Connection, clean: Settings, bind: str
) -> None:
    owner = await make_owner("sepp@brotzeit.example")
    answer = await owner.browser.get("/mailbox/webmail", params={"bind": bind})
    assert answer.headers["location"] == f"{clean.webmail_url}/?_thurn=open"
    assert await rows(system, "SELECT * FROM webmail_token") == []
