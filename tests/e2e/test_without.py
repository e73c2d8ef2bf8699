"""Without script, and without a mouse."""

import re
from typing import Any

import e2e_house as furniture
from e2e_house import House
from playwright.async_api import Page, expect

PAGES = ("", "/campaigns", "/contacts", "/contacts/lists", "/contacts/imports", "/templates", "/domains", "/mailboxes")


async def test_without_script_a_person_signs_in_reads_every_page_and_sends_a_campaign(ready: House, window: Any):
    readers = [f"plain.{n}.noscript@gmx.example" for n in range(5)]
    await furniture.people(ready, "Readers without script", readers)
    page: Page = await window(ready, java_script_enabled=False)
    for path in PAGES:
        await page.goto(ready.url + path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()
    await page.goto(f"{ready.url}/contacts")
    await page.get_by_label("Search contacts").fill("3.noscript")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("plain.3.noscript@gmx.example")).to_be_visible()
    await expect(page.get_by_text("plain.4.noscript@gmx.example")).to_have_count(0)

    await page.goto(f"{ready.url}/campaigns/new")
    await page.get_by_label("Name", exact=True).fill("By forms alone")
    await page.get_by_label("Sender’s address").fill("post@ready.example")
    await page.get_by_label("Readers without script").check()
    await page.get_by_role("button", name="Save and check").click()
    await page.get_by_role("button", name="Send to 5 people…").click()  # a link: the server opens the question
    await page.wait_for_url(re.compile(r"ask=send"))
    await page.get_by_role("dialog").get_by_role("button", name="Send to 5 people").click()
    await page.wait_for_url(re.compile(r"/progress$"))

    async def is_sent() -> bool:
        await page.reload()
        return "Sent" in await page.locator(".title-row").inner_text()

    await furniture.eventually("the page says Sent", is_sent)
    await expect(page.locator(".text-3xl")).to_have_text("5")


async def test_without_script_the_template_editor_says_what_is_wrong_and_keeps_what_was_written(
    ready: House, window: Any
):
    page: Page = await window(ready, java_script_enabled=False)
    await page.goto(f"{ready.url}/templates/new")
    await page.get_by_label("Name", exact=True).fill("Broken")
    await page.get_by_label("Subject", exact=True).fill("Hello")
    await page.get_by_label("Mail", exact=True).fill("Hello\n\n{% if contact.city %}")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#source-error")).to_contain_text("ine 3")
    await expect(page.get_by_label("Mail", exact=True)).to_have_value("Hello\n\n{% if contact.city %}")


FOCUSED = """() => { const e = document.activeElement, r = e.getBoundingClientRect();
  const framed = (x) => { const s = getComputedStyle(x);
    return (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none"; };
  return { is: e.outerHTML.slice(0, 90), page: e === document.body,
           mark: framed(e) || (e.closest("label") !== null && framed(e.closest("label"))),
           seen: r.width > 0 && r.height > 0 && r.right > 0 && r.bottom > 0 }; }"""


async def test_the_first_key_offers_to_skip_to_the_content(ready: House, window: Any):
    page: Page = await window(ready)
    await page.goto(f"{ready.url}/contacts")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.getElementById('main').contains(document.activeElement)")


async def test_every_stop_of_the_tab_key_can_be_seen(bakery: dict[str, Any], window: Any):
    house: House = bakery["house"]
    page: Page = await window(house)
    paths = ("/contacts", "/campaigns/new", f"/campaigns/{bakery['sent']}/report", "/templates/new", "/mailboxes/new")
    for path in paths:
        await page.goto(house.url + path)
        await page.evaluate("document.activeElement.blur()")
        unseen, stops = [], 0
        for _ in range(60):
            await page.keyboard.press("Tab")
            at = await page.evaluate(FOCUSED)
            if at["page"]:
                break
            stops += 1
            if not (at["mark"] and at["seen"]):
                unseen.append(at["is"])
        assert stops > 10, path
        assert unseen == [], path


async def test_a_question_closes_with_escape_and_gives_the_focus_back(bakery: dict[str, Any], window: Any):
    house: House = bakery["house"]
    page: Page = await window(house)
    for path, opener in (
        (f"/campaigns/{bakery['paused']}/progress", "Cancel…"),
        (f"/contacts/{bakery['contact']}", "Delete…"),
        (f"/mailboxes/{bakery['mailbox']}", "New password…"),
        ("/domains/bakery.example", "Remove domain…"),
    ):
        await page.goto(house.url + path)
        button = page.get_by_role("button", name=opener)
        await button.focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        assert await page.evaluate("document.activeElement.closest('dialog') !== null"), path
        assert await page.evaluate("document.activeElement.hasAttribute('data-close')"), "the safe button is chosen"
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(button).to_be_focused()


async def test_the_menu_of_a_phone_opens_and_closes_by_keys(ready: House, window: Any):
    page: Page = await window(ready, viewport={"width": 390, "height": 800})
    await page.goto(f"{ready.url}/contacts")
    button = page.get_by_role("button", name="Open menu")
    await button.focus()
    await page.keyboard.press("Enter")
    menu = page.get_by_role("dialog", name="Menu")
    await expect(menu.get_by_role("link", name="Campaigns")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await expect(button).to_be_focused()
