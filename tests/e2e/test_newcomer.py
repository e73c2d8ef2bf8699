"""A person who has read nothing, from an empty workspace to the report of a first campaign; every step by the pages."""

import csv
import imaplib
import re
import ssl
from pathlib import Path
from typing import Any

import e2e_house as furniture
from e2e_house import House
from playwright.async_api import Page, expect

from thurn.simulate import client
from thurn.simulate.truth import Truth

DOMAIN = "brotzeit.example"
GOOD = 240
BROKEN = """<h1>Good morning {{ contact.first_name | default: "neighbour" }}</h1>
<p>The stollen is out of the oven.</p>
{% if contact.city %}<p>See you in {{ contact.city }}.</p>
"""
WITHOUT_EXIT = """<h1>Good morning {{ contact.first_name | default: "neighbour" }}</h1>
<p>The stollen is out of the oven. <a href="https://shop.brotzeit.example/stollen">Order one</a></p>
{% if contact.city %}<p>See you in {{ contact.city }}.</p>{% endif %}
"""
WITH_EXIT = WITHOUT_EXIT + '<p><a href="{{ unsubscribe_url }}">No more of these, please</a></p>\n'


def customers() -> list[str]:
    """What simulated receivers do with a mail follows from the address: every kind is among them."""
    kinds = ["open", "click", "unsub", "complain", "bounce", "unknown", "full", "grey", "gproxy"]
    domains = ["gmail.example", "gmx.example", "outlook.example", "icloud.example", "yahoo.example"]
    again = [kind for kind in kinds if kind != "complain"]  # a third complaint would have the guard pause the campaign
    chosen = [f"{kind}.{n}@{domains[n % 5]}" for n, kind in enumerate([*kinds, *again])]
    return [*chosen, *(f"customer{n}@{domains[n % 5]}" for n in range(GOOD - len(chosen)))]


def write_customers(path: Path) -> None:
    """An export as tills write them: semicolons, a name with a comma, and rows nobody can mail."""
    rows = [f"{address};Mia;Fürth, Bayern" for address in customers()]
    rows.insert(3, "not an address;Ben;Fürth")
    rows.insert(5, ";Clara;Fürth")
    rows.append(f"{customers()[0]};Twice;Fürth")
    rows.append("too;many;cells;here")
    latin = b"\nj\xf6rg@gmx.example;J\xf6rg;Hof\n"
    path.write_bytes(b"E-Mail;First name;City\n" + "\n".join(rows).encode() + latin)


async def records_shown(page: Page) -> list[dict[str, str]]:
    """What the page tells to publish, read as a person would copy it."""
    shown = []
    for record in await page.locator("article.record").filter(visible=True).all():
        kind = await record.locator("p.font-mono").first.inner_text()
        name, value = [await code.inner_text() for code in (await record.locator(".copy code").all())[:2]]
        shown.append({"name": name, "type": kind, "value": value})
    return shown


async def number_beside(page: Page, label: str) -> int:
    """The figure under a label of the report."""
    text = await page.locator(".stat-x", has=page.get_by_text(label, exact=True)).locator("dd.v").inner_text()
    found = re.match(r"[\d,]+", text)
    assert found, text
    return int(found[0].replace(",", ""))


async def step_of_funnel(page: Page, label: str) -> int:
    """People at a step from list to click."""
    row = page.locator("table.funnel tr", has_text=label)
    return int((await row.locator("td.num").first.inner_text()).replace(",", ""))


async def report(page: Page) -> dict[str, int]:
    """What the report page says."""
    steps = ("Recipients", "Delivered", "Opened by people, estimate", "Clicked by people")
    stats = ("Bounced", "Unsubscribed", "Complained", "Delivered after a retry")
    return {label: await step_of_funnel(page, label) for label in steps} | {
        label: await number_beside(page, label) for label in stats
    }


def expected_report(truth: Truth) -> dict[str, int]:
    """The same from what the simulated receivers and readers did."""
    refused, late = sum(truth.refused.values()), sum(truth.late_bounces.values())
    return {
        "Recipients": truth.recipients + refused,
        "Delivered": truth.recipients - late,
        "Opened by people, estimate": truth.opens_human,
        "Clicked by people": truth.clicks_human,
        "Bounced": refused + late,
        "Unsubscribed": truth.unsubscribes,
        "Complained": truth.complaints,
        "Delivered after a retry": truth.deferred_then_delivered,
    }


