"""What administrators do about a mailbox's portal: by page, API and command."""

import asyncio
import json
from typing import Any

import httpx
from page_check import check
from test_portal_security import turn_on
from typer.testing import CliRunner

from tests.web.conftest import Owner
from thurn.accounts.sessions import SignedInAs
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.settings import Settings

PAGE = "/w/main/mailboxes/sepp@brotzeit.example/portal"
API = "/api/v1/mailboxes/sepp@brotzeit.example"


async def test_the_page_resets_two_factor_and_signs_out(
    signed_in: tuple[httpx.AsyncClient, SignedInAs], sepp: Owner, system: Connection
) -> None:
    browser, session = signed_in
    assert "Two-factor is off" in check((await browser.get(PAGE)).text).words()
    await turn_on(sepp)
    check((await browser.get(f"{PAGE}?ask=reset")).text)
    answer = await browser.post(f"{PAGE}/reset-two-factor", data={"csrf": session.csrf})
    assert answer.status_code == 303
    assert (await browser.post(f"{PAGE}/reset-two-factor", data={"csrf": session.csrf})).status_code == 409
    assert "Two-factor was turned off" in await sepp.get("/security")
    assert (await browser.post(f"{PAGE}/sign-out", data={"csrf": session.csrf})).status_code == 303
    await sepp.get(status=303)
    assert "Everybody is signed out" in check((await browser.get(f"{PAGE}?done=out")).text).words()


async def test_the_api_does_what_the_page_does(api: httpx.AsyncClient, sepp: Owner) -> None:
    assert (await api.get(f"{API}/absence")).json()["active"] is False
    away = {"active": True, "last_day": "2099-01-31", "body": "Back soon"}
    changed = (await api.put(f"{API}/absence", json=away)).json()
    assert (changed["active"], changed["last_day"], changed["in_force"]) == (True, "2099-01-31", False)
    assert (await api.put(f"{API}/absence", json={"active": True})).status_code == 422
    made = await api.post(
        f"{API}/rules", json={"field": "from", "contains": "x", "action": "folder", "argument": "A/B"}
    )
    assert made.status_code == 201
    (rule,) = made.json()["items"]
    assert rule["argument"] == "A.B"
    assert (await api.get(f"{API}/rules")).json()["items"] == [rule]
    assert (await api.delete(f"{API}/rules/{rule['id']}")).status_code == 204
    assert (await api.delete(f"{API}/rules/{rule['id']}")).status_code == 404
    assert "by an administrator" in await sepp.get("/security")
    assert len((await api.get(f"{API}/sessions")).json()["items"]) == 1
    await turn_on(sepp)
    assert (await api.get(f"{API}/two-factor")).json() == {"on": True, "recovery_codes": 10}
    assert (await api.delete(f"{API}/two-factor")).status_code == 204
    assert (await api.delete(f"{API}/two-factor")).status_code == 409
    assert (await api.delete(f"{API}/sessions")).status_code == 204
    await sepp.get(status=303)


async def test_the_command_does_too(sepp: Owner, clean: Settings, system: Connection) -> None:
    await turn_on(sepp)

    def thurn(*words: str, code: int = 0) -> Any:
        command = ["mailbox", *words, sepp.address, "--state", str(clean.state), "--json"]
        done = runner.invoke(build("mailbox"), command)
        assert done.exit_code == code, done.output
        return json.loads(done.output) if code == 0 else done.output

    runner = CliRunner()
    assert (await asyncio.to_thread(thurn, "reset-two-factor"))["two_factor"] is False
    assert "off already" in await asyncio.to_thread(thurn, "reset-two-factor", code=1)
    shown = await asyncio.to_thread(thurn, "absence", "--text", "Away", "--until", "2099-02-01")
    assert (shown["active"], shown["status"]) == (True, "On until 1 February 2099")
    assert (await asyncio.to_thread(thurn, "absence", "--off"))["status"] == "Off"
    assert (await asyncio.to_thread(thurn, "sign-out"))["ended"] == 1
    assert (await one(system, "SELECT count(*) AS n FROM mailbox_session"))["n"] == 0
