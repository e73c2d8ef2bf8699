"""Every page, empty and full, light and dark, from a phone to a desk: readable, and nothing to complain of."""

import asyncio
from typing import Any

import e2e_house as furniture
import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from e2e_house import House
from e2e_looks import complaints, too_wide, walk
from playwright.async_api import Page

from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.links import find_links

EMPTY = (
    "", "/campaigns", "/campaigns/new", "/templates", "/templates/new", "/templates/new?start=markdown", "/contacts",
    "/contacts/new", "/contacts/import", "/contacts/lists", "/contacts/imports", "/domains", "/domains/new",
    "/domains/certificates", "/mailboxes", "/mailboxes/new", "/mailboxes/moves", "/mailboxes/moves/new",
    "/mailboxes/aliases", "/mailboxes/forwards", "/mailboxes/import", "/mailboxes/removed", "/trace", "/quarantine",
    "/suppression", "/suppression/add", "/suppression/import", "/feedback", "/feeds", "/feeds/new",
    "/feeds/new?kind=imap",
)  # fmt: skip
FULL = (
    "", "/campaigns", "/campaigns?state=draft", "/campaigns/new", "/campaigns/{draft}/edit", "/campaigns/{draft}/check",
    "/campaigns/{paused}/progress", "/campaigns/{paused}/progress?ask=cancel", "/campaigns/{paused}/pace",
    "/campaigns/{draft}/pace", "/campaigns/{cancelled}/progress",
    "/campaigns/{sent}/progress", "/campaigns/{sent}/report", "/campaigns/{sent}/mail", "/templates",
    "/templates/{template}", "/templates/{template}?ask=delete", "/contacts", "/contacts?q=nobody-has-this",
    "/contacts/{contact}", "/contacts/{contact}?ask=delete", "/contacts/lists", "/contacts/lists/{list}",
    "/contacts/imports", "/contacts/import", "/contacts/import/{import}", "/domains", "/domains/certificates",
    "/domains/bakery.example", "/domains/bakery.example?ask=remove-domain", "/domains/bakery.example/publish",
    "/domains/bakery.example/dmarc", "/domains/bakery.example/dmarc/source?key=203.0.113.0/24",
    "/domains/bakery.example/dmarc/reports", "/domains/bakery.example/tls",
    "/domains/bakery.example/keys", "/domains/bakery.example/settings", "/mailboxes", "/mailboxes/{mailbox}",
    "/mailboxes?q=nobody-has-this", "/mailboxes/new", "/mailboxes/{mailbox}?ask=delete",
    "/mailboxes/{mailbox}?ask=disable", "/mailboxes/{mailbox}/portal", "/mailboxes/aliases",
    "/mailboxes/aliases?q=nobody", "/mailboxes/forwards", "/mailboxes/import", "/mailboxes/moves",
    "/mailboxes/import/{checked}", "/mailboxes/import/{stopped}", "/mailboxes/removed", "/mailboxes/moves/{move}",
    "/mailboxes/moves/many", "/feeds", "/feeds/{box}", "/feeds/{hook}", "/feeds/{hook}?ask=remove",
    "/feeds/new?kind=ses",
    "/quarantine", "/quarantine?q=nothing-like-it", "/quarantine/{held}", "/quarantine/{held}?ask=release",
    "/suppression", "/suppression?q=nobody-has-this", "/suppression/{suppressed}",
    "/suppression/{suppressed}?ask=remove", "/feedback", "/feedback?q=nobody-has-this", "/feedback/{returned}",
    "/mailboxes/{mailbox}/spam", "/domains/bakery.example/spam",
    "/trace", "/trace?q=nobody@bakery.example", "/trace/{trace}", "/trace/campaigns/{sent}/{delivery}",
)  # fmt: skip


async def test_axe_lets_fresh_empty_pages_pass_in_both_themes_and_none_is_too_wide(bare: House, window: Any):
    page = await window(bare)
    assert await walk(page, [bare.url + path for path in EMPTY]) == []


@pytest.mark.parametrize("half", [0, 1])
async def test_axe_lets_pages_in_full_use_pass_in_both_themes_and_none_is_too_wide(
    bakery: dict[str, Any], window: Any, half: int
):
    house: House = bakery["house"]
    page = await window(house)
    assert await walk(page, [house.url + path.format_map(bakery) for path in FULL[half::2]]) == []


