"""Pages of relays: entered, tried, put to use, removed; nobody but operators sees them."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from page_check import check

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.relays import service
from thurn.settings import Settings

RELAYS = "/house/delivery/relays"


async def test_a_relay_is_added_looked_at_changed_and_removed(
    signed_in: Any, system: Connection, clean: Settings
) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    assert "No relay" in check((await browser.get(RELAYS)).text).words()
    form = (await browser.get(f"{RELAYS}/new?preset=sendgrid")).text
    check(form)
    assert 'value="smtp.sendgrid.net"' in form
    # The other server is a closed port of this machine: the try fails with words, and the relay stays.
    values = {
        "csrf": csrf, "preset": "other", "host": "127.0.0.1", "port": "1", "security": "starttls", "username": "us",
        "password": "s3cret", "connections": "5", "rate_per_minute": "", "use": "fallback",
    }  # fmt: skip
    made = await browser.post(f"{RELAYS}/new", data=values)
    assert made.status_code == 303, made.text
    at = made.headers["location"]
    page = (await browser.get(at)).text
    assert "takes no connections at port 1" in check(page).words()
    assert "s3cret" not in page
    assert await rows(system, "SELECT 1 FROM alert") == []
    assert (await browser.post(f"{at}/try", data={"csrf": csrf})).status_code == 303
    assert len(await rows(system, "SELECT 1 FROM alert WHERE cleared_at IS NULL")) == 1, "twice: it is broken"
    assert "When our own addresses cannot send" in page
    assert "127.0.0.1" in check((await browser.get(RELAYS)).text).words()
    refused = await browser.post(at, data={**values, "host": "10.0.0.1", "password": ""})
    assert refused.status_code == 422
    assert "Enter the password again" in check(refused.text).words()
    assert (await browser.post(f"{at}/use", data={"csrf": csrf, "use": "none"})).status_code == 303
    assert (await browser.post(f"{at}/use", data={"csrf": csrf, "use": "domain", "domain": "x.x"})).status_code == 422
    assert (await browser.post(f"{at}/try", data={"csrf": csrf})).status_code == 303
    asked = check((await browser.get(f"{at}?ask=remove")).text).words()
    assert re.search("Remove 127.0.0.1", asked)
    assert (await browser.post(f"{at}/remove", data={"csrf": csrf})).status_code == 303
    assert (await browser.get(at)).status_code == 404
    assert await service.listed(system) == []


@pytest.mark.parametrize("by", ["page", "new", "api"])
async def test_no_transaction_is_open_while_the_other_server_is_waited_for(
    signed_in: Any, api: httpx.AsyncClient, system: Connection, clean: Settings, by: str
) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    connected, answer = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await answer.wait()
        writer.write(b"554 closed\r\n")
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        values = {"csrf": csrf, "host": "127.0.0.1", "port": str(server.sockets[0].getsockname()[1]), "use": "none"}
        values |= {"security": "none"}
        if by == "new":
            asked = browser.post(f"{RELAYS}/new", data=values)
        else:
            relay = service.Relay("127.0.0.1", int(values["port"]), "none")
            number = await service.add(system, relay, settings=clean, use="none", domain="")
            asked = (
                browser.post(f"{RELAYS}/{number}/try", data=values)
                if by == "page"
                else api.post(f"/api/v1/relays/{number}/try")
            )
        waiting = asyncio.create_task(asked)
        await asyncio.wait_for(connected.wait(), 60)
        others = """SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND xact_start IS NOT NULL AND backend_type = 'client backend'"""
        open_ones = await rows(system, others)
        assert not waiting.done()
        answer.set()
        assert (await waiting).status_code == (200 if by == "api" else 303)
    assert open_ones == []
    (relay_row,) = await service.listed(system)
    assert "554" in relay_row["says"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"host": "http://x"}, "Give the name of the other server"),
        ({"port": "x"}, "whole number"),
        ({"port": "99999"}, "65535"),
        ({"username": "a:b"}, "colon"),
        ({"password": ""}, "Enter the password"),
        ({"security": "none"}, "only sent over TLS"),
        ({"rate_per_minute": "-1"}, "whole number"),
        ({"connections": "1000"}, "connections at once"),
        ({"fingerprint": "x"}, "64 hexadecimal"),
        ({"use": "domain", "domain": "nobody.example"}, "domains"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_kept(
    signed_in: Any, system: Connection, wrong: dict[str, str], words: str
) -> None:
    browser, csrf = signed_in[0], signed_in[1].csrf
    values = {"csrf": csrf, "host": "127.0.0.1", "port": "1", "username": "us", "password": "s3cret"}
    answer = await browser.post(f"{RELAYS}/new", data=values | wrong)
    assert answer.status_code == 422
    assert words in check(answer.text).words()
    assert "s3cret" not in answer.text
    assert await service.listed(system) == []


async def test_strangers_see_nothing(browser: httpx.AsyncClient) -> None:
    for path in ("", "/new", "/1"):
        assert (await browser.get(f"{RELAYS}{path}")).status_code in (303, 401)
