"""What every request meets: headers, sessions, CSRF, limits, and answers when something is wrong."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Form, Request
from starlette.types import Message, Receive, Scope, Send

from thurn.accounts.sessions import SignedInAs, start_session
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.settings import Settings
from thurn.web.app import create_app
from thurn.web.csrf import check_csrf
from thurn.web.edge import Db, Owner, SignedIn, Unscoped, client_ip, edge_secret, visitor_csrf
from thurn.web.security import SMALL_BODY, UPLOAD_BODY, BodyTooLarge, Guard

MakeAccount = Callable[..., Awaitable[int]]
Signed = tuple[httpx.AsyncClient, SignedInAs]

probe = APIRouter()


@probe.get("/w/{workspace}/probe")
async def look(viewer: SignedIn, db: Db) -> dict[str, object]:
    row = await one(db, "SELECT current_workspace() AS workspace, count(*) AS lists FROM list")
    return {"email": viewer.email, "role": viewer.role, **row}


@probe.post("/w/{workspace}/probe")
async def change(viewer: SignedIn, db: Db, name: Annotated[str, Form()] = "x") -> dict[str, str]:
    await db.execute("INSERT INTO list (workspace_id, name) VALUES (%s, %s)", [viewer.workspace_id, name])
    if name == "fail":
        raise RuntimeError("after the change")
    return {"done": name}


@probe.post("/w/{workspace}/owners-probe")
async def owners(viewer: Owner) -> dict[str, str]:
    return {"hello": viewer.email}


@probe.get("/visitor-probe")
async def visitor(request: Request) -> dict[str, str]:
    return {"csrf": visitor_csrf(request), "ip": client_ip(request)}


@probe.post("/visitor-probe")
async def visitor_change(db: Unscoped) -> dict[str, str]:
    return {"done": "yes"}


@pytest.fixture(autouse=True)
def _probe_pages(site: Any) -> Iterator[None]:
    """The application is one for all files: what is added here goes again."""
    routes = list(site.app.router.routes)
    site.app.include_router(probe, dependencies=[Depends(check_csrf)])
    yield
    site.app.router.routes[:] = routes
    site.app.openapi_schema = None


@pytest.fixture
def web(signed_in: Signed) -> httpx.AsyncClient:
    return signed_in[0]


async def lists(system: Connection) -> int:
    return int((await one(system, "SELECT count(*) AS n FROM list"))["n"])


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/w/main/probe", "/static/nothing.css", "/api/v1/contacts",
                                  "/api/v1/openapi.json", "/sign-in", "/o/x", "/c/x", "/u/x", "/"])  # fmt: skip
async def test_every_answer_carries_security_headers(browser: httpx.AsyncClient, path: str) -> None:
    headers = (await browser.get(path)).headers
    assert headers["content-security-policy"].startswith(("default-src 'self'", "default-src 'none'"))
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer")
    assert "cache-control" in headers


async def test_a_fault_answers_with_headers_and_a_number_and_no_details(web: httpx.AsyncClient, signed_in: Signed,
                                                                        system: Connection) -> None:  # fmt: skip
    answer = await web.post("/w/main/probe", data={"csrf": signed_in[1].csrf, "name": "fail"})
    assert answer.status_code == 500
    assert "x-frame-options" in answer.headers
    assert "after the change" not in answer.text
    assert "fault" in answer.text
    assert await lists(system) == 0, "a handler that fails must leave nothing behind"


async def test_somebody_who_did_not_sign_in_is_sent_to_sign_in_and_back(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/w/main/probe?q=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/w/main/probe%3Fq%3D1")
    fragment = await browser.get("/w/main/probe", headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/sign-in")


async def test_a_member_sees_the_workspace_in_the_path(web: httpx.AsyncClient) -> None:
    assert (await web.get("/w/main/probe")).json() == {
        "email": "anna@brotzeit.example", "role": "owner", "workspace": 1, "lists": 0}  # fmt: skip


async def test_somebody_else_s_workspace_does_not_exist_for_a_member_of_another(
    web: httpx.AsyncClient, signed_in: Signed, other_workspace: int, system: Connection
) -> None:
    theirs = await web.get("/w/other/probe")
    nobodys = await web.get("/w/no-such/probe")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text == nobodys.text
    answer = await web.post("/w/other/probe", data={"csrf": signed_in[1].csrf})
    assert answer.status_code == 404
    assert await lists(system) == 0


@pytest.mark.parametrize("sent", [{}, {"csrf": ""}, {"csrf": "wrong"}, {"csrf": "\x00"}, {"csrf": "ü" * 50}])
async def test_a_change_without_the_right_token_changes_nothing(
    web: httpx.AsyncClient, system: Connection, sent: dict[str, str]
) -> None:
    answer = await web.post("/w/main/probe", data={"name": "new", **sent})
    assert answer.status_code == 403
    assert "Nothing was changed" in answer.text
    assert await lists(system) == 0


async def test_the_token_of_another_session_is_refused(
    web: httpx.AsyncClient, system: Connection, make_account: MakeAccount
) -> None:
    other = await start_session(system, account=await make_account("ben@brotzeit.example"))
    assert (await web.post("/w/main/probe", data={"csrf": other.csrf})).status_code == 403
    assert await lists(system) == 0


async def test_the_token_is_taken_from_the_form_a_file_form_or_the_header(
    web: httpx.AsyncClient, signed_in: Signed, system: Connection
) -> None:
    token = signed_in[1].csrf
    assert (await web.post("/w/main/probe", data={"csrf": token, "name": "a"})).status_code == 200
    assert (await web.post("/w/main/probe", files={"f": b"x"}, data={"csrf": token, "name": "b"})).status_code == 200
    assert (await web.post("/w/main/probe", data={"name": "c"}, headers={"X-CSRF-Token": token})).status_code == 200
    assert await lists(system) == 3


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
     {"Origin": "http://thurn.test:81"}],
)  # fmt: skip
async def test_a_change_from_another_site_is_refused_even_with_the_token(
    web: httpx.AsyncClient, signed_in: Signed, system: Connection, headers: dict[str, str]
) -> None:
    answer = await web.post("/w/main/probe", data={"csrf": signed_in[1].csrf}, headers=headers)
    assert answer.status_code == 403
    assert await lists(system) == 0


async def test_our_own_origin_is_fine(web: httpx.AsyncClient, signed_in: Signed) -> None:
    headers = {"Origin": "http://thurn.test", "Sec-Fetch-Site": "same-origin"}
    assert (await web.post("/w/main/probe", data={"csrf": signed_in[1].csrf}, headers=headers)).status_code == 200


async def test_a_visitor_gets_a_token_bound_to_a_cookie(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/visitor-probe")
    assert "HttpOnly" in first.headers["set-cookie"]
    token = first.json()["csrf"]
    assert (await browser.get("/visitor-probe")).json()["csrf"] == token
    assert (await browser.post("/visitor-probe", data={"csrf": token})).status_code == 200
    browser.cookies.clear()
    assert (await browser.post("/visitor-probe", data={"csrf": token})).status_code == 403


async def test_who_may_only_look_cannot_change(
    browser: httpx.AsyncClient, system: Connection, make_account: MakeAccount
) -> None:
    session = await start_session(system, account=await make_account("v@brotzeit.example", "viewer"))
    browser.cookies.set("thurn-session", session.token)
    assert (await browser.get("/w/main/probe")).status_code == 200
    assert (await browser.post("/w/main/probe", data={"csrf": session.csrf})).status_code == 403
    assert await lists(system) == 0


async def test_an_editor_is_no_owner(browser: httpx.AsyncClient, system: Connection, make_account: MakeAccount) -> None:
    session = await start_session(system, account=await make_account("e@brotzeit.example", "editor"))
    browser.cookies.set("thurn-session", session.token)
    assert (await browser.post("/w/main/probe", data={"csrf": session.csrf})).status_code == 200
    assert (await browser.post("/w/main/owners-probe", data={"csrf": session.csrf})).status_code == 403


async def test_a_session_that_is_over_opens_nothing(web: httpx.AsyncClient, system: Connection) -> None:
    await system.execute("UPDATE session SET expires_at = now() - interval '1 second'")
    assert (await web.get("/w/main/probe")).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "\xff" * 20, "a" * 4000])
async def test_an_invented_session_opens_nothing(browser: httpx.AsyncClient, token: str) -> None:
    answer = await browser.get("/w/main/probe", headers={b"Cookie": b"thurn-session=" + token.encode("latin-1")})
    assert answer.status_code == 303


async def test_a_body_that_is_too_large_is_refused_while_it_comes_in(
    web: httpx.AsyncClient, signed_in: Signed, system: Connection
) -> None:
    data = {"csrf": signed_in[1].csrf, "name": "x" * (3 * 1024 * 1024)}
    assert (await web.post("/w/main/probe", data=data)).status_code == 413
    assert await lists(system) == 0


async def test_a_nul_in_a_form_is_refused_in_words(web: httpx.AsyncClient, signed_in: Signed) -> None:
    answer = await web.post("/w/main/probe", data={"csrf": signed_in[1].csrf, "name": "a\x00b"})
    assert answer.status_code == 422


async def test_without_a_database_pages_and_api_say_so(settings: Settings) -> None:
    lost = settings.model_copy(update={"database_url": "host=127.0.0.1 port=1 dbname=none"})
    app = create_app(lost)
    app.include_router(probe)
    async with app.router.lifespan_context(app):
        app.state.pool.timeout = 0.2
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://thurn.test") as client:
            client.cookies.set("thurn-session", "x")
            page = await client.get("/w/main/probe")
            program = await client.get("/api/v1/contacts", headers={"Authorization": "Bearer thurn_x"})
            health = await client.get("/healthz")
    assert page.status_code == program.status_code == health.status_code == 503
    assert "The database did not answer. Nothing you saved is lost." in page.text
    assert program.headers["content-type"] == "application/problem+json"
    assert program.json()["detail"] == "The database did not answer. Nothing you saved is lost."


async def test_over_https_cookies_are_secure_and_bound_to_the_host(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"base_url": "https://mail.thurn.example"}))
    app.include_router(probe)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://mail.thurn.example") as client:
        answer = await client.get(
            "/visitor-probe", headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Thurn-Edge": edge_secret(settings)}
        )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-thurn-visitor=")
    assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie
    assert "strict-transport-security" in answer.headers
    assert answer.json()["ip"] == "192.0.2.7", "what the proxy added counts, not what the client claimed"


@pytest.mark.parametrize(
    ("path", "octets", "status"),
    [
        ("/w/main/contacts/import", UPLOAD_BODY, 200),
        ("/w/main/contacts/import", UPLOAD_BODY + 1, 413),
        ("/api/v1/imports", UPLOAD_BODY + 1, 413),
        ("/w/main/contacts", SMALL_BODY, 200),
        ("/w/main/contacts", SMALL_BODY + 1, 413),
        ("/w/main/importer", SMALL_BODY + 1, 413),
    ],
)
async def test_a_file_may_have_256_mb_and_anything_else_two(path: str, octets: int, status: int) -> None:
    """Counted as it comes in, whatever was said about its length, and never held in memory here."""
    left, part, answers = octets, bytes(1024 * 1024), []

    async def receive() -> dict[str, object]:
        nonlocal left
        body = part[: min(left, len(part))]
        left -= len(body)
        return {"type": "http.request", "body": body, "more_body": left > 0}

    async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        answers.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"1")]}
    asked = Guard(reads_all, https=False)(scope, receive, send)
    if status == 200:
        await asked
        assert answers == [200]
        return
    with pytest.raises(BodyTooLarge, match=f"at most {256 if path.endswith(('import', 'imports')) else 2} MB"):
        await asked


async def test_nobody_can_claim_an_address_without_a_proxy_in_front(browser: httpx.AsyncClient) -> None:
    for shown in ({}, {"X-Thurn-Edge": "guessed"}, {"X-Thurn-Edge": b"gu\xe9ssed"}):
        answer = await browser.get("/visitor-probe", headers={"X-Forwarded-For": "192.0.2.7", **shown})
        assert answer.json()["ip"] == "127.0.0.1"


async def test_unknown_addresses_answer_a_page_to_people_and_a_problem_to_programs(browser: httpx.AsyncClient) -> None:
    page, program = await browser.get("/nowhere"), await browser.get("/api/v1/nowhere")
    assert page.status_code == program.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert program.json()["status"] == 404


async def test_a_built_file_may_be_kept_and_neither_a_missing_one_nor_a_page(
    browser: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: Settings
) -> None:
    (tmp_path / "app-ABCD1234.css").write_text("a{}")
    (tmp_path / "plain.css").write_text("a{}")
    monkeypatch.setattr("thurn.web.app._STATIC", tmp_path)
    transport = httpx.ASGITransport(create_app(clean))
    async with httpx.AsyncClient(transport=transport, base_url="http://thurn.test") as client:
        kept = [
            (await client.get(f"/static/{name}")).headers["cache-control"] for name in ("app-ABCD1234.css", "plain.css")
        ]
        missing = await client.get("/static/gone-ABCD1234.css")
    assert kept == ["public, max-age=31536000, immutable", "public, max-age=3600"]
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")
    assert (await browser.get("/sign-in")).headers["cache-control"] == "no-store"
