"""The button that opens webmail."""

from collections.abc import Awaitable, Callable

import httpx

from tests.web.conftest import Owner
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.webmail.service import exchange

Signer = Callable[..., Awaitable[Owner]]


async def test_the_button_gives_the_browser_a_token_in_a_cookie(make_owner: Signer, system: Connection) -> None:
    owner = await make_owner("sepp@brotzeit.example")
    assert 'action="/mailbox/webmail"' in (await owner.browser.get("/mailbox")).text
    answer = await owner.browser.post("/mailbox/webmail", data={"csrf": owner.csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/webmail/?_task=login")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("webmail-token=")
    for part in ("HttpOnly", "Max-Age=60", "Path=/webmail/", "SameSite=lax"):
        assert part in cookie
    token = cookie.partition("=")[2].partition(";")[0]
    assert token not in str(await rows(system, "SELECT * FROM webmail_token")), "only its hash is kept"
    ticket = await exchange(system, token, "cookie")
    assert ticket is not None
    assert ticket.address == "sepp@brotzeit.example"


async def test_nobody_else_gets_a_token(make_owner: Signer, browser: httpx.AsyncClient, system: Connection) -> None:
    owner = await make_owner("sepp@brotzeit.example")
    for data in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
        assert (await owner.browser.post("/mailbox/webmail", data=data)).status_code == 403
    assert (await owner.browser.get("/mailbox/webmail")).status_code == 405
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    crossed = await owner.browser.post("/mailbox/webmail", data={"csrf": owner.csrf}, headers=evil)
    assert crossed.status_code == 403
    anonymous = await browser.post("/mailbox/webmail", data={"csrf": owner.csrf})
    assert anonymous.status_code in (303, 403)
    assert "webmail-token" not in anonymous.headers.get("set-cookie", "")
    assert (await one(system, "SELECT count(*)::int AS n FROM webmail_token"))["n"] == 0
