"""Pages, API and commands of warm-up: started, looked at, changed, paused, stopped; with what nobody should enter."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from page_check import check
from typer.testing import CliRunner, Result

from thurn.accounts.sessions import start_session
from thurn.campaigns.progress import progress
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.settings import Settings
from thurn.warmup import outlook, service
from thurn.warmup.curve import preset

PAGE = "/house/delivery/warmup"
EVIL = '"><i>x</i>'


async def words(client: httpx.AsyncClient, path: str = "") -> str:
    answer = await client.get(f"{PAGE}{path}")
    assert answer.status_code == 200, answer.text
    return check(answer.text).words()


async def test_an_operator_starts_looks_changes_pauses_goes_on_and_stops(
    signed_in: Any, post: Callable[..., Any], system: Connection
) -> None:
    client, _ = signed_in
    assert "Providers do not know a new sending address" in await words(client)
    assert (await post("/start", egress="e1", overflow="wait")).status_code == 303
    shown = await words(client)
    for part in (f"warming up at {len(service.EVERY)} providers", "Gmail", "At most 50 or 100 on the first day"):
        assert part in shown, part
    one_plan = await words(client, "/e1/google")
    for part in (
        "e1 at Gmail",
        "At most 50 on the first day",
        "it waits",
        "Day 1 of 24",
        "Started",
        "anna@brotzeit.example",
    ):
        assert part in one_plan, part
    changed = await post("/e1/google/change", curve="20, 40, 80", step="2", overflow="pool")
    assert (changed.status_code, changed.headers["location"]) == (303, f"{PAGE}/e1/google")
    assert "Changed by hand: 40 today, 80 at the end." in await words(client, "/e1/google")
    assert (await one(system, "SELECT cap FROM day_cap WHERE provider = 'google' ORDER BY day LIMIT 1"))["cap"] == 40
    assert (await post("/e1/google/pause")).status_code == 303
    assert "Paused by hand. It stays at 40 a day" in await words(client, "/e1/google")
    assert (await post("/e1/resume")).status_code == 303
    assert "Goes on from 40 a day, by hand." in await words(client, "/e1/google")
    again = await post("/e1/google/resume")
    assert again.status_code == 409
    assert "It is not paused." in check(again.text).words()
    assert "has no cap at Gmail from now on" in await words(client, "/e1/google?ask=stop")
    assert (await post("/e1/google/stop")).status_code == 303
    assert "Stopped by hand: there is no cap now." in await words(client, "/e1/google")
    assert (await post("/e1/google/stop")).status_code == 409
    assert (await post("/e1/stop")).status_code == 303
    assert (await post("/e1/stop")).status_code == 303, "a second click"
    assert await rows(system, "SELECT 1 FROM day_cap") == []
    assert (await post("/start", egress="e1", curve="5 x 2 to 20")).status_code == 303, "and once more"
    assert "At most 5 on the first day, to each." in await words(client)


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"egress": "nobody"}, "There is no sending address"),
    ({"egress": EVIL}, "There is no sending address"),
    ({"egress": "e1", "curve": EVIL}, "Give whole numbers"),
    ({"egress": "e1", "curve": "100, 50"}, "never smaller"),
    ({"egress": "e1", "overflow": EVIL}, "has to `wait`"),
]


async def test_what_cannot_start_is_refused_with_words_and_nothing_is_kept(
    post: Callable[..., Any], system: Connection
) -> None:
    for given, said in REFUSED:
        refused = await post("/start", **given)
        assert refused.status_code == 422
        assert said in check(refused.text).words()
        assert "<i>x</i>" not in refused.text
    assert await rows(system, "SELECT 1 FROM warmup") == []


async def test_a_plan_is_not_changed_by_what_cannot_be(post: Callable[..., Any], system: Connection) -> None:
    await service.start(system, "e1")
    for given, said in (
        ({"curve": ""}, "Give a number of mails"), ({"curve": "5", "step": "2"}, "the days 1 to 1"),
        ({"curve": "5", "step": "x"}, "whole number"), ({"curve": "5", "overflow": "x"}, "has to `wait`"),
    ):  # fmt: skip
        refused = await post("/e1/google/change", **given)
        assert refused.status_code == 422
        assert said in check(refused.text).words()
    assert (await service.get(system, "e1", "google"))["curve"] == list(preset("google").curve)
    for path in ("/e1/google/explode", "/nobody/google/stop", "/e1/nobody/stop", "/e1/explode"):
        assert (await post(path)).status_code == 404, path


async def test_a_plan_that_cannot_be_is_not_found(signed_in: Any) -> None:
    client, _ = signed_in
    for path in ("/%00/google", "/e1/%00", "/%22%3E%3Ci%3E/x", "/e1/nobody", "/" + "x" * 3000 + "/y"):
        answer = await client.get(f"{PAGE}{path}")
        assert answer.status_code in (404, 422), path
        assert "<i>" not in answer.text


async def test_only_those_who_run_the_installation_see_and_change_it(
    site: Any, system: Connection, make_account: Any, other_workspace: int
) -> None:
    session = await start_session(system, account=await make_account("o@other.example", "owner", other_workspace))
    async with site.client(cookies={"thurn-session": session.token}) as client:
        for path in ("", "/when", "/when?n=5", "/e1/google"):
            assert (await client.get(f"{PAGE}{path}")).status_code == 403
        assert (await client.post(f"{PAGE}/start", data={"csrf": session.csrf, "egress": "e1"})).status_code == 403
    assert await rows(system, "SELECT 1 FROM warmup") == []


async def test_an_address_can_be_warmed_up_when_it_is_added(signed_in: Any, system: Connection) -> None:
    client, session = signed_in
    shown = await client.get("/house/delivery/addresses")
    assert 'name="warm_up" value="1" checked' in shown.text
    values = {"csrf": session.csrf, "name": "out2", "bind4": "127.0.0.2", "pool": "default", "warm_up": "1"}
    assert (await client.post("/house/delivery/addresses", data=values)).status_code == 303
    plans = await rows(system, "SELECT DISTINCT state FROM warmup")
    assert plans == [{"state": "running"}]
    assert "warmup?start=e1" in (await client.get("/house/delivery/addresses")).text


# ---------------------------------------------------------------- when


async def audience(system: Connection, **readers: int) -> int:
    """A list with so many members of each provider; returns its id."""
    made = await one(system, "INSERT INTO list (workspace_id, name) VALUES (1, 'Everybody') RETURNING id")
    for provider, n in readers.items():
        await system.execute(
            "INSERT INTO provider_domain (domain, provider) VALUES (%s, %s)", [f"{provider}.x", provider]
        )
        await system.execute(
            """WITH c AS (INSERT INTO contact (workspace_id, email)
                          SELECT 1, 'r' || i || '@' || %s || '.x' FROM generate_series(1, %s) i RETURNING id)
               INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT %s, id, 1 FROM c""",
            [provider, n, made["id"]],
        )
    return int(made["id"])


async def test_the_page_tells_when_an_audience_will_have_gone_out(signed_in: Any, system: Connection) -> None:
    client, _ = signed_in
    assert "For whom" in await words(client, "/when")
    warm = await words(client, "/when?n=500,000")
    assert "The last of 500,000 recipients leaves about" in warm
    assert "is assumed" in warm
    await service.start(system, "e1", curve=(50, 100, 200, 400), providers=["google"])
    number = await audience(system, google=300, yahoo=10)
    shown = await words(client, f"/when?audience={number}")
    assert "The last of 310 recipients leaves about" in shown
    for part in ("50", "150", "310", "Gmail", "Yahoo and AOL", "By the pool default"):
        assert part in shown, part
    for query, said in (
        ("n=0", "Between 1 and"), ("n=x", "whole number"), ("n=5&audience=1", "Name one thing"),
        ("audience=99", "no list 99"), ("campaign=99", "no campaign 99"), ("n=5&pool=x", "no pool"),
        ("n=-5", "whole number"), ("n=999999999", "Between 1 and"), ("n=5&pool=%22%3E%3Ci%3E", "no pool"),
    ):  # fmt: skip
        refused = await client.get(f"{PAGE}/when?{query}")
        assert refused.status_code == 422, query
        assert said in check(refused.text).words(), query


async def sending(system: Connection, **waiting: int) -> int:
    made = await one(
        system,
        """INSERT INTO campaign (workspace_id, name, from_address, state, kind, subject, source, started_at, recipients)
           VALUES (1, 'Autumn', 'a@brotzeit.example', 'sending', 'markdown', 'Hi', 'Hi', now(), %s) RETURNING id""",
        [sum(waiting.values())],
    )
    for provider, n in waiting.items():
        await system.execute(
            "INSERT INTO campaign_tally VALUES (1, %s, %s, 'recipients', %s)", [made["id"], provider, n]
        )
    return int(made["id"])


async def test_the_page_of_a_campaign_says_who_waits_for_warm_up_and_until_when(
    signed_in: Any, system: Connection
) -> None:
    client, _ = signed_in
    campaign = await sending(system, google=140, yahoo=5, other=1000)
    at = f"/w/main/campaigns/{campaign}/progress"
    assert "warm-up" not in check((await client.get(at)).text).words()
    await service.start(system, "e1", curve=(50, 100), providers=["google", "yahoo"])
    shown = check((await client.get(at)).text).words()
    assert "145 recipients wait for warm-up." in shown
    assert "Gmail and Yahoo and AOL do not know our sending address e1 yet" in shown
    assert "The last one leaves about" in shown
    state = await progress(system, campaign)
    assert state is not None
    found = await outlook.held(system, campaign, state)
    assert found is not None
    assert found.until is not None
    assert timedelta(hours=0) < found.until - datetime.now(UTC) < timedelta(hours=33)
    await system.execute("INSERT INTO egress (name, bind4) VALUES ('e2', '127.0.0.2')")
    await system.execute(
        "INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e WHERE e.name = 'e2'"
    )
    beside = check((await client.get(at)).text).words()
    assert "55 recipients wait for warm-up." in beside, (
        "a warm address carries all others, and leaves it those of today"
    )
    await system.execute("UPDATE day_cap SET sent = cap")
    assert "warm-up" not in check((await client.get(at)).text).words()


async def test_the_check_before_launch_says_that_it_will_take_days(signed_in: Any, system: Connection) -> None:
    client, _ = signed_in
    number = await audience(system, google=300, yahoo=10)
    made = await one(
        system, "INSERT INTO campaign (workspace_id, name, from_address) VALUES (1, 'A', 'a@x.example') RETURNING id"
    )
    await system.execute("INSERT INTO campaign_list VALUES (%s, %s, 1)", [made["id"], number])
    at = f"/w/main/campaigns/{made['id']}/check"
    assert "Warm-up" not in check((await client.get(at)).text).words()
    await service.start(system, "e1", curve=(50, 100, 200), providers=["google"])
    assert "so they get it over several days" in check((await client.get(at)).text).words()
    await system.execute("DELETE FROM pool_egress")
    assert "cannot be told now" in check((await client.get(at)).text).words()


# ---------------------------------------------------------------- API and commands


async def test_the_api_does_what_the_pages_do(api: httpx.AsyncClient, system: Connection) -> None:
    at = "/api/v1/warmup"
    made = await api.post(at, json={"egress": "e1", "providers": ["google", "yahoo"], "curve": [5, 10]})
    assert made.status_code == 201, made.text
    assert [(p["provider"], p["cap"], p["left"], p["step"]) for p in made.json()["items"]] == [
        ("google", 5, 5, 1), ("yahoo", 5, 5, 1),
    ]  # fmt: skip
    assert (await api.post(at, json={"egress": "e1", "providers": ["google"]})).status_code == 409
    assert (await api.post(at, json={"egress": "e1", "providers": ["x"]})).status_code == 422
    assert (await api.post(at, json={"egress": "e1", "providers": []})).status_code == 422
    assert (await api.post(at, json={"egress": "e1", "curve": [5, 4]})).status_code == 422
    changed = await api.patch(f"{at}/e1/google", json={"step": 2, "overflow": "wait"})
    assert (changed.json()["cap"], changed.json()["overflow"]) == (10, "wait")
    assert (await api.post(f"{at}/e1/google/pause")).json()["state"] == "paused"
    assert (await api.post(f"{at}/e1/google/resume")).json()["state"] == "running"
    assert (await api.post(f"{at}/e1/google/resume")).status_code == 409
    full = (await api.get(f"{at}/e1/google")).json()
    assert [deed["what"] for deed in full["deeds"]] == ["resumed", "paused", "changed", "started"]
    assert (full["days"][0]["cap"], full["days"][0]["sent"]) == (10, 0)
    when = (await api.get(f"{at}/when", params={"n": 1000})).json()
    assert (when["recipients"], when["pool"], when["shares_known"]) == (1000, "default", False)
    assert sum(day["total"] for day in when["days"]) == 1000
    assert (await api.get(f"{at}/when")).status_code == 422
    assert (await api.delete(f"{at}/e1/google")).status_code == 204
    assert (await api.delete(f"{at}/e1/google")).status_code == 409
    assert (await api.delete(f"{at}/e1/apple")).status_code == 404
    assert [p["state"] for p in (await api.get(at)).json()["items"]] == ["off", "running"]
    new = {"name": "out3", "bind4": "127.0.0.3", "warm_up": True}
    assert (await api.post("/api/v1/egresses", json=new)).status_code == 201
    found = await rows(
        system, "SELECT count(*) AS n FROM warmup w JOIN egress e ON e.id = egress_id WHERE e.name = 'out3'"
    )
    assert found[0]["n"] == len(service.EVERY)


async def test_the_commands_do_what_the_pages_do(clean: Settings, system: Connection) -> None:
    async def run(*words: str, code: int = 0) -> str:
        def call() -> Result:
            return CliRunner().invoke(build("warmup"), [*words, "--state", str(clean.state)])

        done = await asyncio.to_thread(call)
        assert done.exit_code == code, done.output
        return done.output

    assert "No address is warmed up." in await run("warmup", "list")
    assert "day   1 of 3" in await run("warmup", "start", "e1", "--provider", "google", "--curve", "5 x 2 to 20")
    assert "5 of" not in await run("warmup", "set", "e1", "google", "--day", "2")
    await run("warmup", "pause", "e1")
    assert json.loads(await run("warmup", "list", "--json"))["plans"][0]["state"] == "paused"
    await run("warmup", "resume", "e1", "google")
    shown = await run("warmup", "show", "e1", "google")
    assert "Curve: 5, 10, 20" in shown
    assert "Goes on from 10 a day, by hand." in shown
    assert "UTC" in await run("warmup", "when", "500")
    assert json.loads(await run("warmup", "when", "500", "--json"))["recipients"] == 500
    await run("warmup", "stop", "e1")
    for wrong in (
        ("stop", "e1"),
        ("start", "nobody"),
        ("start", "e1", "--curve", "x"),
        ("show", "e1", "apple"),
        ("when",),
    ):
        await run("warmup", *wrong, code=1)
