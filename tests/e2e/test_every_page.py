"""Every page, empty and full, light and dark, from a phone to a desk: readable, and nothing to complain of."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import e2e_house as furniture
import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from e2e_house import House
from playwright.async_api import Page

from tests.mailhost.dnsworld import knot_serving
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one
from thurn.dns import publishing
from thurn.mailhost.service import add_domain, get_domain, remove_domain
from thurn.reputation.dnsbl import judge, lists
from thurn.reputation.watch import Subject, keep
from thurn.settings import Settings
from thurn.simulate import client
from thurn.simulate.links import find_links
from thurn.warmup import service as warmup

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (1440, 390, 320)  # a desk, a phone, and a desk at 400 %
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


# Colours fade into each other when the theme changes, an inherited one only when its parent has arrived:
# wait until nothing has moved for three frames.
SETTLED = """async () => {
  const moving = () => document.getAnimations().some(
    (each) => each.playState !== "finished" && each.effect.getComputedTiming().endTime !== Infinity);
  for (let calm = 0; calm < 3; calm = moving() ? 0 : calm + 1) await new Promise(requestAnimationFrame);
}"""


async def too_wide(page: Page) -> list[str]:
    """Where the page must be pushed sideways to be read."""
    found = []
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        if await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append(f"{page.url} at {width}")
    return found


async def complaints(page: Page, axe: Axe) -> list[str]:
    """What axe finds, in light and in dark; narrow as it is, and wide."""
    found = []
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light")):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.evaluate(SETTLED)
        result = await axe.run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
        for each in result.response["violations"]:
            nodes = [node["html"][:160] for node in each["nodes"]][:3]
            found.append(f"{page.url} {scheme} {width}: {each['id']} {nodes}")
    return found


async def walk(page: Page, urls: list[str]) -> list[str]:
    """Open each and collect what is wrong with it."""
    axe, found = Axe(), []
    for url in urls:
        answer = await page.goto(url)
        assert answer is not None
        if not answer.ok:
            found.append(f"{url}: {answer.status}")
            continue
        if "policy" not in " ".join(answer.headers):
            found.append(f"{url} has no content security policy")
        if await page.locator("h1").count() != 1:
            found.append(f"{url} has not one h1")
        found += await too_wide(page)
        found += await complaints(page, axe)
    return found


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


async def test_what_publishing_would_change_passes(main: House, window: Any):
    name = "brotzeit.example"
    with knot_serving() as knot:
        access = {"server": "127.0.0.1", "port": str(knot.port), "key_name": "thurn-key", "key_secret": knot.secret}

        async def furnish(db: Connection) -> None:
            await add_domain(db, main.id, name=name, settings=main.settings)
            await publishing.put(db, await get_domain(db, name), main.settings, provider="rfc2136", access=access)

        await main.do(furnish)
        try:
            page: Page = await window(main)
            at = f"{main.url}/domains/{name}/publish"
            assert await walk(page, [f"{at}?look=1", f"{at}?ask=forget"]) == []
            await page.goto(f"{at}?look=1")
            for heading in ("To create", "To replace", "By hand"):
                assert await page.get_by_role("heading", name=heading, level=2).is_visible()
        finally:
            await main.do(lambda db: remove_domain(db, name))


async def test_the_page_of_the_guard_passes_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/guard"
    assert await walk(page, [url]) == []
    await main.row(
        """WITH b AS (INSERT INTO guard_ban (client, cause, detail, until)
                      VALUES ('2001:db8:1:2::/64', 'sign-ins', '20 failed sign-ins', now() + interval '1 hour')),
                f AS (INSERT INTO guard_failure (client, login, mark, door)
                      SELECT '203.0.113.66', 'a.very.long.name.of.a.person.' || n || '@brotzeit.example', '', 'imap'
                      FROM generate_series(1, 9) n)
           INSERT INTO guard_allow (network, note) VALUES ('192.0.2.0/24', 'Our office') RETURNING 1 AS done"""
    )
    assert await walk(page, [url]) == []


async def test_the_list_of_those_suppressed_everywhere_passes_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/suppression"
    assert await walk(page, [url, f"{url}/add", f"{url}/import"]) == []
    row = await main.row(
        """INSERT INTO suppression (workspace_id, address, reason, evidence, source)
           VALUES (NULL, 'a.very.long.name.of.a.person.who.never@wants-mail-from-anybody-here.example', 'manual',
                   'Asked by phone', 'hand') RETURNING id"""
    )
    assert await walk(page, [url, f"{url}/{row['id']}?ask=remove"]) == []


async def test_the_pages_of_delivery_pass(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/delivery"
    await main.row(
        """WITH e AS (INSERT INTO egress (name, bind4, bind6, helo, enabled, checked_at, checks) VALUES
                        ('out2', '127.0.0.2', '2001:db8:1234:5678:9abc:def0:1234:5678', 'out2.with.a.long.name.example',
                         false, now(), '[{"level": "bad", "what": "192.0.2.22 has no reverse DNS.", "fix": "Set it."},
                                         {"level": "ok", "what": "This server has the address.", "fix": ""}]')
                      RETURNING id),
                p AS (INSERT INTO pool (name) VALUES ('newsletters') RETURNING id),
                m AS (INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM p, e),
                l AS (INSERT INTO provider_limit (egress_id, provider, connections) SELECT e.id, 'google', 2 FROM e),
                h AS (INSERT INTO hold (provider, reason) VALUES ('qq', 'A-reason-in-one-word-' || repeat('x', 200)))
           INSERT INTO pool_rule (stream, workspace_id, pool_id)
           SELECT 'marketing', 1, p.id FROM p RETURNING 1 AS done"""
    )
    paths = ("addresses", "addresses?ask=remove-out2", "addresses?ask=helo-out2", "pools", "providers", "queue")
    try:
        assert await walk(page, [f"{url}/{path}" for path in (*paths, "providers/google", "queue?ask=hold-all")]) == []
    finally:  # other tests send by this installation
        await main.row(
            """WITH p AS (DELETE FROM pool WHERE name = 'newsletters'), h AS (DELETE FROM hold)
               DELETE FROM egress WHERE name = 'out2' RETURNING 1 AS done"""
        )


async def test_the_pages_of_shaping_pass_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    at = f"{main.settings.url}/house/delivery"
    assert await walk(page, [at, f"{at}?ask=hold", f"{at}/rules/new", f"{at}/rules/try"]) == []
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    async with await connect(main.settings, "system", autocommit=True) as db:
        await db.execute(
            """WITH e AS (SELECT id, name FROM egress ORDER BY id LIMIT 1),
                s AS (INSERT INTO shaping_state (egress_id, provider, state)
                      SELECT id, 'gmx', jsonb_build_object('mode', 'suspended', 'factor', 0.5, 'until', %s::text,
                        'since', now(), 'reason', repeat('They block this address. ', 8), 'todo', 'Ask them.', 'link',
                        'https://postmaster.gmx.example/a/rather/long/address/of/a/form', 'evidence', repeat('x', 400))
                      FROM e),
                p AS (INSERT INTO pace (egress_id, provider, state, suspended_until)
                      SELECT id, 'gmx', 'suspended', now() + interval '2 hours' FROM e),
                d AS (INSERT INTO shaping_deed (egress_id, provider, rule, action, n, of, evidence)
                      SELECT id, 'gmx', 'gmx-blocked', 'move', 3, 9, '554 blocked' FROM e),
                r AS (INSERT INTO shaping_rule (name, action, "any", matches, differs)
                      VALUES ('our-own-rule', 'slow', '{blocked}', '554 blocked', '554 no'))
           INSERT INTO provider_answer (at, egress, provider, outcome, category, fingerprint, wording, reply, n)
           SELECT now(), name, 'gmx', 'bounced', 'policy-block', '', '554 blocked', '554 Blocked', 3 FROM e
           RETURNING 1 AS done""",
            [until],
        )
        pages = [at, f"{at}/rules?open=gmx-blocked", f"{at}/rules?ask=remove-our-own-rule", f"{at}/rules/try"]
        assert await walk(page, pages) == []
        for table in ("pace", "shaping_state", "shaping_rule", "provider_answer"):
            await db.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]  # noqa: S608


async def test_the_page_of_the_guard_over_campaigns_passes(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/delivery/guard"
    assert await walk(page, [url]) == []
    async with await connect(main.settings, "system", autocommit=True) as db:
        row = await one(
            db,
            """WITH w AS (INSERT INTO workspace (slug, name)
                          VALUES ('stopped', 'A-workspace-with-a-long-word-for-its-name')
                          RETURNING id)
               INSERT INTO sending_guard (workspace_id, paused_at, paused_why)
               SELECT id, now(), repeat('Two campaigns within seven days had to be paused. ', 4) FROM w
               RETURNING workspace_id AS id""",
        )
        try:
            assert await walk(page, [url, f"{url}?ask=lift-{row['id']}"]) == []
        finally:
            await db.execute("DELETE FROM workspace WHERE slug = 'stopped'")


async def test_the_page_of_reputation_passes_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/reputation"
    assert await walk(page, [url]) == []
    async with await connect(main.settings, "system", autocommit=True) as db:
        for subject, answers in (("192.0.2.7", ["127.0.0.2"]), ("2001:db8::1", ["127.255.255.254"])):
            of = lists()["spamhaus-zen"]
            await keep(db, Subject(subject), of, judge(of, answers))
        await db.execute(
            """INSERT INTO provider_answer (at, egress, provider, outcome, category, fingerprint, reply, n)
               VALUES (now(), 'e1', 'microsoft', 'bounced', 'reputation-block', 'x', %s, 40)""",
            [f"550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. {'x' * 80} (S3150)"],
        )
        await db.execute(
            """INSERT INTO provider_figure VALUES
                 ('google', 'brotzeit.example', now(), '{"spam_rate": 0.004, "auth_rate": 0.99}'),
                 ('microsoft', '192.0.2.7', now(), '{"filter": "red", "traps": 3, "recipients": 900}')"""
        )
    assert await walk(page, [url]) == []


async def test_the_pages_of_machines_pass_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/delivery/nodes"
    assert await walk(page, [url]) == []
    async with await connect(main.settings, "system", autocommit=True) as db:
        try:
            await db.execute(furniture.MACHINES)
            row = await (
                await db.execute("INSERT INTO sender_life (node) VALUES ('out-of-the-way') RETURNING id")
            ).fetchone()
            await db.execute(furniture.OF_A_MACHINE, {"life": (row or {})["id"]})
            at = f"{url}/out-of-the-way"
            pages = [url, at, f"{at}?ask=lost", f"{at}?ask=remove", f"{url}/expected", f"{url}/gone", f"{url}/lost"]
            assert await walk(page, [*pages, f"{main.settings.url}/house/delivery/addresses"]) == []
        finally:  # other tests send by this installation
            await db.execute("DELETE FROM campaign WHERE name LIKE 'To somebody%%'")
            await db.execute("DELETE FROM delivery WHERE recipient LIKE '%%@machine.example'")
            await db.execute("DELETE FROM node WHERE login IS NOT NULL OR state = 'invited'")
            await db.execute("DELETE FROM sender_life WHERE node = 'out-of-the-way'")


async def test_the_pages_of_relays_pass_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    url = f"{main.settings.url}/house/delivery/relays"
    assert await walk(page, [url, f"{url}/new", f"{url}/new?preset=ses"]) == []
    made = await main.row(
        """WITH e AS (INSERT INTO egress (name, kind) VALUES ('r7', 'relay') RETURNING id)
           INSERT INTO relay (egress_id, preset, host, port, security, checked_at, works, says, broken_until)
           SELECT id, 'ses', 'email-smtp.a-region-with-a-long-name.amazonaws.example', 587, 'starttls', now(), false,
                  'It does not take this user name and password: 535 Authentication Credentials Invalid.', now()
           FROM e RETURNING egress_id AS id"""
    )
    try:
        at = f"{url}/{made['id']}"
        assert await walk(page, [url, at, f"{at}?ask=remove"]) == []
    finally:
        await main.row("DELETE FROM egress WHERE name = 'r7' RETURNING id")


async def test_the_pages_of_warm_up_pass_empty_and_full(main: House, window: Any):
    page: Page = await window(main)
    at = f"{main.settings.url}/house/delivery/warmup"
    assert await walk(page, [at, f"{at}/when"]) == []
    async with await connect(main.settings, "system", autocommit=True) as db:
        await db.execute("INSERT INTO egress (name, bind4) VALUES ('out2', '127.0.0.2')")
        try:
            await warmup.start(db, "out2", who="a.very.long.name.of.an.operator@brotzeit.example")
            await db.execute("INSERT INTO pool (name) VALUES ('cold')")
            await db.execute(
                "INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e"
                " WHERE p.name = 'cold' AND e.name = 'out2'"
            )
            await db.execute(
                """WITH c AS (UPDATE day_cap SET sent = 31 WHERE provider IN ('google', 'yahoo', 'gmx')),
                        d AS (INSERT INTO warmup_day SELECT egress_id, provider, day, 300, 2, 3, 4
                              FROM warmup, sending_day() WHERE provider = 'yahoo')
                   UPDATE warmup SET state = 'paused', reason = repeat('They called it spam. ', 9)
                   WHERE provider = 'yahoo'"""
            )
            pages = [at, f"{at}?ask=stop-out2", f"{at}/out2/yahoo", f"{at}/out2/google?ask=stop"]
            assert await walk(page, [*pages, f"{at}/when?n=500000&pool=cold"]) == []
        finally:
            await db.execute("DELETE FROM pool WHERE name = 'cold'")
            await db.execute("DELETE FROM egress WHERE name = 'out2'")


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
