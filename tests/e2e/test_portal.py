"""The life of a mailbox's owner, as they live it: portal in Chromium, mail by SMTP and IMAP."""

import asyncio
import imaplib
import re
import smtplib
import ssl
import time
import uuid
from email.utils import formatdate
from typing import Any

import e2e_full as full
import e2e_house as furniture
import pyotp
import pytest
from axe_playwright_python.async_playwright import Axe
from e2e_house import House
from playwright.async_api import Page
from test_every_page import complaints, too_wide, walk

from thurn.db.fetch import one
from thurn.mailhost.mailboxes import add_mailbox

ADDRESS, PASSWORD = "sepp@ready.example", "Radi und Brezn am See"
PAGES = (
    "", "/absence", "/rules", "/forwarding", "/storage", "/storage?ask=empty", "/security", "/security?ask=not-me",
    "/security/password", "/security/two-factor", "/app-passwords", "/set-up",
)  # fmt: skip


@pytest.fixture(scope="module")
async def house(ready: House) -> House:
    """A house with Sepp's mailbox."""
    await ready.do(lambda db: add_mailbox(db, ready.id, address=ADDRESS, password=PASSWORD, name="Sepp Huber"))
    return ready


async def enter(page: Page, house: House) -> None:
    """The password, at the portal's door."""
    await page.goto(f"{house.settings.url}/mailbox/sign-in")
    await page.get_by_label("Mail address").fill(ADDRESS)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


def deliver(house: House, subject: str) -> None:
    """A mail from outside."""
    text = f"From: Franz <franz@elsewhere.example>\r\nTo: {ADDRESS}\r\nSubject: {subject}\r\n"
    text += f"Message-ID: <{uuid.uuid4()}@elsewhere.example>\r\nDate: {formatdate()}\r\nMIME-Version: 1.0\r\n"
    text += "Content-Type: text/plain; charset=utf-8\r\n"
    text += "\r\nGood morning, and see you at the fair.\r\n"
    with smtplib.SMTP("127.0.0.1", house.settings.port["smtp"], "elsewhere.example", timeout=60) as client:
        client.sendmail("franz@elsewhere.example", [ADDRESS], text.encode())


def found(house: House, secret: str, folder: str, subject: str) -> int:
    """How many mails with this subject a mail program sees in a folder; -1: it is not let in."""
    trusting = ssl.create_default_context(cafile=str(house.settings.state / "tls" / "cert.pem"))
    with imaplib.IMAP4_SSL("localhost", house.settings.port["imaps"], ssl_context=trusting, timeout=60) as client:
        try:
            client.login(ADDRESS, secret)
        except imaplib.IMAP4.error:
            return -1
        if client.select(folder)[0] != "OK":
            return 0
        return len(client.search(None, "SUBJECT", f'"{subject}"')[1][0].split())


async def looked_at(page: Page) -> list[str]:
    """What axe and narrow screens complain of, on a page that is there for this one moment."""
    return [*await too_wide(page), *await complaints(page, Axe())]


async def a_code_begins() -> bool:
    return time.time() % 30 < 10


async def test_the_whole_life_of_a_mailboxs_owner(house: House, window: Any) -> None:
    page: Page = await window()
    await enter(page, house)
    await page.get_by_role("heading", name="Your mailbox").wait_for()

    # A rule sorts what arrives.
    await page.get_by_role("link", name="Sorting rules").click()
    await page.get_by_label("If the").select_option("subject")
    await page.get_by_label("contains", exact=True).fill("Rechnung")
    await page.get_by_label("Folder or address").fill("Invoices")
    await page.get_by_role("button", name="Add rule").click()
    await page.get_by_text("The rules hold for mail that arrives from now on").wait_for()
    subject = f"Rechnung {uuid.uuid4().hex}"
    await asyncio.to_thread(deliver, house, subject)

    async def sorted_away() -> bool:
        return await asyncio.to_thread(found, house, PASSWORD, "Invoices", subject) == 1

    await furniture.eventually("the mail is in the folder", sorted_away)

    # An app password, shown once.
    await page.goto(f"{house.settings.url}/mailbox/app-passwords")
    await page.get_by_label("What is it for?").fill("Phone")
    await page.get_by_role("button", name="Make app password").click()
    await page.get_by_role("heading", name="For “Phone”").wait_for()
    secret = re.search(r"<code>([a-z2-9]{5}(?:-[a-z2-9]{5}){3})</code>", await page.content())
    assert secret is not None

    # Two-factor: from then on the password alone opens no mail program, the app password does.
    await page.goto(f"{house.settings.url}/mailbox/security/two-factor")
    await page.get_by_label("Password of the mailbox").fill(PASSWORD)
    await page.get_by_role("button", name="Set up two-factor").click()
    await page.get_by_role("heading", name="Set up your app").wait_for()
    assert await looked_at(page) == []
    shown = (await page.locator(".copy code").inner_text()).replace(" ", "")
    await furniture.eventually("a code begins, so that the one before it holds for long enough", a_code_begins)
    await page.get_by_label("Six digits").fill(pyotp.TOTP(shown).at(int(time.time()) - 30))
    await page.get_by_role("button", name="Turn two-factor on").click()
    await page.get_by_role("heading", name="Two-factor is on").wait_for()
    assert await looked_at(page) == []
    recovery = (await page.locator(".copy code").inner_text()).split()
    assert len(recovery) == 10
    assert await asyncio.to_thread(found, house, PASSWORD, "INBOX", "x") == -1
    assert await asyncio.to_thread(found, house, secret[1], "Invoices", subject) == 1

    # Out, and in again with the code.
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_text("You are signed out.").wait_for()
    await enter(page, house)
    await page.get_by_label("Code").wait_for()
    assert await looked_at(page) == []
    await page.get_by_label("Code").fill(recovery[0])
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("heading", name="Your mailbox").wait_for()
    await page.goto(f"{house.settings.url}/mailbox/security")
    assert await page.get_by_text("9 recovery codes left").is_visible()

    # One of these was not me: the phone is shut out.
    await page.get_by_role("button", name="One of these was not me…").click()
    await page.get_by_role("button", name="Sign everybody out").click()
    await page.get_by_text("Everybody else is signed out.").wait_for()
    assert await asyncio.to_thread(found, house, secret[1], "INBOX", "x") == -1


async def test_axe_lets_every_page_of_the_portal_pass_and_none_is_too_wide(ready: House, window: Any) -> None:
    address = "resi@ready.example"
    await ready.do(lambda db: add_mailbox(db, ready.id, address=address, password=PASSWORD, name="Resi"))
    page: Page = await window()
    assert await walk(page, [f"{ready.settings.url}/mailbox/sign-in"]) == []
    await page.get_by_label("Mail address").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Your mailbox").wait_for()
    assert await walk(page, [f"{ready.settings.url}/mailbox{path}" for path in PAGES]) == []
    await full.held(ready, address)
    rule = await ready.do(
        lambda db: one(
            db,
            """INSERT INTO mailbox_rule (workspace_id, mailbox_id, position, field, contains, action, argument)
               SELECT workspace_id, id, 1, 'subject', 'Rechnung', 'folder', 'Rechnungen' FROM mailbox WHERE address = %s
               RETURNING id""",
            [address],
        )
    )
    paths = ("", "/held", "/rules", f"/rules/{rule['id']}")
    assert await walk(page, [f"{ready.settings.url}/mailbox{path}" for path in paths]) == []
