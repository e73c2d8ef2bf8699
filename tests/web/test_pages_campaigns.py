"""Pages of campaigns: empty, full, wrong, and while mail is being sent."""

from collections.abc import AsyncGenerator

import httpx
import made_up
import psycopg
import pytest
from page_check import check
from starlette.requests import Request

from thurn.accounts.sessions import SignedInAs, start_session
from thurn.campaigns import live
from thurn.db.connect import Connection
from thurn.web.app import Application
from thurn.web.edge import Viewer

Signed = tuple[httpx.AsyncClient, SignedInAs]
HERE = "/w/main/campaigns"
HOSTILE = '"><script>alert(1)</script>{{ 7*7 }}'


def draft(session: SignedInAs, **fields: object) -> dict[str, object]:
    """A filled form."""
    return {
        "csrf": session.csrf,
        "name": "Second Advent",
        "from_name": "Brotzeit",
        "from_address": "news@brotzeit.example",
        **fields,
    }


async def test_without_campaigns_the_list_says_what_they_are_for(signed_in: Signed):
    client, _ = signed_in
    page = check((await client.get(HERE)).text)
    assert "Send your first campaign" in page.words()
    assert len([a for a in page.all("a") if "btn-primary" in a.get("class", "")]) == 1


async def test_the_list_shows_every_state_and_each_tab_its_own(signed_in: Signed, system: Connection):
    client, _ = signed_in
    await made_up.bakery(system)
    words = check((await client.get(HERE)).text).words()
    for text in (
        "Sending 75.4% answered",
        "Draft Made today",
        "Paused 6.2% bounced",
        "98.4% 31.9% 5.5%",
        "7 of 7, newest first",
    ):
        assert text in words
    tab = check((await client.get(HERE, params={"state": "paused"})).text).words()
    assert "Café regulars: breakfast on us" in tab
    assert "Pumpkin bread is back" not in tab
    empty = await client.get(HERE, params={"state": "nonsense"})
    assert "7 of 7" in check(empty.text).words()


async def test_the_list_pages_by_keyset_forth_and_back(signed_in: Signed, system: Connection):
    client, _ = signed_in
    for number in range(1, 61):
        await made_up.campaign(system, name=f"Campaign {number:02}")
    first = check((await client.get(HERE)).text)
    assert "Campaign 60" in first.words()
    assert "Campaign 35" not in first.words()
    older = [a["href"] for a in first.all("a") if "before=" in a.get("href", "")]
    second = check((await client.get(older[0])).text)
    assert "Campaign 35" in second.words()
    third = check((await client.get(f"{HERE}?before=11")).text)
    assert "Campaign 10" in third.words()
    links = [a["href"] for a in third.all("a") if "before=" in a.get("href", "")]
    assert links == [f"{HERE}?before=36"]
    assert "Campaign 35" in check((await client.get(links[0])).text).words()
    back = [a["href"] for a in second.all("a") if a["href"].startswith(HERE) and "Newer" in second.words()]
    assert HERE in back


async def test_a_form_without_template_list_or_domain_says_how_to_get_them(signed_in: Signed):
    client, _ = signed_in
    words = check((await client.get(f"{HERE}/new")).text).words()
    assert "Write a template first" in words
    assert "Import contacts" in words
    assert "No domain is set up for sending yet." in words


async def test_a_form_offers_what_is_likely(signed_in: Signed, system: Connection):
    client, _ = signed_in
    await made_up.domain(system)
    await made_up.people(system)
    await made_up.template(system)
    page = check((await client.get(f"{HERE}/new")).text)
    values = {a["name"]: a.get("value") for a in page.all("input") if "name" in a}
    assert values["from_address"] == "news@brotzeit.example"
    assert [a for a in page.all("input") if a.get("name") == "list_ids" and "checked" in a]
    assert [a for a in page.all("option") if "selected" in a]
    assert "20 people" in page.words()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": " "}, "Give the campaign a name."),
        ({"from_address": ""}, "Give an address at one of your domains"),
        ({"from_address": "news@brotzeit"}, "The part after @ needs a dot"),
        ({"from_address": "news brotzeit.example"}, "without spaces"),
        ({"reply_to": "@"}, "without spaces"),
        ({"name": "x" * 201}, "At most 200 characters."),
    ],
)
async def test_a_wrong_form_comes_back_with_what_was_typed_and_why(signed_in: Signed, fields, says):
    client, session = signed_in
    answer = await client.post(f"{HERE}/new", data=draft(session, from_name=HOSTILE, **fields))
    assert answer.status_code == 422
    page = check(answer.text)
    assert says in page.words()
    assert "<script>alert" not in answer.text
    assert HOSTILE in [a.get("value") for a in page.all("input")]
    wrong = [a for a in page.all("input") if a.get("aria-invalid") == "true"]
    assert len(wrong) == 1
    assert wrong[0]["name"] == next(iter(fields))


