"""Machines that send: pages, API, and the door where one joins, with what nobody should say there."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from page_check import check, csrf_of

from thurn.accounts.service import create_api_key
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.db.revision import newest
from thurn.nodes import door
from thurn.nodes.token import Token
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.postgres import CERTIFICATE

PAGE = "/house/delivery/nodes"
JOINED = """
INSERT INTO node (name, login, verifier, state, joined_at, seen_at, able, hostname, roles)
VALUES ('two', 'thurn_node_two', 'x', 'joined', now(), now(), true, 'two.example', '{"out": "running"}')
"""


@pytest.fixture(autouse=True)
def nobody_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_tries", door.Tries())


@pytest.fixture
def reachable(site: Any, clean: Settings) -> Settings:
    """An installation whose database other machines reach."""
    settings = clean.model_copy(update={"database_listen": "192.0.2.1"})
    site.app.state.settings = settings
    (clean.state / CERTIFICATE).write_text("-----BEGIN CERTIFICATE-----\n")
    return settings


@pytest.fixture
async def token(reachable: Settings, signed_in: Any) -> Token:
    """One that the page has shown."""
    client, session = signed_in
    answer = await client.post(PAGE, data={"csrf": session.csrf, "name": "Two"})
    assert answer.status_code == 200
    shown = check(answer.text).words()
    assert "Type this on the new machine" in shown
    return Token(shown.partition("thurn join ")[2].split()[1])


def said(token: Token, **other: str) -> dict[str, str]:
    words = {"id": token.id, "nonce": "n" * 32, "revision": newest(), "hostname": "two.example"} | other
    return {**words, "proof": token.proof(words)}


async def test_a_machine_joins_once_and_gets_what_it_needs_sealed(
    browser: httpx.AsyncClient, system: Connection, token: Token, reachable: Settings
) -> None:
    answer = await browser.post("/nodes/join", json=said(token))
    assert answer.status_code == 200, answer.text
    found = token.unseal(answer.json()["sealed"], "n" * 32)
    keys = Secrets(reachable.state)
    assert found["derived"] == {label: keys.derive(label).hex() for label in ("verp", "tracking", "seal")}
    assert keys.ensure("master") not in json.dumps(found)
    assert found["settings"]["database_url"] == "host=192.0.2.1 port=5432 dbname=thurn"
    assert found["node"] == "two"
    row = await one(system, "SELECT * FROM node WHERE name = 'two'")
    assert (row["state"], row["login"], row["token"], row["token_id"]) == ("joined", "thurn_node_two", None, None)
    assert row["verifier"].startswith("SCRAM-SHA-256$")
    assert found["password"] not in str(row)
    again = await browser.post("/nodes/join", json=said(token))
    assert again.status_code == 403
    assert "used already" in again.json()["error"]


async def test_nobody_else_joins(browser: httpx.AsyncClient, system: Connection, token: Token) -> None:
    right = said(token)
    other = Token.fresh()
    wrong: list[Any] = [
        {**right, "proof": "0" * 64}, {**right, "proof": ""}, {**right, "hostname": "evil.example"},
        {**said(other), "id": token.id}, said(other),
    ]  # fmt: skip
    for each in wrong:
        assert (await browser.post("/nodes/join", json=each)).status_code == 403, each
    broken: list[Any] = [
        {}, [], None, 1, "x", {**right, "more": "x"}, {**right, "id": 1}, {**right, "id": ["x"]},
        {**right, "id": "\0"}, {**right, "id": "é" * 12}, {**right, "nonce": "x" * 5000}, {**right, "proof": "é"},
    ]  # fmt: skip
    for each in broken:
        assert (await browser.post("/nodes/join", json=each)).status_code == 400, each
    for raw in (b"", b"{", b"\xff\xfe", b"[" * 3000, b"x" * 100_000):
        assert (await browser.post("/nodes/join", content=raw)).status_code == 400, raw[:20]
    assert (await browser.get("/nodes/join")).status_code in (404, 405)
    older = await browser.post("/nodes/join", json=said(token, revision="0001"))
    assert older.status_code == 409
    assert "the token is still good" in older.json()["error"]
    assert (await one(system, "SELECT state FROM node"))["state"] == "invited"
    await system.execute("UPDATE node SET token_until = now() - interval '1 second'")
    assert (await browser.post("/nodes/join", json=right)).status_code == 403, "too old"


async def test_who_guesses_has_to_wait(browser: httpx.AsyncClient, token: Token) -> None:
    for _ in range(10):
        assert (await browser.post("/nodes/join", json=said(Token.fresh()))).status_code == 403
    refused = await browser.post("/nodes/join", json=said(token))
    assert refused.status_code == 429
    assert "Wait a minute" in refused.json()["error"]


def test_who_tried_is_forgotten_before_memory_is_full() -> None:
    tries = door.Tries()
    for client in range(5000):
        tries.wrong(str(client))
    assert len(tries._wrong) == 1000


async def test_a_new_token_replaces_the_old_one_until_the_machine_was_heard_of(
    browser: httpx.AsyncClient, system: Connection, token: Token, api: httpx.AsyncClient
) -> None:
    made = await api.post("/api/v1/nodes", json={"name": "two"})
    assert made.status_code == 201
    fresh = Token(made.json()["token"])
    assert (await browser.post("/nodes/join", json=said(token))).status_code == 403
    assert (await browser.post("/nodes/join", json=said(fresh))).status_code == 200
    # It wrote nothing down, and tries once more.
    assert (await api.post("/api/v1/nodes", json={"name": "two"})).status_code == 201
    await system.execute("UPDATE node SET seen_at = now()")
    refused = await api.post("/api/v1/nodes", json={"name": "two"})
    assert refused.status_code == 409


async def test_pages_and_api_say_what_keeps_a_machine_from_joining(
    signed_in: Any, api: httpx.AsyncClient, clean: Settings
) -> None:
    client, session = signed_in
    shown = check((await client.get(PAGE)).text).words()
    assert "Another machine cannot reach the database yet" in shown
    refused = await client.post(PAGE, data={"csrf": session.csrf, "name": "two"})
    assert refused.status_code == 422
    assert "Set database_listen in thurn.toml" in check(refused.text).words()
    assert (await api.post("/api/v1/nodes", json={"name": "two"})).status_code == 409


@pytest.mark.parametrize("name", ["", "2", "Two!", "x" * 32, "a_b", "main", "é", '"><i>', "a\0b"])
async def test_a_name_is_a_name(signed_in: Any, api: httpx.AsyncClient, reachable: Settings, name: str) -> None:
    client, session = signed_in
    refused = await client.post(PAGE, data={"csrf": session.csrf, "name": name})
    assert refused.status_code == 422
    check(refused.text)
    assert (await api.post("/api/v1/nodes", json={"name": name})).status_code == 422


async def test_an_operator_sees_a_machine_has_it_leave_and_gives_it_up(
    signed_in: Any, post: Any, system: Connection, make_account: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    client, _ = signed_in
    await system.execute(JOINED)
    await system.execute(
        """INSERT INTO campaign (workspace_id, name, from_address, state)
           VALUES (1, '=1+1 <i>', 'a@x.example', 'sending')"""
    )
    await system.execute("INSERT INTO sender_life (node) VALUES ('two')")
    await system.execute(
        """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, lease, attempt)
           VALUES (1, 1, 1, '=cmd@x.example', 'other', 'handed_over', 1, 1),
                  (1, 1, 2, 'b@x.example', 'other', 'leased', 1, 1)"""
    )
    assert "Active" in check((await client.get(PAGE)).text).words()
    shown = check((await client.get(f"{PAGE}/two?ask=lost")).text).words()
    assert "2 deliveries are without an end then: 1 only claimed, 1 in its Postfix" in shown
    early = await post("/two/lost", confirm="two")
    assert early.status_code == 409
    assert "may still be sending what it has" in check(early.text).words()
    assert (await post("/two/remove")).headers["location"] == f"{PAGE}/two"
    assert "Leaving" in check((await client.get(f"{PAGE}/two")).text).words()
    await system.execute("UPDATE node SET seen_at = now() - interval '1 hour' WHERE name = 'two'")
    assert "Silent" in check((await client.get(PAGE)).text).words()
    wrong = await post("/two/lost", confirm="tow")
    assert wrong.status_code == 422
    assert "Type two to confirm" in check(wrong.text).words()
    answer = await api.get("/api/v1/nodes/two/recipients")
    assert [(p["recipient"], p["was"]) for p in answer.json()["items"]] == [
        ("=cmd@x.example", "handed_over"), ("b@x.example", "leased"),
    ]  # fmt: skip
    assert (await post("/two/lost", confirm="two", again="1")).status_code == 303
    shown = check((await client.get(f"{PAGE}/two")).text).words()
    assert "Given up for lost" in shown
    table = await client.get(f"{PAGE}/two/recipients.csv")
    assert table.headers["content-type"].startswith("text/csv")
    lines = list(csv.reader(io.StringIO(table.text)))[1:]
    assert [(line[0], line[2], line[5], line[7]) for line in lines] == [
        ("'=cmd@x.example", "'=1+1 <i>", "handed_over", "no"), ("b@x.example", "'=1+1 <i>", "leased", "yes"),
    ]  # fmt: skip
    outcomes = await system.execute("SELECT delivery_id, kind, attempt FROM outcome ORDER BY delivery_id")
    assert [tuple(row.values()) for row in await outcomes.fetchall()] == [(1, "lost", 1), (2, "returned", 1)]
    assert (await post("/two/lost", confirm="two")).status_code == 409
    assert (await api.post("/api/v1/nodes/two/lost", json={"confirm": "two"})).status_code == 409
    assert (await api.delete("/api/v1/nodes/two")).status_code == 409
    assert (await client.get(f"{PAGE}/nobody")).status_code == 404
    assert (await api.get("/api/v1/nodes/two")).json()["state"] == "lost"


async def test_an_address_is_added_on_a_machine(signed_in: Any, system: Connection) -> None:
    client, _ = signed_in
    await system.execute(JOINED)
    page = await client.get("/house/delivery/addresses")
    assert "The one that has these addresses" in check(page.text).words()
    given = {"csrf": csrf_of(page.text), "name": "n2", "bind4": "127.0.0.9", "pool": "default"}
    refused = await client.post("/house/delivery/addresses", data={**given, "node": '"><i>'})
    assert refused.status_code == 422
    assert "There is no sending machine" in check(refused.text).words()
    assert (await client.post("/house/delivery/addresses", data={**given, "node": "two"})).status_code == 303
    shown = check((await client.get("/house/delivery/addresses")).text).words()
    assert "The sending machine two has the address 127.0.0.9" in shown


async def test_only_those_who_run_the_house_may_look(
    site: Any, system: Connection, other_workspace: int, make_account: Callable[..., Any]
) -> None:
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert (await client.get("/api/v1/nodes")).status_code == 403
        assert (await client.post("/api/v1/nodes/two/lost", json={"confirm": "two"})).status_code == 403
