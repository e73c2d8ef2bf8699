"""Webmail as its people use it: through the portal, without a second password, and away again."""

import asyncio
import imaplib
import re
import time
from urllib.parse import urlsplit

import e2e_house as furniture
import psycopg
import pytest
from e2e_house import House, eventually
from playwright.async_api import Page, Request, expect

from tests.e2e.conftest import PATIENCE, Windows
from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.webmail import service

ANNA, BERT = "anna@webmail.example", "bert@webmail.example"
PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
async def house(installation: Settings) -> House:
    """A workspace with two mailboxes whose owners know their passwords."""
    house = await furniture.open_house(installation, "webmail")
    await furniture.verified_domain(house, "webmail.example")
    for address, name in ((ANNA, "Anna Lindner"), (BERT, "Bert Graf")):
        await house.do(
            lambda db, address=address, name=name: furniture.add_mailbox(
                db, house.id, address=address, name=name, password=PASSWORD
            )
        )
    return house


async def enter(page: Page, house: House, address: str) -> None:
    """Into webmail: sign in to the portal, press the button."""
    await page.goto(f"{house.settings.url}/mailbox/sign-in")
    await page.get_by_label("Address").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="Open webmail").click()
    await expect(page).to_have_title(re.compile("Inbox"), timeout=PATIENCE)
    assert "token" not in page.url.replace("_token=", ""), "no one-time token in the address"


async def write(page: Page, to: str, subject: str, text: str) -> None:
    """A mail, as one writes it."""
    await page.wait_for_load_state("networkidle")  # Roundcube's buttons work when its scripts have run
    await page.locator("#taskmenu a.compose").click()
    await page.locator("#compose_to .recipient-input input").fill(to)
    await page.locator("#compose-subject").fill(subject)
    await page.locator("#composebody").fill(text)
    await page.locator("#layout-content button.send").click()
    await page.wait_for_url(re.compile(r"_task=mail(&_mbox=|$)"), timeout=PATIENCE)


async def appears(page: Page, subject: str, folder: str = "INBOX") -> None:
    """Wait until a mail with this subject is listed."""
    base = page.url.partition("?")[0]

    async def look() -> bool:
        await page.goto(f"{base}?_task=mail&_mbox={folder}")
        await page.wait_for_load_state("networkidle")
        return bool(await page.locator("#messagelist").get_by_text(subject).count())

    await eventually(f"“{subject}” in {folder}", look)


def opens(settings: Settings, address: str, password: str) -> bool:
    """Whether a password opens the mailbox at webmail's own door."""
    with imaplib.IMAP4("127.0.0.1", settings.port["webmail_imap"]) as client:
        try:
            return client.login(address, password)[0] == "OK"
        except imaplib.IMAP4.error:
            return False


async def sort_bills(page: Page, base: str) -> None:
    """A filter: what has “Invoice” in its subject goes to Archive."""
    await page.goto(f"{base}?_task=settings&_action=plugin.managesieve")
    await page.wait_for_load_state("networkidle")
    await page.locator("#layout-content a.create").click()
    form = page.frame_locator("iframe[name=filter-box]")
    await form.locator("#_name").wait_for()
    frame = page.frame(name="filter-box")
    assert frame is not None
    await frame.wait_for_load_state("networkidle")
    await form.locator("#_name").fill("Bills")
    await form.locator("input[name='_rule_target[0][]']").fill("Invoice")
    await form.locator("select[name='_action_mailbox[0]']").select_option("Archive")
    await form.get_by_role("button", name="Save").click()
    await expect(page.locator("#filterslist").get_by_text("Bills")).to_be_visible(timeout=PATIENCE)


async def be_away(page: Page, base: str) -> None:
    """An answer to everybody who writes."""
    await page.goto(f"{base}?_task=settings&_action=plugin.managesieve-vacation")
    await page.wait_for_load_state("networkidle")
    await page.locator("#vacation_subject").fill("Away until Monday")
    await page.locator("#vacation_reason").fill("The ovens rest.")
    await page.locator("#vacation_status").select_option("on")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#messagestack .confirmation")).to_be_visible(timeout=PATIENCE)


async def test_two_people_write_to_each_other_sort_and_answer_for_themselves(house: House, window: Windows) -> None:
    anna, bert = await window(), await window()
    await enter(anna, house, ANNA)
    base = anna.url.partition("?")[0]
    await write(anna, BERT, "Rolls for Saturday", "Forty, please.")
    await appears(anna, "Rolls for Saturday", "Sent")

    await enter(bert, house, BERT)
    await appears(bert, "Rolls for Saturday")
    await bert.locator("#messagelist").get_by_text("Rolls for Saturday", exact=True).click()
    mail = bert.frame_locator("#messagecontframe")
    await expect(mail.get_by_text("Forty, please.")).to_be_visible(timeout=PATIENCE)
    await expect(mail.get_by_text("Anna Lindner").first).to_be_visible()

    await sort_bills(bert, base)
    await be_away(bert, base)
    await write(anna, BERT, "Invoice 12", "For the rolls.")
    await appears(anna, "Away until Monday")
    await appears(bert, "Invoice 12", "Archive")


