"""The front door and the home page."""

from datetime import datetime, timedelta

import httpx
import made_up
import pytest
from page_check import check, csrf_of

from tests.web.conftest import PASSWORD
from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection

Signed = tuple[httpx.AsyncClient, SignedInAs]


async def test_a_stranger_is_led_to_the_front_door_and_back_to_the_page_they_wanted(browser, make_account):
    await make_account()
    answer = await browser.get("/w/main/campaigns?state=sent")
    assert answer.status_code == 303
    door = await browser.get(answer.headers["location"])
    check(door.text)
    form = {"email": "anna@brotzeit.example", "password": PASSWORD, "csrf": csrf_of(door.text)}
    back = await browser.post("/sign-in", data={**form, "next": "/w/main/campaigns?state=sent"})
    assert back.status_code == 303
    assert back.headers["location"] == "/w/main/campaigns?state=sent"
    assert (await browser.get("/sign-in")).headers["location"] == "/"
    assert (await browser.get("/")).headers["location"] == "/w/main"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\tevil", "x"])
async def test_nobody_is_sent_to_another_site_after_signing_in(browser, make_account, target):
    await make_account()
    door = await browser.get("/sign-in", params={"next": target})
    assert "evil" not in door.text
    form = {"email": "anna@brotzeit.example", "password": PASSWORD, "csrf": csrf_of(door.text), "next": target}
    assert (await browser.post("/sign-in", data=form)).headers["location"] == "/"


async def test_a_wrong_password_says_so_keeps_the_address_and_is_counted(browser, make_account, system: Connection):
    await make_account()
    door = await browser.get("/sign-in")
    form = {"email": 'anna"><b>@brotzeit.example', "password": "wrong", "csrf": csrf_of(door.text)}
    answer = await browser.post("/sign-in", data=form)
    assert answer.status_code == 422
    page = check(answer.text)
    assert "do not belong together" in page.words()
    assert [a["value"] for a in page.all("input") if a.get("name") == "email"] == [form["email"]]
    assert "wrong" not in answer.text
    counted = await (await system.execute("SELECT count(*) AS n FROM guard_failure")).fetchone()
    assert counted == {"n": 1}


async def test_signing_out_ends_the_session(signed_in: Signed):
    client, session = signed_in
    refused = await client.post("/sign-out")
    assert refused.status_code == 403
    answer = await client.post("/sign-out", data={"csrf": session.csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    client.cookies.set("thurn-session", session.token)
    assert (await client.get("/w/main")).status_code == 303


async def test_home_is_the_route_of_the_set_up_until_a_campaign_was_sent(signed_in: Signed, system: Connection):
    client, _ = signed_in
    page = check((await client.get("/w/main")).text)
    assert "Nothing is set up yet" in page.words()
    assert [a["href"] for a in page.all("a") if "btn-primary" in a.get("class", "")] == ["/w/main/domains"]
    await made_up.domain(system, verified=False)
    page = check((await client.get("/w/main")).text)
    assert "One of five steps is done" in page.words()
    assert [a["href"] for a in page.all("a") if "btn-primary" in a.get("class", "")] == [
        "/w/main/domains/brotzeit.example"
    ]
    await system.execute("UPDATE domain SET verified_at = now()")
    await made_up.people(system)
    await made_up.template(system)
    page = check((await client.get("/w/main")).text)
    assert "Four of five steps are done" in page.words()
    assert [a["href"] for a in page.all("a") if "btn-primary" in a.get("class", "")] == ["/w/main/campaigns/new"]


async def test_home_says_what_needs_a_person_what_is_sent_and_how_it_went(signed_in: Signed, system: Connection):
    client, _ = signed_in
    await made_up.bakery(system)
    words = check((await client.get("/w/main")).text).words()
    assert "Needs you 3" in words
    assert "The DNS records of konditorei-donaudampfschifffahrt.example are not right" in words
    assert "“Café regulars: breakfast on us” is paused" in words
    assert "214 rows of saturday.csv were not taken" in words
    assert "29,179 of 38,696 answered by providers" in words
    assert "Pumpkin bread is back Sent" in words


async def test_home_with_nothing_to_do_says_so(signed_in: Signed, system: Connection):
    client, _ = signed_in
    long_ago = datetime.now().astimezone() - timedelta(days=90)
    await made_up.campaign(system, state="sent", recipients=5, started=long_ago)
    words = check((await client.get("/w/main")).text).words()
    assert "Nothing right now" in words
    assert "No campaign was started in the last 30 days." in words


async def test_the_home_of_another_workspace_is_not_there(signed_in: Signed, other_workspace: int):
    client, _ = signed_in
    answer = await client.get("/w/other")
    assert answer.status_code == 404
    check(answer.text)


async def test_pages_offer_their_files_by_names_that_follow_their_content(signed_in: Signed):
    client, _ = signed_in
    page = check((await client.get("/w/main")).text)
    for url in [a["src"] for a in page.all("script")] + [a["href"] for a in page.all("link")]:
        answer = await client.get(url)
        if "/build/" not in url or "-" in url.rpartition("/")[2]:  # not built: plain names, pages unstyled
            assert answer.status_code == 200, url
    assert "script-src" not in (await client.get("/w/main")).headers["content-security-policy"]
