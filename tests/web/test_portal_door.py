"""The portal's front door: who comes in, who stays in, and that administrators and mailboxes never mix."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from page_check import csrf_of

from tests.web.conftest import PASSWORD, Owner
from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.mailhost import mailboxes
from thurn.portal.sessions import hash_token
from thurn.web.app import create_app

Maker = Callable[..., Awaitable[Any]]


async def enter(browser: httpx.AsyncClient, address: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    """Through the form, as a person does."""
    csrf = csrf_of((await browser.get("/mailbox/sign-in")).text)
    fields = {"csrf": csrf, "address": address, "password": password, **more}
    return await browser.post("/mailbox/sign-in", data=fields)


async def test_the_right_password_opens_the_mailbox_and_only_hashes_are_kept(
    browser: httpx.AsyncClient, make_mailbox: Maker, system: Connection
) -> None:
    mailbox_id = await make_mailbox()
    answer = await enter(browser, " Sepp@Brotzeit.Example ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/mailbox")
    assert "sepp@brotzeit.example" in (await browser.get("/mailbox")).text
    kept = await one(system, "SELECT * FROM mailbox_session")
    token = browser.cookies["thurn-mailbox"]
    assert kept["mailbox_id"] == mailbox_id
    assert kept["token_hash"] == hash_token(token)
    assert token not in str(kept)


@pytest.mark.parametrize(
    "address",
    [
        "nobody@brotzeit.example",
        "s_pp@brotzeit.example",
        "sepp%@brotzeit.example",
        "' OR 1=1 --",
        "",
        "\0",
        "@",
        "\ud800",
    ],
)
async def test_a_stranger_gets_nowhere_and_learns_nothing(
    browser: httpx.AsyncClient, make_mailbox: Maker, system: Connection, address: str
) -> None:
    await make_mailbox()
    wrong = await enter(browser, "sepp@brotzeit.example", "not the password")
    assert wrong.status_code == 422
    csrf = csrf_of(wrong.text)
    content = httpx.QueryParams({"csrf": csrf, "password": PASSWORD}).__str__().encode()
    content += b"&address=" + b"".join(b"%%%02x" % byte for byte in address.encode("utf-8", "surrogatepass"))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    unknown = await browser.post("/mailbox/sign-in", content=content, headers=headers)
    assert unknown.status_code == 422
    assert "do not belong together" in unknown.text
    assert await rows(system, "SELECT * FROM mailbox_session") == []


@pytest.mark.parametrize("password", ["", "x" * 129, "x" * 3999, PASSWORD + "\0", PASSWORD.upper(), "\0"])
async def test_no_other_password_opens_it(browser: httpx.AsyncClient, make_mailbox: Maker, password: str) -> None:
    await make_mailbox()
    assert (await enter(browser, "sepp@brotzeit.example", password)).status_code == 422


async def test_an_unknown_address_takes_as_long_as_a_wrong_password(
    browser: httpx.AsyncClient, make_mailbox: Maker, system: Connection
) -> None:
    await make_mailbox()
    took: dict[str, list[float]] = {"sepp@brotzeit.example": [], "nobody@brotzeit.example": []}
    csrf = csrf_of((await browser.get("/mailbox/sign-in")).text)
    for turn in range(8):
        for address, times in took.items():
            await system.execute("DELETE FROM guard_failure")  # else one is told to wait, and nothing is checked
            begun = time.perf_counter()
            await browser.post("/mailbox/sign-in", data={"csrf": csrf, "address": address, "password": f"wrong {turn}"})
            times.append(time.perf_counter() - begun)
    known, unknown = map(min, took.values())  # the least: what else the machine does only adds
    assert 0.5 < known / unknown < 2.0


async def test_signing_in_makes_a_new_session_and_ends_the_one_before(
    browser: httpx.AsyncClient, sepp: Owner, make_mailbox: Maker, other_workspace: int, system: Connection
) -> None:
    await make_mailbox("rosi@theirs.example", other_workspace)
    browser.cookies.set("thurn-mailbox", sepp.token, domain="thurn.test", path="/")
    csrf = sepp.csrf
    answer = await browser.post(
        "/mailbox/sign-in", data={"csrf": csrf, "address": "rosi@theirs.example", "password": PASSWORD}
    )
    assert answer.status_code == 303
    (kept,) = await rows(system, "SELECT workspace_id FROM mailbox_session")
    assert kept["workspace_id"] == other_workspace


async def test_a_token_an_attacker_planted_is_never_taken_over(browser: httpx.AsyncClient, make_mailbox: Maker) -> None:
    await make_mailbox()
    browser.cookies.set("thurn-mailbox", "planted", domain="thurn.test", path="/")
    answer = await enter(browser, "sepp@brotzeit.example")
    assert "thurn-mailbox=planted" not in answer.headers["set-cookie"]
    assert (await browser.get("/mailbox", headers={"Cookie": "thurn-mailbox=planted"})).status_code == 303


@pytest.mark.parametrize(
    ("target", "goes"),
    [
        ("/mailbox/security", "/mailbox/security"),
        ("https://evil.example/", "/mailbox"),
        ("//evil.example/mailbox/", "/mailbox"),
        ("/mailbox/\\evil", "/mailbox"),
        ("/w/main", "/mailbox"),
        ("/mailbox/x\r\nSet-Cookie: a=b", "/mailbox"),
    ],
)
async def test_nobody_is_sent_elsewhere_after_signing_in(
    browser: httpx.AsyncClient, make_mailbox: Maker, target: str, goes: str
) -> None:
    await make_mailbox()
    answer = await enter(browser, "sepp@brotzeit.example", next=target)
    assert answer.headers["location"] == goes


async def test_a_stranger_is_sent_to_the_portals_door_and_back(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/mailbox")).headers["location"] == "/mailbox/sign-in"
    answer = await browser.get("/mailbox?x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/mailbox/sign-in?next=/mailbox%3Fx%3D1"


async def test_signing_out_ends_the_session(sepp: Owner, system: Connection) -> None:
    await sepp.get()
    answer = await sepp.post("/sign-out")
    assert answer.headers["location"] == "/mailbox/sign-in?out=1"
    assert await rows(system, "SELECT 1 FROM mailbox_session") == []
    headers = {"Cookie": f"thurn-mailbox={sepp.token}"}
    assert (await sepp.browser.get("/mailbox", headers=headers)).status_code == 303


async def test_a_disabled_mailbox_and_a_new_password_end_every_session_at_once(sepp: Owner, system: Connection) -> None:
    await mailboxes.set_enabled(system, sepp.address, enabled=False)
    await sepp.get(status=303)
    await mailboxes.set_enabled(system, sepp.address, enabled=True)
    await sepp.get(status=303)  # and it does not come back
    assert await rows(system, "SELECT 1 FROM mailbox_session") == []


async def test_a_new_password_by_an_administrator_ends_every_session(sepp: Owner, system: Connection) -> None:
    before = await one(system, "SELECT password_changed_at FROM mailbox")
    await mailboxes.set_password(system, sepp.address)
    await sepp.get(status=303)
    after = await one(system, "SELECT password_changed_at FROM mailbox")
    assert after["password_changed_at"] > before["password_changed_at"]


async def test_a_session_ends_by_itself(sepp: Owner, system: Connection) -> None:
    await system.execute("UPDATE mailbox_session SET expires_at = now() - interval '1 second'")
    await sepp.get(status=303)


async def test_a_session_that_waits_for_its_code_opens_nothing(sepp: Owner, system: Connection) -> None:
    await system.execute("UPDATE mailbox_session SET second_step = true")
    await sepp.get(status=303)


async def test_sessions_of_administrators_and_of_mailboxes_never_mix(
    site: Any, sepp: Owner, signed_in: tuple[httpx.AsyncClient, SignedInAs]
) -> None:
    _, admin = signed_in
    async with site.client(cookies={"thurn-session": sepp.token, "thurn-mailbox": admin.token}) as swapped:
        assert (await swapped.get("/mailbox")).status_code == 303
        assert (await swapped.get("/w/main")).status_code == 303
    both = {"thurn-session": admin.token, "thurn-mailbox": sepp.token}
    async with site.client(cookies=both) as browser:
        assert (await browser.get("/w/main")).status_code == 200
        assert (await browser.get("/mailbox")).status_code == 200
        # Each token proves requests of its own side only.
        assert (await browser.post("/mailbox/sign-out", data={"csrf": admin.csrf})).status_code == 403
        assert (await browser.post("/sign-out", data={"csrf": sepp.csrf})).status_code == 403
        assert (await browser.post("/mailbox/sign-out", data={"csrf": sepp.csrf})).status_code == 303
        assert (await browser.get("/w/main")).status_code == 200


async def test_nothing_is_changed_without_the_token_of_the_session(
    site: Any, sepp: Owner, make_owner: Maker, system: Connection
) -> None:
    rosi = await make_owner("rosi@brotzeit.example")
    for path in portal_posts(site.app):
        for wrong in ("", "wrong", rosi.csrf):
            answer = await sepp.browser.post(path, data={"csrf": wrong})
            assert answer.status_code == 403, path
        headers = {"Sec-Fetch-Site": "cross-site"}
        answer = await sepp.browser.post(path, data={"csrf": sepp.csrf}, headers=headers)
        assert answer.status_code == 403, path
    assert len(await rows(system, "SELECT 1 FROM mailbox_session")) == 2


def portal_posts(app: Any) -> list[str]:
    """Every address under /mailbox that changes something, with 1 for what varies."""
    found = []
    for route in iter_route_contexts(app.routes):
        if str(route.path).startswith("/mailbox") and "POST" in set(route.methods or ()):
            path = str(route.path)
            while "{" in path:
                path = path[: path.index("{")] + "1" + path[path.index("}") + 1 :]
            found.append(path)
    assert found
    return found


async def test_over_https_the_cookie_is_bound_to_the_host(clean: Any, make_mailbox: Maker) -> None:
    await make_mailbox()
    app = create_app(clean.model_copy(update={"base_url": "https://thurn.test"}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://thurn.test") as browser,
    ):
        cookie = (await enter(browser, "sepp@brotzeit.example")).headers["set-cookie"]
    assert cookie.startswith("__Host-thurn-mailbox=")
    for attribute in ("HttpOnly", "Secure", "Path=/", "SameSite=lax"):
        assert attribute in cookie


async def test_guessing_is_slowed_down_whatever_comes_next(
    browser: httpx.AsyncClient, make_mailbox: Maker, site: Any
) -> None:
    await make_mailbox()
    answers = [(await enter(browser, "sepp@brotzeit.example", f"guess number {n}")) for n in range(12)]
    assert answers[0].status_code == 422
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    late = await enter(browser, "sepp@brotzeit.example")
    assert late.status_code == 429  # the right password is not even looked at