async def test_a_draft_is_kept_checked_and_sent_with_one_more_question(signed_in: Signed, system: Connection):
    client, session = signed_in
    await made_up.domain(system)
    newsletter, mail = await made_up.people(system), await made_up.template(system)
    answer = await client.post(
        f"{HERE}/new", data=draft(session, name=HOSTILE, template_id=mail, list_ids=[newsletter])
    )
    assert answer.status_code == 303
    page = check((await client.get(answer.headers["location"])).text)
    assert "In order 3" in page.words()
    assert "Send to 20 people…" in page.words()
    assert "20 people on Newsletter will get it, each once, from news@brotzeit.example." in page.words()
    here = answer.headers["location"].removesuffix("/check")
    assert "open" not in page.all("dialog")[0]
    without_script = check((await client.get(f"{here}/check?ask=send")).text)
    assert "open" in without_script.all("dialog")[0]
    sent = await client.post(f"{here}/send", data={"csrf": session.csrf})
    assert (sent.status_code, sent.headers["location"]) == (303, f"{here}/progress")
    row = await (await system.execute("SELECT state FROM campaign")).fetchone()
    assert row == {"state": "launching"}
    again = await client.post(f"{here}/send", data={"csrf": session.csrf})
    assert again.headers["location"] == f"{here}/progress"
    for page_of_a_draft in ("check", "edit"):
        assert (await client.get(f"{here}/{page_of_a_draft}")).headers["location"] == f"{here}/progress"
    assert (await client.post(f"{here}/edit", data=draft(session))).status_code == 409
    check((await client.get(f"{here}/progress")).text)


async def test_a_refused_launch_shows_each_finding_with_its_fix_and_sends_nothing(
    signed_in: Signed, system: Connection
):
    client, session = signed_in
    await made_up.domain(system, verified=False)
    mail = await made_up.template(system, source="<p>No way to leave</p>", kind="html")
    id_ = await made_up.campaign(system, template_id=mail)
    page = check((await client.get(f"{HERE}/{id_}/check")).text)
    blocked = [a for a in page.all("button") if a.get("aria-disabled") == "true"]
    assert blocked[0]["aria-describedby"] == "why-not"
    assert "3 things are left to fix." in page.words()
    assert not [a for a in page.all("dialog") if a["id"] == "send"]
    answer = await client.post(f"{HERE}/{id_}/send", data={"csrf": session.csrf})
    assert answer.status_code == 422
    page = check(answer.text)
    for text in ("Nothing was sent.", "are not in place yet", "no unsubscribe link", "goes to nobody"):
        assert text in page.words()
    links = {a["href"] for a in page.all("a")}
    assert {"/w/main/domains/brotzeit.example", f"/w/main/templates/{mail}", f"{HERE}/{id_}/edit"} <= links
    row = await (await system.execute("SELECT state FROM campaign")).fetchone()
    assert row == {"state": "draft"}


async def test_changing_a_draft_keeps_what_was_typed(signed_in: Signed, system: Connection):
    client, session = signed_in
    newsletter, mail = await made_up.people(system), await made_up.template(system)
    id_ = await made_up.campaign(system, template_id=mail, lists=[newsletter])
    page = check((await client.get(f"{HERE}/{id_}/edit")).text)
    assert [a for a in page.all("input") if a.get("name") == "list_ids" and "checked" in a]
    await client.post(f"{HERE}/{id_}/edit", data=draft(session, name="Third Advent"))
    page = check((await client.get(f"{HERE}/{id_}/edit")).text)
    assert "Third Advent" in [a.get("value") for a in page.all("input")]
    assert "0 people" in page.words()


