"""Sending addresses, pools, rules and providers: pages, API and commands, with what nobody should enter."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from page_check import check, csrf_of
from typer.testing import CliRunner, Result

from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import start_session
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.relays import service as relays
from thurn.settings import Settings

PAGE = "/house/delivery"
EVIL = '"><i>x</i>'


async def words(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(f"{PAGE}{path}")
    assert answer.status_code == 200
    return check(answer.text).words()


async def test_an_operator_adds_an_address_sees_what_is_wrong_and_takes_it_out(
    signed_in: Any, post: Callable[..., Any], system: Connection
) -> None:
    client, _ = signed_in
    assert "the address the system chooses" in await words(client, "/addresses")
    made = await post("/addresses", name="out2", bind4="127.0.0.2", helo="OUT2.brotzeit.example.", pool="default")
    assert (made.status_code, made.headers["location"]) == (303, f"{PAGE}/addresses")
    shown = await words(client, "/addresses")
    for part in ("out2", "127.0.0.2", "out2.brotzeit.example", "This server has the address 127.0.0.2"):
        assert part in shown, part
    assert (await post("/addresses/out2/helo", helo="other.brotzeit.example")).status_code == 303
    assert (await post("/addresses/out2/use", on="")).status_code == 303
    assert "Disabled" in await words(client, "/addresses")
    refused = await post("/addresses/e1/use", on="")
    assert refused.status_code == 409
    assert "only sending address in use" in check(refused.text).words()
    assert (await post("/addresses/out2/use", on="1")).status_code == 303
    assert (await post("/addresses/out2/remove")).status_code == 303
    assert "Leaving" in await words(client, "/addresses")
    assert "goes when nothing of it is on its way" in await words(client, "/addresses?ask=remove-out2")
    assert (await post("/addresses/out2/remove", now="1")).status_code == 303
    assert (await post("/addresses/out2/remove", now="1")).status_code == 303, "a second click"
    assert (await one(system, "SELECT count(*) AS n FROM egress"))["n"] == 1


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"name": "Toolongname", "bind4": "127.0.0.2"}, "name"),
    ({"name": "a.b", "bind4": "127.0.0.2"}, "name"),
    ({"name": "2x", "bind4": "127.0.0.2"}, "name"),
    ({"name": EVIL, "bind4": EVIL}, "name"),
    ({"name": "x"}, "bind4"),
    ({"name": "x", "bind4": "127.0.0.2\nsmtp_helo_name = evil"}, "bind4"),
    ({"name": "x", "bind4": "127.0.0.256"}, "bind4"),
    ({"name": "x", "bind4": "0.0.0.0"}, "bind4"),  # noqa: S104 - refused, not bound
    ({"name": "x", "bind4": "224.0.0.1"}, "bind4"),
    ({"name": "x", "bind4": "::1"}, "bind4"),
    ({"name": "x", "bind6": "127.0.0.2"}, "bind6"),
    ({"name": "x", "bind6": "fe80::1%eth0"}, "bind6"),
    ({"name": "x", "bind6": "::ffff:192.0.2.1"}, "bind6"),
    ({"name": "x", "bind4": "127.0.0.2", "helo": "no dot}"}, "helo"),
    ({"name": "x", "bind4": "127.0.0.2", "helo": "a.example}\n -o x=y"}, "helo"),
    ({"name": "x", "bind4": "127.0.0.2", "helo": "localhost"}, "helo"),
    ({"name": "x", "bind4": "127.0.0.2", "pool": "nosuch"}, "pool"),
    ({"name": "e1", "bind4": "127.0.0.2"}, "name"),
]


async def test_what_cannot_be_is_refused_beside_its_field(
    post: Callable[..., Any], api: httpx.AsyncClient, system: Connection
) -> None:
    for values, field in REFUSED:
        refused = await post("/addresses", **values)
        assert refused.status_code == 422, values
        assert f'id="{field}-error"' in refused.text, values
        assert EVIL not in refused.text
        assert (await api.post("/api/v1/egresses", json=values)).status_code in (409, 422), values
        assert (await one(system, "SELECT count(*) AS n FROM egress"))["n"] == 1, values


async def test_an_address_belongs_to_one_and_the_last_of_a_pool_stays(api: httpx.AsyncClient) -> None:
    first = await api.post("/api/v1/egresses", json={"name": "a", "bind4": "127.0.0.2", "bind6": "::1"})
    assert (first.status_code, first.json()["state"], first.json()["pools"]) == (201, "on", [])
    again = await api.post("/api/v1/egresses", json={"name": "b", "bind6": "0:0::1"})
    assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "bind6")
    assert (await api.post("/api/v1/pools", json={"name": "fine"})).status_code == 201
    assert (await api.post("/api/v1/pool-rules", json={"stream": "people", "pool": "fine"})).status_code == 422, "empty"
    put = await api.put("/api/v1/pools/fine/egresses/a", json={"weight": 30})
    assert put.json()["members"] == [{"name": "a", "weight": 30, "rank": 2, "node": "main", "relay": ""}]
    rule = await api.post("/api/v1/pool-rules", json={"stream": "people", "pool": "fine"})
    assert rule.status_code == 201
    for path in ("/egresses/a", "/pools/fine", "/pools/fine/egresses/a", "/pools/default"):
        assert (await api.delete(f"/api/v1{path}")).status_code == 409, path
    assert (await api.patch("/api/v1/egresses/a", json={"enabled": False})).status_code == 409
    assert (await api.delete(f"/api/v1/pool-rules/{rule.json()['id']}")).status_code == 204
    assert (await api.delete("/api/v1/pools/fine/egresses/a")).status_code == 204
    changed = await api.patch("/api/v1/egresses/a", json={"bind4": "", "helo": "a.brotzeit.example"})
    assert (changed.json()["bind4"], changed.json()["helo"]) == ("", "a.brotzeit.example")
    assert (await api.delete("/api/v1/egresses/a")).status_code == 204
    assert (await api.get("/api/v1/egresses/a")).json()["state"] == "leaving"
    assert (await api.patch("/api/v1/egresses/a", json={"enabled": True})).json()["state"] == "on"


async def test_rules_are_set_replaced_and_dropped(
    signed_in: Any, post: Callable[..., Any], system: Connection, other_workspace: int
) -> None:
    client, _ = signed_in
    assert "all campaigns use the pool" in await words(client, "/pools")
    await post("/pools", name="fine")
    await post("/pools/fine/members", member="e1", weight="50")
    for pool in ("default", "fine"):
        done = await post("/rules", stream="marketing", workspace="other", pool=pool)
        assert done.status_code == 303
    assert (await one(system, "SELECT count(*) AS n FROM pool_rule"))["n"] == 1
    shown = await words(client, "/pools")
    assert "workspace other" in shown
    for given in (
        {"stream": "people", "workspace": "other", "pool": "fine"},
        {"stream": "spam", "pool": "fine"},
        {"stream": "marketing", "pool": EVIL},
        {"stream": "marketing", "pool": "fine", "campaign": "99999"},
        {"stream": "marketing", "pool": "fine", "campaign": "1; DROP"},
        {"stream": "marketing", "pool": "fine", "workspace": "nosuch"},
        {"stream": "marketing", "pool": "default", "workspace": "other", "campaign": "1"},
    ):
        refused = await post("/rules", **given)
        assert refused.status_code in (303, 422), given
        assert EVIL not in refused.text
    assert (await one(system, "SELECT count(*) AS n FROM pool_rule"))["n"] == 1
    assert (await post("/pools/fine/members", member="e1", weight="0")).status_code == 422
    assert (await post("/pools/fine/members/e1/drop")).status_code == 409
    number = (await one(system, "SELECT id FROM pool_rule"))["id"]
    for _ in range(2):
        assert (await post(f"/rules/{number}/drop")).status_code == 303
    assert (await post("/pools/fine/members/e1/drop")).status_code == 303
    assert (await post("/pools/fine/remove")).status_code == 303
    assert "fine" not in await words(client, "/pools")


async def test_limits_are_set_for_all_or_one_and_dropped(
    signed_in: Any, post: Callable[..., Any], system: Connection
) -> None:
    client, _ = signed_in
    shown = await words(client, "/providers")
    for part in ("Gmail", "Microsoft 365", "GMX and WEB.DE", "no limit"):
        assert part in shown, part
    assert "https://support.google.com/mail/answer/81126" in await words(client, "/providers/google")
    assert (await post("/providers/google", connections="3", rate_per_minute="600")).status_code == 303
    assert (await post("/providers/google", egress_name="e1", connections="2")).status_code == 303
    assert "You, for e1" in await words(client, "/providers/google")
    for given in ({"connections": "0"}, {"backoff": "-1"}, {"per_connection": "1e3"}, {"egress_name": "nosuch"}):
        refused = await post("/providers/google", **given)
        assert refused.status_code == 422, given
    assert (await post("/providers/google", egress_name="e1")).status_code == 303
    assert (await one(system, "SELECT count(*) AS n FROM provider_limit"))["n"] == 1
    assert (await client.get(f"{PAGE}/providers/nosuch")).status_code == 404


async def test_it_is_for_operators(site: Any, system: Connection, make_account: Any, other_workspace: int) -> None:
    account = await make_account("owner@other.example", workspace=other_workspace)
    session = await start_session(system, account=account)
    async with site.client(cookies={"thurn-session": session.token}) as client:
        for path in ("/addresses", "/pools", "/providers", "/providers/google"):
            assert (await client.get(f"{PAGE}{path}")).status_code == 403, path
        answer = await client.post(f"{PAGE}/addresses", data={"csrf": session.csrf, "name": "x", "bind4": "127.0.0.9"})
        assert answer.status_code == 403
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        for address in ("egresses", "pools", "pool-rules", "providers"):
            assert (await client.get(f"/api/v1/{address}")).status_code == 403
    assert (await one(system, "SELECT count(*) AS n FROM egress"))["n"] == 1


async def test_forms_need_their_csrf_field(signed_in: Any) -> None:
    client, _ = signed_in
    csrf_of((await client.get(f"{PAGE}/addresses")).text)
    assert (await client.post(f"{PAGE}/addresses", data={"name": "x", "bind4": "127.0.0.2"})).status_code == 403


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(build(arguments[0]), list(arguments)))


async def test_the_commands_do_what_the_pages_do(
    clean: Settings, system: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_HOSTNAME", "mail.thurn.example")
    monkeypatch.setenv("THURN_SIMULATE", "true")
    made = await run("egress", "add", "out2", "--bind4", "127.0.0.2", "--helo", "out2.thurn.example", "--json")
    assert json.loads(made.stdout)["bind4"] == "127.0.0.2", made.output
    refused = await run("egress", "add", "out3", "--bind4", "127.0.0.2")
    assert (refused.exit_code, "belongs to “out2” already" in refused.output) == (1, True)
    assert (await run("pool", "add", "fine")).exit_code == 0
    assert (await run("pool", "put", "fine", "out2", "--weight", "70")).exit_code == 0
    assert (await run("pool", "rule", "people", "fine")).exit_code == 0
    found = json.loads((await run("pool", "list", "--json")).stdout)
    assert [rule["pool"] for rule in found["rules"]] == ["fine"]
    assert "out2 (70)" in (await run("pool", "list")).stdout
    assert (await run("pool", "unrule", str(found["rules"][0]["id"]))).exit_code == 0
    assert (await run("provider", "set", "google", "--rate", "90", "--egress", "out2")).exit_code == 0
    assert "set for out2: rate_per_minute 90" in (await run("provider", "list")).stdout
    assert "127.0.0.2" in (await run("egress", "list")).stdout
    assert "off" in (await run("egress", "set", "out2", "--no-use")).stdout
    assert "goes when nothing" in (await run("egress", "remove", "out2")).stdout
    assert (await run("egress", "remove", "out2", "--now")).exit_code == 0
    assert (await run("egress", "remove", "e1")).exit_code == 1


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        (1, "comes first here: while it cannot, or main is down, mail goes by n2."),
        (2, ". Between it and n2 weights do not count: each takes what it can."),
        (3, "comes last here: it is no help while main is down."),
    ],
)
async def test_a_relay_beside_an_address_of_another_machine_is_explained_where_they_meet(
    signed_in: Any, api: httpx.AsyncClient, system: Connection, clean: Settings,
    monkeypatch: pytest.MonkeyPatch, rank: int, said: str,
) -> None:  # fmt: skip
    client, _ = signed_in
    relay = await relays.add(system, relays.Relay("smtp.relay.example"), settings=clean, use="fallback")
    await system.execute("UPDATE pool_egress SET rank = %s WHERE egress_id = %s", [rank, relay])
    assert "by the machine main only" not in await words(client, "/pools"), "one machine: nothing to say"
    for path in ("/relays", "/relays/new", f"/relays/{relay}"):
        assert "by the machine main only" not in await words(client, path)
    await system.execute(
        """INSERT INTO node (name, login, verifier, state, joined_at, seen_at, able)
           VALUES ('two', 'thurn_node_two', 'x', 'joined', now(), now(), true)"""
    )
    put = {"name": "n2", "bind4": "127.0.0.2", "pool": "default", "node": "two"}
    assert (await api.post("/api/v1/egresses", json=put)).status_code == 201
    note = (await api.get("/api/v1/pools")).json()["items"][0]["note"]
    assert note.startswith("The relay smtp.relay.example sends by the machine main only")
    assert note.endswith(said)
    shown = await words(client, "/pools")
    assert note in shown
    assert "Relay smtp.relay.example" in shown
    assert "Machine two" in shown
    for path in ("/relays", "/relays/new", f"/relays/{relay}"):
        assert "Relays send by the machine main only" in await words(client, path)
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_SIMULATE", "true")
    assert note in (await run("pool", "list")).stdout
    assert note in (await run("pool", "put", "default", "n2")).stdout
    added = await run("egress", "add", "n3", "--bind4", "127.0.0.3", "--node", "two", "--pool", "default")
    assert note.replace("n2", "n2 and n3") in added.stdout, added.output
    used = await run("relay", "use", str(relay), "fallback")
    assert "Relays send by the machine main only" in used.stdout, used.output
    for name in ("n2", "n3"):
        assert (await api.delete(f"/api/v1/pools/default/egresses/{name}")).status_code == 204
    assert (await api.get("/api/v1/pools")).json()["items"][0]["note"] == ""