async def test_a_person_who_has_read_nothing_sends_a_campaign_and_believes_its_report(
    main: House, window: Any, tmp_path: Path
):
    page: Page = await window()
    await refused_then_signed_in(page, main)
    await adds_a_domain(page, main)
    draft = await makes_a_campaign_too_early(page)
    await publishes_the_records(page, main)
    await imports_customers(page, main, tmp_path)
    await writes_a_template(page, draft)
    await sends(page, main, draft)
    await adds_a_mailbox(page, main)
    await reads_the_report(page, main, draft)
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{main.settings.url}/sign-in")
    await page.goto(main.url)
    await page.wait_for_url(re.compile("/sign-in"))


async def refused_then_signed_in(page: Page, house: House) -> None:
    await page.goto(house.settings.url)
    await page.get_by_label("Email address").fill(house.email)
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Capitals count")
    await page.get_by_label("Password").fill(house.password)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(house.url)
    await expect(page.get_by_text("Nothing is set up yet.")).to_be_visible()


async def adds_a_domain(page: Page, house: House) -> None:
    await page.get_by_role("link", name="Add a domain").click()
    await page.get_by_role("link", name="Add domain").click()
    await page.get_by_role("textbox", name="Domain").fill("brotzeit")
    await page.get_by_role("button", name="Add domain").click()
    await expect(page.locator("#name-error")).to_be_visible()
    await page.get_by_role("textbox", name="Domain").fill(DOMAIN)
    await page.get_by_role("button", name="Add domain").click()
    await page.wait_for_url(f"{house.url}/domains/{DOMAIN}")
    await page.get_by_role("button", name="Check now").click()
    await expect(page.locator(".title-row")).to_contain_text("Missing")


async def makes_a_campaign_too_early(page: Page) -> str:
    """Impatient: nothing a campaign needs is there. Returns the path of the draft."""
    await page.get_by_role("link", name="Campaigns").click()
    await page.get_by_role("link", name="New campaign").click()
    await page.get_by_role("button", name="Save and check").click()
    await expect(page.locator("#name-error")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("Stollen")
    await page.get_by_label("Sender’s name").fill("Brotzeit")
    await expect(page.get_by_label("Sender’s address")).to_have_value(f"news@{DOMAIN}")
    await page.get_by_role("button", name="Save and check").click()
    await page.wait_for_url(re.compile(r"/campaigns/\d+/check$"))
    to_fix = page.locator("section", has=page.get_by_role("heading", name="Fix before sending"))
    await expect(to_fix.get_by_text(f"The DNS records of {DOMAIN} are not in place yet")).to_be_visible()
    await expect(to_fix.get_by_text("The campaign has no template")).to_be_visible()
    await expect(to_fix.get_by_text("The campaign goes to nobody")).to_be_visible()
    send = page.get_by_role("button", name="Send")
    await expect(send).to_have_attribute("aria-disabled", "true")
    await expect(page.get_by_text("3 things are left to fix.")).to_be_visible()
    draft = re.sub(r"/check$", "", page.url)
    await to_fix.get_by_role("link", name="Open domain").click()
    return draft


async def publishes_the_records(page: Page, house: House) -> None:
    await page.wait_for_url(f"{house.url}/domains/{DOMAIN}")
    shown = await records_shown(page)
    assert {"SPF", "DKIM1", "DMARC1"} <= {
        found for r in shown for found in re.findall(r"SPF|DKIM1|DMARC1", r["value"].upper())
    }
    client.publish(house.settings, shown)
    await page.get_by_role("button", name="Check now").click()
    await expect(page.locator(".title-row")).to_contain_text("Correct")
    await page.get_by_role("link", name="Home").click()
    await expect(page.get_by_text("DNS records are in place")).to_be_visible()


async def imports_customers(page: Page, house: House, folder: Path) -> None:
    write_customers(folder / "Kunden.csv")
    await page.get_by_role("link", name="Import contacts").click()
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator("#file-error")).to_have_text("Choose a file first.")
    await page.get_by_label("File").set_input_files(folder / "Kunden.csv")
    await page.get_by_label("Put them on a new list").fill("Customers")
    await page.get_by_role("button", name="Import").click()
    await expect(page.get_by_text("Imported to “Customers”")).to_be_visible()  # without a reload
    assert await number_beside(page, "New contacts") == GOOD
    assert await number_beside(page, "Refused") == 5
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download all").click()
    download = await coming.value
    await download.save_as(folder / "refused.csv")
    text = (folder / "refused.csv").read_text(encoding="utf-8-sig")
    refused = list(csv.reader(text.splitlines()))
    assert len(refused) == 6, text
    for reason in ("no address", "@-sign", "4 cells", "UTF-8", "in the file already"):
        assert reason in text, text


