"""The pages in a real browser: what the policy forbids, what a screen reader needs, what lives by script."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import made_up
import pytest
from axe_playwright_python.async_playwright import Axe
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from playwright.async_api import Browser, Page, async_playwright

from tests.web.conftest import PASSWORD
from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.web.app import create_app
from thurn.web.render import STATIC

pytestmark = [pytest.mark.browser]

RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (1440, 390)
PATIENCE = 60_000  # milliseconds; the machine may be busy


@pytest.fixture
async def address(clean: Settings) -> AsyncIterator[str]:
    """The application over HTTP, as the role `web` serves it."""
    assert (STATIC / "build" / "manifest.json").exists(), "frontend/build makes the styles and scripts"
    app, port = create_app(clean), clean.port["web"]
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_level=LogLevels.warning)
    serving = asyncio.create_task(server.serve())
    yield f"http://127.0.0.1:{port}"
    app.state.stopping = True
    server.stop()
    await serving


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    found = shutil.which("chromium")
    assert found, "apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield browser
        await browser.close()


@pytest.fixture
async def bakery(system: Connection, make_account: Any) -> dict[str, int]:
    """Anna, and everything she made."""
    await make_account()
    return await made_up.bakery(system)


async def enter(chromium: Browser, address: str, faults: list[str], **options: Any) -> Page:
    """A window in which Anna has signed in; what the console complains about goes to `faults`."""
    context = await chromium.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(f"{address}/sign-in")
    await page.fill("#email", "anna@brotzeit.example")
    await page.fill("#password", PASSWORD)
    await page.click("button[type=submit]")
    await page.wait_for_url(f"{address}/w/main")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_clean_for_the_policy_for_axe_and_at_phone_width(
    chromium: Browser, address: str, bakery: dict[str, int], scheme: str
):
    faults: list[str] = []
    page = await enter(chromium, address, faults, color_scheme=scheme)
    campaigns = f"{address}/w/main/campaigns"
    for url in (
        f"{address}/w/main", campaigns, f"{campaigns}/new", f"{campaigns}/{bakery['draft']}/check?ask=send",
        f"{campaigns}/{bakery['sending']}/progress", f"{campaigns}/{bakery['sent']}/report",
        f"{address}/house/guard",
    ):  # fmt: skip
        await page.goto(url)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 900})
            assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"{url} at {width}"
        found = await Axe().run(page, options={"runOnly": RULES})
        assert found.response["passes"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == [], url
    assert faults == []


async def test_the_progress_page_follows_the_campaign_and_keeps_an_open_question_open(
    chromium: Browser, address: str, bakery: dict[str, int], system: Connection
):
    faults: list[str] = []
    page = await enter(chromium, address, faults)
    await page.goto(f"{address}/w/main/campaigns/{bakery['sending']}/progress")
    await page.get_by_text("Live", exact=True).wait_for()
    await page.click("text=Cancel…")
    await page.get_by_role("button", name="Cancel for 9,517 people").wait_for()
    await system.execute(
        "UPDATE campaign_tally SET n = n + 1000 WHERE campaign_id = %s AND provider = 'google' AND measure = ANY(%s)",
        [bakery["sending"], ["delivered", "handed_over"]],
    )
    await page.get_by_role("button", name="Cancel for 8,517 people").wait_for()
    assert await page.evaluate("document.getElementById('cancel').open")
    await page.keyboard.press("Escape")
    assert "30,179" in await page.inner_text("#live .text-3xl")
    await system.execute("UPDATE campaign SET state = 'sent', finished_at = now() WHERE id = %s", [bakery["sending"]])
    await page.locator(".title-row", has_text="Sent").wait_for()
    assert faults == []


async def test_the_form_counts_people_and_the_theme_is_kept(chromium: Browser, address: str, bakery: dict[str, int]):
    faults: list[str] = []
    page = await enter(chromium, address, faults, color_scheme="light")
    await page.goto(f"{address}/w/main/campaigns/new")
    await page.get_by_label("Newsletter").check()
    await page.locator("#reach", has_text="60 people").wait_for()
    await page.get_by_label("Café regulars").check()
    await page.locator("#reach", has_text="10 counted already").wait_for()
    await page.click("[data-theme-toggle]")
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") == "thurn-night"
    assert faults == []


async def test_the_menu_stands_in_for_the_sidebar_on_a_phone(chromium: Browser, address: str, bakery: dict[str, int]):
    faults: list[str] = []
    page = await enter(chromium, address, faults, viewport={"width": 390, "height": 800})
    await page.click("[data-open=menu]")
    await page.locator("#menu").get_by_role("link", name="Campaigns").click()
    await page.wait_for_url(f"{address}/w/main/campaigns")
    assert faults == []
