"""Delivery and its rules as an operator uses them: page, API and command."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from page_check import check, csrf_of
from typer.testing import CliRunner

from thurn.accounts.service import create_api_key
from thurn.accounts.sessions import SignedInAs, start_session
from thurn.campaigns import guard
from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.settings import Settings
from thurn.shaping import store
from thurn.shaping.answers import Heard, add

PAGE = "/house/delivery"
BLOCK = "550 5.7.1 Blocked by the <b>postmaster</b>"
OWN = {
    "name": "small-block", "provider": "google", "outcome": "bounced", "patterns": "blocked by the", "count": "2",
    "period": "60", "share": "10", "action": "move", "minutes": "30", "why": "They block us.", "todo": "Ask them.",
    "fits": BLOCK, "differs": "550 5.7.1 Blocked by a user",
}  # fmt: skip
SignedIn = tuple[httpx.AsyncClient, SignedInAs]


async def answered(
    db: Connection, outcome: str, n: int, reply: str = "", provider: str = "google", ago: int = 30
) -> None:
    category = {"bounced": "policy-block", "deferred": "rate-limited"}.get(outcome, "")
    heard = Heard(datetime.now(UTC) - timedelta(seconds=ago), "e1", provider, "", outcome, category, reply.lower())
    await add(db, {heard: n}, {heard: reply})


async def test_an_empty_house_says_what_will_stand_there(signed_in: SignedIn):
    html = (await signed_in[0].get(PAGE)).text
    check(html)
    assert "Nothing is held back" in html
    assert "Nothing was sent within the last hour" in html


async def test_a_held_lane_shows_reason_remedy_reply_and_is_lifted(signed_in: SignedIn, system: Connection):
    client, session = signed_in
    await answered(system, "delivered", 300)
    await answered(system, "deferred", 40, "421 4.7.0 [TSS04] temporarily deferred <script>", provider="yahoo", ago=5)
    await store.step(system)
    html = (await client.get(PAGE)).text
    check(html)
    for words in (
        "Held back now",
        "Yahoo defers everything",
        "senders.yahooinc.com",
        "[TSS04]",
        "then rising",
        "60 a minute",
    ):
        assert words in html
    assert "<script>" not in html.partition('id="held"')[2]
    await system.execute(
        "INSERT INTO campaign (workspace_id, name, from_address, started_at) VALUES (1, 'x', 'a@b', now())"
    )
    home = (await client.get("/w/main")).text
    assert "Nothing goes to Yahoo and AOL from e1" in home
    assert f'href="{PAGE}">See what to do' in home
    fragment = await client.get(PAGE, headers={"HX-Request": "true"})
    assert fragment.text.lstrip().startswith("<section")
    done = await client.post(f"{PAGE}/lift", data={"csrf": session.csrf, "egress": "e1", "provider": "yahoo"})
    assert done.status_code == 303
    assert (await one(system, "SELECT state, suspended_until FROM pace")) == {
        "state": "normal",
        "suspended_until": None,
    }
    assert (await one(system, "SELECT count(*) AS n FROM alert WHERE cleared_at IS NULL"))["n"] == 0
    await store.step(system)
    assert (await one(system, "SELECT state FROM pace"))["state"] == "normal", "what was heard before counts no more"
    assert "Lifted by hand" in (await client.get(PAGE)).text


async def test_a_provider_is_held_by_hand_and_says_by_whom(signed_in: SignedIn, system: Connection):
    client, session = signed_in
    form = {"csrf": session.csrf, "egress": "e1", "provider": "apple", "minutes": "", "reason": "Moving\r\nhouse."}
    assert (await client.post(f"{PAGE}/hold", data=form)).status_code == 303
    pace = await one(system, "SELECT state, reason, until, suspended_until FROM pace")
    assert (pace["state"], pace["reason"], pace["until"]) == ("held", "Moving house.", None)
    assert pace["suspended_until"] > datetime.now(UTC) + timedelta(days=10_000)
    html = (await client.get(PAGE)).text
    check(html)
    assert "You lift it" in html
    assert "anna@brotzeit.example" in html
    assert (await one(system, "SELECT count(*) AS n FROM alert"))["n"] == 0, "whoever did it knows"


async def test_what_cannot_be_held_is_said_and_changes_nothing(signed_in: SignedIn, system: Connection):
    client, session = signed_in
    for egress, provider, reason in (
        ("nowhere", "google", ""), ("e1", "nobody", ""), ("e1", "local", ""), ("e1", "google", "x" * 501),
        ("", "\0", "\0"),
    ):  # fmt: skip
        form = {"csrf": session.csrf, "minutes": "60", "egress": egress, "provider": provider, "reason": reason}
        answer = await client.post(f"{PAGE}/hold", data=form)
        assert answer.status_code == 422
        check(answer.text)
        assert "Nothing was changed." in answer.text
    assert await rows(system, "SELECT 1 FROM pace") == []


async def test_a_rule_is_tried_then_kept_switched_off_and_removed(signed_in: SignedIn, system: Connection):
    client, session = signed_in
    await answered(system, "delivered", 40)
    await answered(system, "bounced", 12, BLOCK)
    html = (await client.get(f"{PAGE}/rules/new")).text
    check(html)
    form = {"csrf": csrf_of(html), **OWN}
    tried = await client.post(f"{PAGE}/rules/new", data={**form, "do": "try"})
    assert tried.status_code == 200
    check(tried.text)
    for words in ("23.1% of 52", "Stop at this address, others go on, 1 time", "12 × 550 5.7.1 Blocked"):
        assert words in tried.text
    assert "<b>postmaster" not in tried.text
    assert await rows(system, "SELECT 1 FROM shaping_rule") == []
    assert (await client.post(f"{PAGE}/rules/new", data=form)).status_code == 303
    assert (await client.post(f"{PAGE}/rules/new", data=form)).status_code == 409
    listed = (await client.get(f"{PAGE}/rules?open=small-block")).text
    check(listed)
    assert "your own" in listed
    assert "yahoo-complaints" in listed
    tried = await client.get(f"{PAGE}/rules/try?rule=small-block")
    check(tried.text)
    assert "23.1% of 52" in tried.text
    check((await client.get(f"{PAGE}/rules/try")).text)
    await system.execute("DELETE FROM provider_answer")
    await answered(system, "bounced", 2, BLOCK, ago=5)
    assert await store.step(system) == 1
    assert (await one(system, "SELECT rule, reason FROM pace")) == {"rule": "small-block", "reason": "They block us."}
    await client.post(f"{PAGE}/rules/switch", data={"csrf": session.csrf, "rule": "small-block", "on": ""})
    assert "small-block" not in {rule.name for rule in await store.active_rules(system)}
    await client.post(f"{PAGE}/rules/switch", data={"csrf": session.csrf, "rule": "small-block", "on": "1"})
    assert "small-block" in {rule.name for rule in await store.active_rules(system)}
    for rule in ("small-block", "small-block", "yahoo-complaints"):
        await client.post(f"{PAGE}/rules/remove", data={"csrf": session.csrf, "rule": rule})
    assert {rule.name for rule in await store.active_rules(system)} >= {"yahoo-complaints"}
    assert await rows(system, "SELECT 1 FROM shaping_rule") == []
    assert (await client.get(f"{PAGE}/rules/try?rule=small-block")).status_code == 404


FAULTS = (
    ({"differs": ""}, "looks alike and must not be caught"),
    ({"differs": BLOCK}, "fits this reply too"),
    ({"fits": "550 5.1.1 User unknown"}, "does not fit this reply"),
    ({"patterns": "(a+)+"}, "busy for hours"),
    ({"patterns": "("}, "no regular expression"),
    ({"count": "many"}, "whole number"),
    ({"period": "9999"}, "up to 1,440"),
    ({"link": "javascript:alert(1)"}, "starts with https://"),
    ({"action": "explode"}, "Choose what is to happen"),
    ({"provider": "nobody"}, "no provider nobody"),
    ({"category": "gremlins"}, "no category gremlins"),
    ({"name": "yahoo-complaints"}, "a rule of Thurn’s own"),
    ({"name": "<b>"}, "small letters"),
    ({"why": "They block us.\0", "differs": "\0"}, "looks alike and must not be caught"),
)


async def test_a_rule_with_a_fault_comes_back_with_what_was_typed(signed_in: SignedIn, system: Connection):
    client, session = signed_in
    for change, words in FAULTS:
        answer = await client.post(f"{PAGE}/rules/new", data={"csrf": session.csrf, **OWN, **change})
        assert answer.status_code in (409, 422)
        check(answer.text)
        assert words in answer.text
        assert "They block us." in answer.text
    assert await rows(system, "SELECT 1 FROM shaping_rule") == []


async def test_only_those_who_run_the_house_see_or_change_it(
    signed_in: SignedIn, site: Any, system: Connection, make_account: Any, other_workspace: int
):
    for email, role, workspace in (("e@x.example", "editor", 1), ("o@x.example", "owner", other_workspace)):
        session = await start_session(system, account=await make_account(email, role, workspace))
        async with site.client(cookies={"thurn-session": session.token}) as client:
            for path in ("", "/rules", "/rules/new", "/rules/try"):
                assert (await client.get(PAGE + path)).status_code == 403
            for path in ("/hold", "/lift", "/rules/new", "/rules/switch", "/rules/remove"):
                form = {"csrf": session.csrf, "egress": "e1", "provider": "google", "rule": "on-a-block-list", **OWN}
                assert (await client.post(PAGE + path, data=form)).status_code == 403
    _, key = await create_api_key(system, other_workspace, "theirs")
    async with site.client(headers={"Authorization": f"Bearer {key}"}) as client:
        lane = {"egress": "e1", "provider": "google"}
        for method, path, body in (
            ("GET", "", None), ("POST", "/hold", lane), ("POST", "/lift", lane), ("GET", "/deeds", None),
            ("GET", "/rules", None), ("POST", "/rules", API_RULE), ("DELETE", "/rules/x1", None),
            ("POST", "/rules/on-a-block-list/switch", {"on": False}), ("POST", "/try", {}),
        ):  # fmt: skip
            answer = await client.request(method, f"/api/v1/shaping{path}", json=body)
            assert answer.status_code == 403, (method, path)
    async with site.client() as stranger:
        assert (await stranger.get(PAGE)).headers["location"].startswith("/sign-in")
    for table in ("pace", "shaping_rule", "shaping_rule_off", "shaping_deed"):
        assert (await one(system, f"SELECT count(*) AS n FROM {table}"))["n"] == 0  # type: ignore[arg-type]  # noqa: S608
    wrong = await signed_in[0].post(f"{PAGE}/hold", data={"csrf": "wrong", "egress": "e1", "provider": "google"})
    assert wrong.status_code == 403


API_RULE = {
    "name": "small-block", "action": "move", "any": ["blocked by the"], "provider": ["google"], "count": 2,
    "matches": BLOCK, "differs": "550 5.7.1 Blocked by a user",
}  # fmt: skip


async def test_the_api_does_what_the_pages_do(api: httpx.AsyncClient, system: Connection):
    at = "/api/v1/shaping"
    await answered(system, "delivered", 10)
    await answered(system, "bounced", 12, BLOCK)
    (lane,) = (await api.get(at)).json()["items"]
    assert (lane["provider"], lane["state"], lane["delivered"], lane["bounced"]) == ("google", "normal", 10, 12)
    assert (await api.post(f"{at}/hold", json={"egress": "e1", "provider": "google", "minutes": 5})).status_code == 204
    (lane,) = (await api.get(at)).json()["items"]
    assert (lane["state"], lane["rule"]) == ("suspended", "by hand")
    assert (await api.post(f"{at}/lift", json={"egress": "e1", "provider": "google"})).status_code == 204
    assert (await api.post(f"{at}/lift", json={"egress": "e1", "provider": "google"})).status_code == 409
    assert (await api.post(f"{at}/hold", json={"egress": "e9", "provider": "google"})).status_code == 404
    first = (await api.get(f"{at}/deeds", params={"limit": 1})).json()
    second = (await api.get(f"{at}/deeds", params={"limit": 1, "cursor": first["next"]})).json()
    assert [page["items"][0]["action"] for page in (first, second)] == ["lift", "hold"]
    assert second["next"] is None
    (tried,) = (await api.post(f"{at}/try", json={"rule": API_RULE})).json()["items"]
    assert (tried["fitted"], tried["of"], tried["deeds"][0]["action"]) == (12, 22, "move")
    assert tried["replies"] == [{"reply": BLOCK, "n": 12}]
    made = await api.post(f"{at}/rules", json=API_RULE)
    assert (made.status_code, made.json()["own"], made.json()["on"]) == (201, True, True)
    assert (await api.post(f"{at}/rules", json={**API_RULE, "differs": BLOCK})).status_code == 422
    assert (await api.post(f"{at}/rules/small-block/switch", json={"on": False})).status_code == 204
    assert [r["on"] for r in (await api.get(f"{at}/rules")).json()["items"] if r["name"] == "small-block"] == [False]
    assert len((await api.post(f"{at}/try", json={"name": "small-block"})).json()["items"]) == 1
    assert (await api.post(f"{at}/try", json={"name": "nope"})).status_code == 404
    assert (await api.delete(f"{at}/rules/small-block")).status_code == 204
    assert (await api.delete(f"{at}/rules/small-block")).status_code == 404
    assert (await api.delete(f"{at}/rules/yahoo-complaints")).status_code == 409


def test_the_commands_do_too(clean: Settings, tmp_path: Path):
    def run(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(build("shaping"), ["shaping", *words, "--json", "--state", str(clean.state)])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else result.stderr

    assert run("status") == {"lanes": []}
    run("hold", "e1", "google", "--minutes", "5", "--reason", "Moving.")
    (lane,) = run("status")["lanes"]
    assert (lane["state"], lane["reason"]) == ("suspended", "Moving.")
    run("lift", "e1", "google")
    assert "Nothing holds Gmail back" in run("lift", "e1", "google", code=1)
    assert "There is no provider" in run("hold", "e1", "nobody", code=1)
    file = tmp_path / "rule.toml"
    rule = "\n".join(f"{key} = {json.dumps(value)}" for key, value in API_RULE.items())
    file.write_text(f"[[rule]]\n{rule}\n")
    assert run("try", "--file", str(file)) == {"tried": []}
    assert run("rules", "add", str(file)) == {"name": "small-block"}
    run("rules", "switch", "small-block", "--off")
    assert [r["on"] for r in run("rules", "list")["rules"] if r["own"]] == [False]
    run("rules", "remove", "small-block")
    assert run("try") == {"tried": []}
    for text in ("= (", "x = 1", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        assert "rule.toml" in run("rules", "add", str(file), code=1)
    assert "cannot be read" in run("rules", "add", str(tmp_path / "none"), code=1)


async def test_an_operator_sets_the_guard_and_an_owner_goes_on_only_after_being_asked(
    signed_in: SignedIn, api: httpx.AsyncClient, system: Connection, clean: Settings
):
    client, session = signed_in
    row = await one(
        system,
        """INSERT INTO campaign (workspace_id, name, from_address, state, started_at, recipients)
           VALUES (1, 'Sale', 'a@b.example', 'sending', now(), 5000) RETURNING id""",
    )
    await system.execute(
        """INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
           VALUES (1, %(id)s, 'google', 'bounced_hard', 100), (1, %(id)s, 'google', 'delivered', 900)""",
        row,
    )
    await guard.step(system)
    at = f"/w/main/campaigns/{row['id']}"
    html = (await client.get(f"{at}/progress")).text
    check(html)
    for words in (
        "Paused by guard",
        "The guard has paused it.",
        "100 of 1,000 mails bounced hard",
        "Go on all the same…",
    ):
        assert words in html
    home = (await client.get("/w/main")).text
    assert home.count("“Sale”") == 1, "once, not as an alert and as a paused campaign"
    form = {"csrf": session.csrf}
    assert (await client.post(f"{at}/resume", data=form)).status_code == 409
    assert (await api.post(f"/api/v1/campaigns/{row['id']}/resume")).status_code == 409
    assert (await client.post(f"{at}/resume", data={**form, "despite_guard": "1"})).status_code == 303
    assert (await one(system, "SELECT state FROM campaign"))["state"] == "launching"
    page = (await client.get(f"{PAGE}/guard")).text
    check(page)
    limits = {
        "workspace": "main", "enabled": "1", "bounce_warn": "3", "bounce_pause": "8,5", "complaint_warn": "0.1",
        "complaint_pause": "0.3%", "least_mails": "50", "least_complaints": "4",
    }  # fmt: skip
    assert (await client.post(f"{PAGE}/guard/set", data={**form, **limits})).status_code == 303
    (shown,) = (await api.get("/api/v1/sending-guard")).json()["items"]
    assert (shown["bounce_pause"], shown["complaint_pause"], shown["least_mails"]) == (0.085, 0.003, 50)
    for field, value in (("bounce_warn", "9"), ("bounce_pause", "nan"), ("least_mails", "x"), ("complaint_warn", "0")):
        answer = await client.post(f"{PAGE}/guard/set", data={**form, **limits, field: value})
        assert answer.status_code == 422
        check(answer.text)
    assert (await client.post(f"{PAGE}/guard/set", data={**form, **limits, "workspace": "no"})).status_code == 404
    await system.execute("UPDATE sending_guard SET paused_at = now(), paused_why = 'Two <b>campaigns</b>.'")
    page = (await client.get(f"{PAGE}/guard?ask=lift-1")).text
    check(page)
    assert "Two &lt;b&gt;campaigns" in page
    assert (await client.post(f"{PAGE}/guard/lift", data={**form, "workspace": "main"})).status_code == 303
    assert (await api.put("/api/v1/sending-guard/main", json={"bounce_pause": 0.2})).json()["bounce_pause"] == 0.2
    assert (await api.put("/api/v1/sending-guard/main", json={"bounce_pause": 0.01})).status_code == 422
    assert (await api.post("/api/v1/sending-guard/main/lift")).status_code == 204
    assert (await api.post("/api/v1/sending-guard/nobody/lift")).status_code == 404


def test_the_guard_has_commands(clean: Settings):
    def run(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(
            build("shaping"), ["shaping", "guard", *words, "--json", "--state", str(clean.state)]
        )
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else result.stderr

    run("set", "main", "--bounce-pause", "7", "--no-watch")
    (shown,) = run("list")["guards"]
    assert (shown["bounce_pause"], shown["bounce_warn"], shown["enabled"]) == (0.07, 0.02, False)
    assert "must not be above" in run("set", "main", "--bounce-warn", "50", code=1)
    assert "There is no workspace" in run("lift", "nobody", code=1)
    run("lift", "main")