async def writes_a_template(page: Page, draft: str) -> None:
    await page.get_by_role("link", name="Home").click()
    await page.get_by_role("link", name="Write a template").click()
    await page.get_by_label("Name", exact=True).fill("Stollen")
    await page.get_by_label("Written in").select_option("html")
    await page.get_by_label("Subject", exact=True).fill("{{ contact.first_name }}, the stollen is here")
    await page.get_by_label("Mail", exact=True).fill(BROKEN)
    await expect(page.locator("#preview")).to_contain_text("Line 3:")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#source-error")).to_contain_text(
        "ine 3"
    )  # refused, and nothing that was written is lost
    await expect(page.get_by_label("Mail", exact=True)).to_have_value(BROKEN)
    await page.get_by_label("Mail", exact=True).fill(WITHOUT_EXIT)
    mail = page.frame_locator("iframe[title='Preview of the mail']")
    await expect(mail.get_by_role("heading", name="Good morning Mia")).to_be_visible()
    await expect(page.locator("#preview")).to_contain_text("Mia, the stollen is here")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.goto(f"{draft}/edit")
    await page.get_by_label("Mail", exact=True).select_option("Stollen")
    await page.get_by_label("Customers").check()
    await expect(page.locator("#reach")).to_contain_text(f"{GOOD} people")
    await page.get_by_role("button", name="Save and check").click()
    await expect(page.get_by_text("The mail has no unsubscribe link")).to_be_visible()
    await expect(page.get_by_text("1 thing is left to fix.")).to_be_visible()
    await page.get_by_role("link", name="Open template").click()
    await page.get_by_label("Mail", exact=True).fill(WITH_EXIT)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()


async def sends(page: Page, house: House, draft: str) -> None:
    await page.goto(f"{draft}/check")
    await page.get_by_role("button", name=f"Send to {GOOD} people…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"{GOOD} people on Customers will get it, each once")
    # From the page's first moment on: a slow browser must not miss how the figure grows.
    await page.add_init_script(
        """window.seen = []; addEventListener("DOMContentLoaded", () => { const look = () => {
             const shown = document.querySelector(".text-3xl")?.textContent;
             if (shown && seen.at(-1) !== shown) seen.push(shown); };
           new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
           look(); });"""
    )
    await dialog.get_by_role("button", name=f"Send to {GOOD} people").click()
    await page.wait_for_url(f"{draft}/progress")
    await page.evaluate("window.sameDocument = true")
    await expect(page.locator(".title-row")).to_contain_text("Sent", timeout=furniture.PATIENCE * 1000)
    assert await page.evaluate("window.sameDocument"), "the page was never loaded again"
    seen = await page.evaluate("window.seen")
    assert len(seen) > 1, seen
    assert seen[-1] == str(GOOD), seen
    assert [int(n.replace(",", "")) for n in seen] == sorted(int(n.replace(",", "")) for n in seen), seen
    await expect(page.locator("[data-live-note]:visible")).to_have_count(0)


async def adds_a_mailbox(page: Page, house: House) -> None:
    await page.get_by_role("link", name="Mailboxes").click()
    await page.get_by_role("link", name="Add mailbox").click()
    await page.get_by_label("Address").fill("ben")
    await page.get_by_label("Name", exact=True).fill("Ben Vogel")
    await page.get_by_role("button", name="Add mailbox").click()
    await expect(page.get_by_role("heading", name=f"ben@{DOMAIN} is ready")).to_be_visible()
    password = await page.locator(".copy code").nth(1).inner_text()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with imaplib.IMAP4_SSL("127.0.0.1", house.settings.port["imaps"], ssl_context=context, timeout=60) as imap:
        assert imap.login(f"ben@{DOMAIN}", password)[0] == "OK"
    await page.get_by_role("link", name="Done").click()
    await expect(page.get_by_role("heading", name="Ben Vogel")).to_be_visible()
    assert password not in await page.content()


async def reads_the_report(page: Page, house: House, draft: str) -> None:
    """When all has calmed down, every figure is what the receivers and readers did."""
    assert client.wait_until_quiet(house.settings, furniture.PATIENCE)
    number = int(draft.rpartition("/")[2])
    truth = client.truth(house.settings, campaign=number, expected=customers(), dkim=False)
    assert (truth.missing, truth.duplicates, truth.unexpected) == (0, 0, 0), truth.samples
    await page.goto(f"{draft}/report")

    async def agrees() -> bool:
        await page.reload()
        return await report(page) == expected_report(truth)

    try:
        await furniture.eventually("the report says what happened", agrees)
    except AssertionError:
        assert await report(page) == expected_report(truth)
    assert min(expected_report(truth).values()) > 0, "every kind of thing has happened"
    await page.get_by_role("link", name="Home").click()
    await expect(page.get_by_role("link", name="Stollen")).to_be_visible()
