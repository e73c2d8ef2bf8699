"""The page and the API of the guard: for those who run the installation, and nobody else."""

import json
from typing import Any

import httpx
import pytest
from page_check import check, csrf_of
from typer.testing import CliRunner

from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import start_session
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.guard import bans, limits, sign_ins
from thurn.settings import Settings

PAGE = "/house/guard"
BAD = "203.0.113.66"


async def guess(db: Connection, times: int, ip: str = BAD, login: str = "resi@brotzeit.example") -> None:
    for _ in range(times):
        await sign_ins.record(db, login=login, protocol="imap", ip=ip, succeeded=False)


async def test_an_operator_sees_who_is_banned_and_why_and_lifts_it(signed_in: Any, system: Connection):
    client, _ = signed_in
    await guess(system, limits.BAN_CLIENT)
    await guess(system, 3, "2001:db8::7", "<script>alert(1)</script>@x.example")
    shown = await client.get(PAGE)
    page = check(shown.text)
    words = page.words()
    for part in (BAD, "Guessed passwords", "20 failed sign-ins as resi@brotzeit.example", "2001:db8::/64", "IMAP"):
        assert part in words, part
    assert "<script>alert" not in shown.text
    form = {"csrf": csrf_of(shown.text), "client": f"{BAD}/32"}
    for _ in range(2):  # a second click on a page that is old by now
        assert (await client.post(f"{PAGE}/unban", data=form)).headers["location"] == PAGE
    assert await bans.listed(system) == []
    assert "Nobody is banned" in check((await client.get(PAGE)).text).words()


async def test_an_operator_bans_and_allows_by_hand(signed_in: Any, system: Connection):
    client, _ = signed_in
    csrf = csrf_of((await client.get(PAGE)).text)
    await client.post(
        f"{PAGE}/ban", data={"csrf": csrf, "client": "198.51.100.0/24", "minutes": "10", "detail": "rude"}
    )
    [row] = await bans.listed(system)
    assert (row["client"], row["detail"]) == ("198.51.100.0/24", "rude")
    assert round((row["until"] - row["since"]).total_seconds()) == 600
    refused = await client.post(f"{PAGE}/ban", data={"csrf": csrf, "client": "127.0.0.1"})
    assert refused.status_code == 422
    assert "own address" in check(refused.text).words()
    refused = await client.post(f"{PAGE}/allow", data={"csrf": csrf, "network": '"><i>', "note": "x"})
    assert refused.status_code == 422
    assert '"><i>' not in refused.text
    await client.post(f"{PAGE}/allow", data={"csrf": csrf, "network": "198.51.100.0/24", "note": "Office"})
    assert await bans.listed(system) == []
    assert "Office" in check((await client.get(PAGE)).text).words()
    await client.post(f"{PAGE}/disallow", data={"csrf": csrf, "network": "198.51.100.0/24"})
    assert await bans.allowed(system) == []


async def test_only_those_who_run_the_installation_open_it_and_see_it_in_the_menu(
    site: Any, signed_in: Any, make_account: Any, system: Connection, other_workspace: int
):
    assert PAGE in (await signed_in[0].get("/w/main")).text
    for email, role, workspace, home in (
        ("owner@x.example", "owner", other_workspace, "/w/other"),
        ("editor@x.example", "editor", 1, "/w/main"),
    ):
        session = await start_session(system, account=await make_account(email, role, workspace))
        async with site.client(cookies={"thurn-session": session.token}) as client:
            assert PAGE not in (await client.get(home)).text
            assert (await client.get(PAGE)).status_code == 403
            for act in ("ban", "unban", "allow", "disallow"):
                form = {"csrf": session.csrf, "client": "198.51.100.7", "network": "198.51.100.7"}
                assert (await client.post(f"{PAGE}/{act}", data=form)).status_code == 403
    async with site.client() as stranger:
        assert (await stranger.get(PAGE)).headers["location"].startswith("/sign-in")
    assert (await signed_in[0].post(f"{PAGE}/ban", data={"csrf": "wrong", "client": "198.51.100.7"})).status_code == 403
    assert (await one(system, "SELECT count(*) AS n FROM guard_ban"))["n"] == 0