async def test_the_reach_counts_each_person_once_and_leaves_out_who_left(signed_in: Signed, system: Connection):
    client, _ = signed_in
    one, two = await made_up.people(system, n=20), await made_up.people(system, name="Regulars", n=10, start=15)
    await system.execute(
        "UPDATE contact SET unsubscribed_at = now() WHERE email IN ('reader0@mail.example', 'reader1@mail.example')"
    )
    await system.execute(
        """INSERT INTO suppression (workspace_id, address, reason)
           VALUES (1, 'reader2@mail.example', 'bounce'), (1, 'reader0@mail.example', 'bounce')"""
    )
    answer = await client.get(f"{HERE}/reach", params={"list_ids": [one, two]}, headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    words = " ".join(answer.text.replace("<", " <").split())
    for text in ("22", "+ 5", "− 2", "− 1", "5 counted already"):
        assert text in words
    assert "22" not in (await client.get(f"{HERE}/reach", params={"list_ids": ["", "999999999", "x", "1e9"]})).text


async def test_progress_shows_every_part_and_every_reason_in_words(signed_in: Signed, system: Connection):
    client, _ = signed_in
    ids = await made_up.bakery(system)
    page = check((await client.get(f"{HERE}/{ids['sending']}/progress")).text)
    words = page.words()
    for text in (
        "29,179 of 38,696",
        "Gmail",
        "GMX and WEB.DE",
        "Why 1,162 mails are retried",
        "The provider asks to slow down",
        made_up.REPLY,
    ):
        assert text in words
    assert words.index("Yahoo") < words.index("All others")
    live_part = [attrs for _, attrs, _ in page.elements if "hx-sse:connect" in attrs]
    assert live_part[0]["hx-sse:connect"] == f"{HERE}/{ids['sending']}/events"
    assert "9,517 people will not get" in words
    bars = [a["aria-label"] for a in page.all("svg") if a.get("class") == "bar"]
    assert "27,654 delivered, 1,162 retrying, 363 bounced, 9,517 waiting" in bars


@pytest.mark.parametrize("state", ["launching", "sending", "paused", "cancelled", "sent"])
async def test_a_campaign_of_which_nothing_is_known_yet_has_all_its_pages(signed_in: Signed, system: Connection, state):
    client, _ = signed_in
    id_ = await made_up.campaign(system, state=state)
    for name in ("progress", "report", "mail"):
        check((await client.get(f"{HERE}/{id_}/{name}")).text)
    there = (await client.get(f"{HERE}/{id_}")).headers["location"]
    assert there == f"{HERE}/{id_}/{'report' if state == 'sent' else 'progress'}"


async def test_pause_resume_and_cancel_do_what_they_say_and_refuse_what_is_over(signed_in: Signed, system: Connection):
    client, session = signed_in
    id_ = await made_up.campaign(system, state="sending", recipients=10)

    async def act(what: str) -> tuple[int, str]:
        answer = await client.post(f"{HERE}/{id_}/{what}", data={"csrf": session.csrf})
        row = await (await system.execute("SELECT state FROM campaign WHERE id = %s", [id_])).fetchone()
        assert row is not None
        return answer.status_code, row["state"]

    assert await act("pause") == (303, "paused")
    page = check((await client.get(f"{HERE}/{id_}/progress")).text)
    assert "Sending is paused." in page.words()
    assert await act("resume") == (303, "launching")
    assert await act("cancel") == (303, "cancelled")
    assert await act("pause") == (409, "cancelled")
    page = check((await client.get(f"{HERE}/{id_}/progress")).text)
    assert not [a for _, a, _ in page.elements if "hx-sse:connect" in a], "nothing to wait for any more"


async def test_the_report_keeps_machines_apart_from_people(signed_in: Signed, system: Connection):
    client, _ = signed_in
    ids = await made_up.bakery(system)
    page = check((await client.get(f"{HERE}/{ids['sent']}/report")).text)
    words = page.words()
    for text in (
        "Opened by people, estimate", "12,147 31.9%", "25.6% more only by machines", "688 scanners more",
        "Only machines 9,754",
        "Address does not exist", "550 5.1.1 No such user here", "Kept, tried next time", "cannot be told",
        "brotzeit.example/pumpkin",
    ):  # fmt: skip
        assert text in words, text
    hatched = [a for a in page.all("rect") if a.get("fill") == "url(#h-machine)"]
    assert len(hatched) == 3, "opens, clicks and the legend"


async def test_a_mail_is_shown_in_a_frame_that_can_do_nothing(signed_in: Signed, system: Connection):
    client, _ = signed_in
    await made_up.people(system)
    id_ = await made_up.campaign(system, state="sent", lists=[1])
    frame = check((await client.get(f"{HERE}/{id_}/mail")).text).all("iframe")[0]
    answer = await client.get(frame["src"])
    assert "Hello Theresa" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    broken = await made_up.template(system, name="Broken", source="{% if %}")
    draft_id = await made_up.campaign(system, template_id=broken)
    assert "The mail cannot be shown" in (await client.get(f"{HERE}/{draft_id}/mail/preview")).text


def looking(app: Application, campaign: int) -> AsyncGenerator[str, None]:
    """The stream of a campaign's events, as the owner of workspace `main` gets it."""
    scope = {"type": "http", "method": "GET", "path": f"{HERE}/{campaign}/events", "headers": [], "query_string": b""}
    viewer = Viewer(1, "anna@brotzeit.example", "Anna", 1, "main", "Main", "owner", "token")
    return live.stream(Request({**scope, "server": ("thurn.test", 80), "app": app}), viewer, campaign)


async def test_events_bring_what_changed_and_end_with_the_campaign(
    site, system: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live, "TICK", 0.01)
    half = {"google": made_up.provider(1000, 0.5)}
    id_ = await made_up.campaign(system, state="sending", recipients=1000, tallies=half)
    stream = looking(site.app, id_)
    first = await anext(stream)
    assert ">500<" in first
    assert "Cancel for 500 people" in first, "the dialog's counts come along"
    await system.execute("UPDATE campaign_tally SET n = 777 WHERE measure IN ('delivered', 'handed_over')")
    second = await anext(stream)
    assert ">777<" in second
    assert "Cancel for 223 people" in second
    assert await anext(stream) == second, "a sign of life although nothing has changed"
    await system.execute("UPDATE campaign SET state = 'sent', finished_at = now()")
    rest = [message async for message in stream]
    assert [message.startswith("event: done") for message in rest] == [False, True]


async def test_a_database_that_is_away_for_a_moment_does_not_end_the_stream(
    site, system: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live, "TICK", 0.01)
    stream = looking(site.app, await made_up.campaign(system, state="sending", recipients=5))
    broken, view = [True], live.view

    async def sometimes(db: Connection, campaign: int) -> dict[str, object]:
        if broken.pop() if broken else False:
            raise psycopg.OperationalError("the server closed the connection")
        return await view(db, campaign)

    monkeypatch.setattr(live, "view", sometimes)
    assert (await anext(stream)).startswith(":"), "a comment: nothing is swapped, the page says when it was right"
    assert (await anext(stream)).startswith("data: ")
    await stream.aclose()


async def test_a_stream_ends_when_the_server_is_about_to_stop(
    site, system: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live, "TICK", 0.01)
    stream = looking(site.app, await made_up.campaign(system, state="sending", recipients=5))
    await anext(stream)
    site.app.state.stopping = True
    assert [message async for message in stream] == []


async def test_the_events_of_a_campaign_that_is_over_say_so_at_once(signed_in: Signed, system: Connection):
    client, _ = signed_in
    id_ = await made_up.campaign(system, state="sent", recipients=5)
    answer = await client.get(f"{HERE}/{id_}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = answer.text.strip().split("\n\n")
    assert all(line.startswith(("data: ", "event: ")) for message in messages for line in message.splitlines())
    assert [message.startswith("event: done") for message in messages] == [False, True]


def test_a_line_break_in_an_event_starts_a_new_data_line():
    assert live.event("a\n\nb\r\nc") == "data: a\ndata: b\ndata: c\n\n"


@pytest.mark.parametrize("name", ["", "/check", "/edit", "/progress", "/report", "/mail", "/mail/preview", "/events"])
async def test_a_campaign_of_another_workspace_is_not_there(
    signed_in: Signed, system: Connection, other_workspace: int, name
):
    client, _ = signed_in
    theirs = await made_up.campaign(system, state="sent", workspace=other_workspace)
    for id_ in (theirs, 999999, 2**64):
        answer = await client.get(f"{HERE}/{id_}{name}")
        assert answer.status_code == 404, id_
        check(answer.text)
    assert (await client.get(f"/w/other/campaigns/{theirs}{name}")).status_code == 404


@pytest.mark.parametrize("what", ["send", "pause", "resume", "cancel", "edit"])
async def test_nobody_changes_a_campaign_of_another_workspace(
    signed_in: Signed, system: Connection, other_workspace: int, what
):
    client, session = signed_in
    theirs = await made_up.campaign(system, state="sending", workspace=other_workspace)
    assert (await client.post(f"{HERE}/{theirs}/{what}", data=draft(session))).status_code == 404
    row = await (await system.execute("SELECT state, name FROM campaign")).fetchone()
    assert row == {"state": "sending", "name": "Stollen is out of the oven"}


async def test_who_may_only_look_cannot_send(site, system: Connection, make_account):
    session = await start_session(system, account=await make_account(email="guest@brotzeit.example", role="viewer"))
    id_ = await made_up.campaign(system, state="sending")
    async with site.client(cookies={"thurn-session": session.token}) as client:
        check((await client.get(f"{HERE}/{id_}/progress")).text)
        assert (await client.post(f"{HERE}/{id_}/pause", data={"csrf": session.csrf})).status_code == 403
