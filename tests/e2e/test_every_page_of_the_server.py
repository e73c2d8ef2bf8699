"""Every page of those who run the server, empty and full: readable, and nothing to complain of."""

from datetime import UTC, datetime, timedelta
from typing import Any

import e2e_full as full
from e2e_house import House
from e2e_looks import walk
from playwright.async_api import Page

from tests.mailhost.dnsworld import knot_serving
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one
from thurn.dns import publishing
from thurn.mailhost.service import add_domain, get_domain, remove_domain
from thurn.reputation.dnsbl import judge, lists
from thurn.reputation.watch import Subject, keep
from thurn.warmup import service as warmup


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
            await db.execute(full.MACHINES)
            row = await (
                await db.execute("INSERT INTO sender_life (node) VALUES ('out-of-the-way') RETURNING id")
            ).fetchone()
            await db.execute(full.OF_A_MACHINE, {"life": (row or {})["id"]})
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
