"""A campaign under way: paused, gone on with and cancelled from its page, while another one goes out."""

import re
from typing import Any

import e2e_house as furniture
from e2e_house import House
from playwright.async_api import Page, expect

from thurn.simulate import client

MANY = 5000  # with SLOW: more than are handed over before somebody presses Pause, however slow the browser is
SLOW = 2400  # mails a minute


def figure(text: str) -> int:
    """The first number of a text."""
    found = re.search(r"\d[\d,]*", text)
    assert found, text
    return int(found[0].replace(",", ""))


async def make(page: Page, house: House, name: str, audience: str, speed: int | None = None) -> str:
    """A draft by the form, sent by the dialog; returns the campaign's path."""
    await page.goto(f"{house.url}/campaigns/new")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Sender’s address").fill("post@ready.example")
    await page.get_by_label(audience).check()
    await page.get_by_role("button", name="Save and check").click()
    await page.wait_for_url(re.compile(r"/check$"))
    await house.row("UPDATE campaign SET speed_limit = %s WHERE name = %s RETURNING id", [speed, name])
    await page.get_by_role("button", name=re.compile("Send to")).click()
    await page.get_by_role("dialog").get_by_role("button", name=re.compile("Send to")).click()
    await page.wait_for_url(re.compile(r"/progress$"))
    return page.url.removesuffix("/progress")


async def test_a_second_campaign_goes_out_while_the_first_stands_paused_and_is_then_cancelled(
    ready: House, window: Any
):
    await furniture.people(ready, "Everybody", [f"plain.{n}.crowd@gmail.example" for n in range(MANY)])
    friends = [f"plain.{n}.friend@gmx.example" for n in range(20)]
    await furniture.people(ready, "Friends", friends)
    page: Page = await window(ready)
    state = page.locator(".title-row")

    first = await make(page, ready, "To everybody", "Everybody", SLOW)
    number = int(first.rpartition("/")[2])
    await page.get_by_role("button", name="Pause").click()
    await expect(state).to_contain_text("Paused")
    await expect(page.get_by_text("Sending is paused.")).to_be_visible()

    second = await make(page, ready, "To friends", "Friends")
    await expect(state).to_contain_text("Sent", timeout=furniture.PATIENCE * 1000)
    truth = client.truth(ready.settings, campaign=int(second.rpartition("/")[2]), expected=friends)
    assert (truth.recipients, truth.missing, truth.duplicates, truth.dkim_pass) == (20, 0, 0, 20), truth.samples
    # Everything that had been claimed before the pause is out by now, as the friends stood behind it.
    stood = await furniture.tallies(ready, number)
    assert stood.get("handed_over", 0) < MANY

    await page.goto(f"{first}/progress")
    await expect(state).to_contain_text("Paused")
    await page.get_by_role("button", name="Go on sending").click()
    await expect(state).not_to_contain_text("Paused")
    answered = page.locator(".text-3xl")

    async def moves() -> bool:
        return figure(await answered.inner_text()) > stood.get("delivered", 0)

    await furniture.eventually("the page shows more than before the pause", moves)
    await page.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("people will not get “To everybody”")
    await expect(dialog).to_contain_text("handed over already")
    await dialog.get_by_role("button", name=re.compile(r"Cancel for [\d,]+ people")).click()
    await expect(state).to_contain_text("Cancelled")

    async def settled() -> dict[str, int] | None:
        found = await furniture.tallies(ready, number)
        over = found.get("delivered", 0) == found.get("handed_over", 0)
        return found if over and found.get("cancelled", 0) + found.get("handed_over", 0) == MANY else None

    found = await furniture.eventually("everybody was sent to or is marked", settled)
    assert found["cancelled"] > 0
    truth = client.truth(ready.settings, campaign=number, dkim=False)
    assert (truth.recipients, truth.duplicates) == (found["handed_over"], 0)
    await page.goto(f"{first}/progress")
    await expect(page.get_by_text(f"{found['cancelled']:,} people did not get it.")).to_be_visible()
    assert await page.get_by_role("button", name=re.compile("Pause|Go on|Cancel")).count() == 0


async def test_a_template_leads_to_a_campaign_that_has_it_chosen(ready: House, window: Any):
    stollen = (await ready.row("SELECT id FROM template WHERE name = 'Stollen'"))["id"]
    await furniture.letter(ready, "Written later")
    page: Page = await window(ready)
    await page.goto(f"{ready.url}/templates/{stollen}")
    await page.get_by_role("link", name="Use in a campaign").click()
    await expect(page.get_by_label("Mail", exact=True)).to_have_value(str(stollen))