async def test_leaving_webmail_takes_its_password_and_the_portals_session(
    house: House, window: Windows, faults: list[str]
) -> None:
    page = await window(color_scheme="light")
    # The password is nowhere but in Roundcube's session: make one of the same kind beside it, and end the session.
    await enter(page, house, ANNA)
    with psycopg.connect(conninfo(house.settings, "system"), autocommit=True) as db:
        row = db.execute(
            """SELECT a.portal_session, a.mailbox_id FROM app_password a JOIN mailbox m ON m.id = a.mailbox_id
               WHERE m.address = %s AND a.scope = 'webmail' ORDER BY a.id DESC LIMIT 1""",
            [ANNA],
        ).fetchone()
        assert row is not None
        db.execute(
            """INSERT INTO app_password (workspace_id, mailbox_id, name, scope, secret_hash, expires_at, portal_session)
               VALUES (%s, %s, 'Webmail', 'webmail', %s, now() + interval '1 hour', %s)""",
            [house.id, row[1], service.hashed("beside it"), row[0]],
        )
        assert await asyncio.to_thread(opens, house.settings, ANNA, "beside it")

        await page.wait_for_load_state("networkidle")
        await page.locator("#taskmenu a.theme").click()
        await expect(page.locator("html")).to_have_class(re.compile("dark-mode"))
        await page.locator("#taskmenu a.logout").click()
        await page.wait_for_url(f"{house.settings.url}/mailbox/sign-in", timeout=PATIENCE)
        left = db.execute("SELECT count(*) FROM app_password WHERE portal_session = %s", [row[0]])
        assert left.fetchone() == (0,)
    assert not await asyncio.to_thread(opens, house.settings, ANNA, "beside it")
    await page.goto(f"{house.settings.webmail_url}/?_task=mail")
    await page.wait_for_url(re.compile("/mailbox/sign-in"), timeout=PATIENCE)
    await page.go_back()
    await page.goto(f"{house.settings.url}/mailbox")
    await page.wait_for_url(re.compile("/mailbox/sign-in"), timeout=PATIENCE)
    assert faults == []


async def test_leaving_the_portal_closes_webmail_that_is_open_in_another_window(house: House, window: Windows) -> None:
    page = await window()
    await enter(page, house, ANNA)
    other = await page.context.new_page()
    await other.goto(f"{house.settings.url}/mailbox")
    await other.get_by_role("button", name="Sign out").click()
    await other.wait_for_url(re.compile("/mailbox/sign-in"), timeout=PATIENCE)
    began = time.monotonic()
    await page.reload()
    await page.wait_for_url(re.compile("/mailbox/sign-in"), timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE


async def test_webmail_and_the_web_interface_are_two_origins_and_share_no_cookie(
    house: House, window: Windows, faults: list[str]
) -> None:
    page = await window(bypass_csp=True)  # what follows must hold without webmail's own policy, too
    requests: list[Request] = []

    def heard(request: Request) -> None:
        requests.append(request)

    page.on("request", heard)
    await enter(page, house, ANNA)
    await page.wait_for_load_state("networkidle")
    await page.goto(f"{house.settings.url}/mailbox")
    await expect(page.get_by_text(ANNA).first).to_be_visible()
    web, webmail = house.settings.url, house.settings.webmail_url
    assert web != webmail
    sent: dict[str, set[str]] = {}
    for request in requests:
        told = (await request.all_headers()).get("cookie", "")
        at = urlsplit(request.url)
        sent.setdefault(f"{at.scheme}://{at.netloc}", set()).update(
            part.partition("=")[0].strip() for part in told.split(";") if part
        )
    assert {name.partition("-")[0] for name in sent[web]} == {"thurn"}
    assert {name.partition("-")[0] for name in sent[webmail]} == {"webmail"}

    await page.goto(f"{webmail}/?_task=mail")
    tried = await page.evaluate(  # as a script would that came with a mail and was let through
        """async (web) => {
             const attempt = async (path, how) => {
               try {
                 return (await fetch(web + path, {credentials: 'include', ...how})).type
               } catch {
                 return 'refused'
               }
             }
             return [await attempt('/mailbox', {}), await attempt('/api/v1/mailboxes', {}),
                     await attempt('/mailbox/sign-out', {method: 'POST', mode: 'no-cors', body: new URLSearchParams()})]
           }""",
        web,
    )
    assert tried[:2] == ["refused", "refused"]

    async def said() -> bool:
        return sum("blocked by CORS policy" in fault for fault in faults) == 2

    await eventually("the console says who refused", said)
    await page.goto(f"{web}/mailbox")
    await expect(page.get_by_role("link", name="Open webmail")).to_be_visible()
    faults[:] = [fault for fault in faults if "CORS policy" not in fault and "Failed to load" not in fault]
