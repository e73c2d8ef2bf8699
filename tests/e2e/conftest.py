"""A whole installation, Debian's Chromium, and windows in which everything that goes wrong is written down."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import e2e_full as full
import e2e_house as furniture
import pytest
from e2e_house import House
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from thurn.settings import Settings
from thurn.stack.control import down, start_stack
from thurn.web.render import STATIC

PATIENCE = 60_000  # milliseconds; the machine may be busy
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
Windows = Callable[..., Awaitable[Page]]

# The campaign whose report and contacts are looked at: every behaviour a reader can have.
READERS = [
    *("open", "gproxy", "mpp", "scanner", "sneaky", "click", "click", "unsub", "complain"),
    *("bounce", "unknown", "full", "policy", "grey"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the daemons and a browser."""
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
async def installation() -> AsyncIterator[Settings]:
    """Every role, with the simulated internet around it."""
    assert (STATIC / "build" / "manifest.json").exists(), "frontend/build makes the styles and scripts"
    state = Path(tempfile.mkdtemp(prefix="thurn-e-", dir="/tmp"))
    state.chmod(0o755)
    (state / "thurn.toml").write_text('hostname = "mail.brotzeit.example"\nsimulate = true\nretry_first = 5\n')
    try:
        yield await asyncio.to_thread(start_stack, state, [])
    finally:
        await asyncio.to_thread(down, state)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="package")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    found = shutil.which("chromium")
    assert found, "apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS, timeout=PATIENCE)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
async def main(installation: Settings) -> House:
    """The workspace of a new installation: nothing is in it."""
    return await furniture.open_house(installation, "main")


@pytest.fixture(scope="package")
async def bare(installation: Settings) -> House:
    """A workspace in which nobody ever does anything."""
    return await furniture.open_house(installation, "bare")


@pytest.fixture(scope="package")
async def ready(installation: Settings) -> House:
    """A workspace with all that a campaign needs."""
    house = await furniture.open_house(installation, "ready")
    await furniture.verified_domain(house, "ready.example")
    await furniture.letter(house)
    return house


@pytest.fixture(scope="package")
async def bakery(installation: Settings) -> dict[str, Any]:
    """A workspace in full use: {house, sent, draft, template, contact, mailbox, trace …}."""
    house = await furniture.open_house(installation, "bakery")
    await furniture.verified_domain(house, "bakery.example")
    sender, template = "post@bakery.example", await furniture.letter(house)
    regulars = await furniture.people(
        house, "Café regulars", [f"{kind}.r{n}@gmail.example" for n, kind in enumerate(READERS)]
    )
    everybody = await furniture.people(house, "Newsletter", [f"plain.n{n}@gmx.example" for n in range(60)])
    drafted = await furniture.draft(house, "Easter", sender="post@elsewhere.example", template=template, lists=[])
    numbers = {}
    for name in ("sent", "paused", "cancelled"):
        numbers[name] = await furniture.draft(
            house, f"Week {len(numbers) + 40}", sender=sender, template=template, lists=[regulars]
        )
    await furniture.launch(house, numbers["sent"])
    await furniture.launch(house, numbers["paused"])
    await house.do(lambda db: furniture.campaigns.pause(db, house.id, numbers["paused"]))
    await furniture.launch(house, numbers["cancelled"])
    await house.do(lambda db: furniture.campaigns.cancel(db, house.id, numbers["cancelled"]))
    await furniture.mailbox(house, "anna@bakery.example", "Anna Lindner")
    await full.reported(house, "bakery.example")
    await full.belongings(house, "anna@bakery.example")
    await furniture.mailbox(house, f"{'bestellungen.und.fragen' * 2}.nebenan@bakery.example")
    file = installation.state / "sim" / "customers.csv"
    file.write_text("E-Mail,First name\nmia@gmx.example,Mia\nnobody,Nobody\nmia@gmx.example,Mia again\n")
    imported = await asyncio.to_thread(
        furniture.thurn, installation, "import", str(file), "--list", "Newsletter", "--workspace", "bakery"
    )
    assert imported["refused"] == 2
    await furniture.sent(house, numbers["sent"])
    bounced = await house.row("SELECT id FROM contact WHERE email LIKE 'unknown.%%'")
    delivery = await house.row("SELECT min(id) AS id FROM delivery WHERE campaign_id = %s", [numbers["sent"]])
    last = await house.row("SELECT max(id) AS id FROM contact_import")
    dead = await house.row("SELECT min(id) AS id FROM suppression WHERE address LIKE 'unknown.%%'")
    many = await full.many_boxes(house, "bakery.example")
    return {"house": house, **many, "draft": drafted, "template": template, "list": everybody, **numbers} | {
        "contact": bounced["id"],
        "import": last["id"],
        "suppressed": dead["id"],
        "returned": await furniture.returned(house),
        "mailbox": "anna@bakery.example",
        "delivery": delivery["id"],
        "move": await full.moved(house),
        **await full.fed(house),
        "trace": await full.traced(house),
        "held": await full.held(house, "anna@bakery.example"),
    }


@pytest.fixture
async def faults() -> AsyncIterator[list[str]]:
    """What consoles complained about; must be empty at the end of a test."""
    found: list[str] = []
    yield found
    assert found == []


def watch(page: Page, faults: list[str]) -> None:
    """Write down what the console says is wrong: errors of scripts, what the policy forbids, what is not there."""

    def heard(kind: str, text: str, url: str) -> None:
        # A refused form comes back with 4xx and says why on the page; Chromium notes every such answer.
        refused_form = "status of 409" in text or "status of 422" in text
        if kind in ("error", "warning") and not refused_form:
            faults.append(f"{url}: {text}")

    page.on("console", lambda message: heard(message.type, message.text, page.url))
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))


@pytest.fixture
async def window(chromium: Browser, faults: list[str]) -> AsyncIterator[Windows]:
    """Opens windows: `await window(house)` is one in which the house's owner has signed in."""
    opened: list[BrowserContext] = []

    async def open_window(house: House | None = None, **options: Any) -> Page:
        context = await chromium.new_context(**options)
        opened.append(context)
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        watch(page, faults)
        if house is not None:
            await sign_in(page, house)
        return page

    yield open_window
    for context in opened:
        await context.close()


async def sign_in(page: Page, house: House, password: str = "") -> None:
    """Through the front door."""
    await page.goto(f"{house.settings.url}/sign-in")
    await page.get_by_label("Email address").fill(house.email)
    await page.get_by_label("Password").fill(password or house.password)
    await page.get_by_role("button", name="Sign in").click()
    if not password:
        await page.wait_for_url(house.url)