async def test_the_api_does_what_the_page_does(api: httpx.AsyncClient, system: Connection):
    made = await api.post("/api/v1/guard/bans", json={"client": "2001:db8::1", "minutes": 5})
    assert (made.status_code, made.json()) == (201, {"network": "2001:db8::/64"})
    await guess(system, 2)
    listed = (await api.get("/api/v1/guard/bans")).json()["items"]
    assert [(item["client"], item["cause"]) for item in listed] == [("2001:db8::/64", "by hand")]
    failures = (await api.get("/api/v1/guard/failures")).json()["items"]
    assert (failures[0]["client"], failures[0]["failures"]) == (f"{BAD}/32", 2)
    assert (await api.delete("/api/v1/guard/bans", params={"client": "2001:db8::/64"})).status_code == 204
    assert (await api.delete("/api/v1/guard/bans", params={"client": "2001:db8::/64"})).status_code == 404
    assert (await api.post("/api/v1/guard/allowed", json={"network": "192.0.2.0/24", "note": "x"})).status_code == 201
    assert [item["network"] for item in (await api.get("/api/v1/guard/allowed")).json()["items"]] == ["192.0.2.0/24"]
    assert (await api.post("/api/v1/guard/bans", json={"client": "192.0.2.7"})).status_code == 409
    assert (await api.delete("/api/v1/guard/allowed", params={"network": "192.0.2.0/24"})).status_code == 204


async def test_a_key_of_another_workspace_bans_nobody(site: Any, system: Connection, other_workspace: int):
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        for method, path, how in (
            ("GET", "bans", {}),
            ("POST", "bans", {"json": {"client": "198.51.100.7"}}),
            ("DELETE", "bans", {"params": {"client": "198.51.100.7"}}),
            ("GET", "allowed", {}),
            ("POST", "allowed", {"json": {"network": "198.51.100.7"}}),
            ("DELETE", "allowed", {"params": {"network": "198.51.100.7"}}),
            ("GET", "failures", {}),
        ):
            answer = await client.request(method, f"/api/v1/guard/{path}", **how)
            assert answer.status_code == 403, (method, path)
    assert (await one(system, "SELECT count(*) AS n FROM guard_ban"))["n"] == 0


async def test_nobody_is_believed_about_their_address_at_the_front_door(
    browser: httpx.AsyncClient, make_account: Any, system: Connection
):
    """Neither to have another banned nor to get around a ban; what Caddy says is tested with the edge."""
    await make_account()
    csrf = csrf_of((await browser.get("/sign-in")).text)
    form = {"email": "anna@brotzeit.example", "password": "wrong", "csrf": csrf}
    spoofed = {"X-Forwarded-For": BAD, "Forwarded": f"for={BAD}", "X-Real-IP": BAD, "X-Thurn-Edge": "guess"}
    assert (await browser.post("/sign-in", data=form, headers=spoofed)).status_code == 422
    counted = await one(system, "SELECT client::text FROM guard_failure")
    assert counted["client"] == "127.0.0.1/32"


@pytest.mark.parametrize("client", ["nonsense", "0.0.0.0/0", "127.0.0.1"])
def test_the_command_refuses_what_is_no_client(clean: Settings, client: str):
    result = CliRunner().invoke(build("guard"), ["guard", "ban", client, "--state", str(clean.state)])
    assert result.exit_code == 1


def test_the_command_bans_lists_unbans_and_allows(clean: Settings):
    def run(*words: str) -> Any:
        result = CliRunner().invoke(build("guard"), ["guard", *words, "--json", "--state", str(clean.state)])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert run("ban", "198.51.100.7", "--minutes", "5", "--reason", "rude") == {"network": "198.51.100.7/32"}
    assert [ban["detail"] for ban in run("list")["bans"]] == ["rude"]
    run("unban", "198.51.100.7")
    run("allow", "192.0.2.0/24", "--note", "Office")
    found = run("list")
    assert (found["bans"], [each["network"] for each in found["allowed"]]) == ([], ["192.0.2.0/24"])
    run("allow", "192.0.2.0/24", "--remove")
    assert run("list")["allowed"] == []