async def test_a_domain_with_broken_records_new_keys_and_a_publisher_passes(installation: Settings, window: Any):
    house = await furniture.open_house(installation, "beer")
    await furniture.broken_domain(house, "beer.example")
    page: Page = await window(house)
    at = f"{house.url}/domains/beer.example"
    assert await walk(page, [at, f"{at}/keys", f"{at}/publish"]) == []
    await page.goto(at)
    for heading in ("Broken", "To do", "Advice", "In order"):
        assert await page.get_by_role("heading", name=heading, level=2).is_visible()


async def test_a_domain_without_reports_passes(installation: Settings, window: Any):
    house = await furniture.open_house(installation, "pretzel")
    await furniture.broken_domain(house, "pretzel.example")
    page: Page = await window(house)
    at = f"{house.url}/domains/pretzel.example"
    assert await walk(page, [f"{at}/dmarc", f"{at}/tls", f"{at}/dmarc/reports"]) == []


async def test_pages_before_signing_in_and_errors_pass_too(bare: House, window: Any, faults: list[str]):
    page: Page = await window()
    assert await walk(page, [f"{bare.settings.url}/sign-in"]) == []
    page = await window(bare)
    await page.goto(f"{bare.url}/campaigns/999999")
    assert await page.get_by_role("link", name="Go to Home").is_visible()
    assert await too_wide(page) == []
    assert await complaints(page, Axe()) == []

    async def noted() -> bool:
        return any("404" in fault for fault in faults)

    await furniture.eventually("Chromium has noted the missing page itself", noted)
    faults[:] = [fault for fault in faults if "404" not in fault]


async def test_the_theme_switch_holds_on_every_page_after_it(bare: House, window: Any):
    page: Page = await window(bare, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(ground)
    await page.get_by_role("button", name="Switch between light and dark").click()
    dark = await page.evaluate(ground)
    assert dark != light
    await page.goto(f"{bare.url}/contacts")
    assert await page.evaluate(ground) == dark


# ---------------------------------------------------------------- the page of those who leave


async def leaving_address(house: House, sender: str, reader: str) -> str:
    """Send a campaign to one reader; the address of List-Unsubscribe in what arrived."""
    number = await furniture.draft(
        house,
        f"To {reader}",
        sender=sender,
        template=(await house.row("SELECT min(id) AS id FROM template"))["id"],
        lists=[await furniture.people(house, reader, [reader])],
    )
    await furniture.launch(house, number)
    await furniture.sent(house, number)
    (mail,) = await asyncio.to_thread(client.messages, house.settings, reader)
    address = find_links(mail.data).one_click
    assert address
    return address


async def has_left(house: House, reader: str) -> bool:
    row = await house.row("SELECT unsubscribed_at FROM contact WHERE email = %s", [reader])
    return row["unsubscribed_at"] is not None


async def test_looking_at_the_unsubscribe_page_changes_nothing_and_its_button_does(ready: House, window: Any):
    reader = "plain.leaves@gmail.example"
    address = await leaving_address(ready, "post@ready.example", reader)
    page: Page = await window()
    await page.goto(address)
    await page.get_by_role("heading", name="Stop these mails?").wait_for()
    assert await too_wide(page) == []
    assert await complaints(page, Axe()) == []
    assert not await has_left(ready, reader)
    await page.get_by_role("button", name="Unsubscribe").click()
    await page.get_by_role("heading", name="You are unsubscribed").wait_for()
    await furniture.eventually("the reader has left", lambda: has_left(ready, reader))


async def test_a_mail_programs_one_click_unsubscribes_without_a_session(ready: House):
    reader = "plain.clicks@gmail.example"
    address = await leaving_address(ready, "post@ready.example", reader)
    async with httpx.AsyncClient(trust_env=False, timeout=furniture.PATIENCE) as mail_program:
        looked = await mail_program.get(address)
        assert (looked.status_code, await has_left(ready, reader)) == (200, False)
        answer = await mail_program.post(address, data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    await furniture.eventually("the reader has left", lambda: has_left(ready, reader))
