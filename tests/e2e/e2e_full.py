"""What a house in full use shows on its pages besides campaigns: put there as it would be after years."""

from datetime import UTC, datetime, timedelta

from e2e_house import House
from psycopg.types.json import Jsonb

from tests.feedback.reportworld import DAY, aggregate, record, tls
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one
from thurn.feedback.reports import upload
from thurn.feeds import service as feeds
from thurn.mailhost import aliases, app_passwords, box_import, bulk, forwards, rights
from thurn.mailhost.mailboxes import add_mailbox, get_mailbox, remove_mailbox


async def belongings(house: House, address: str) -> None:
    """All that a mailbox can have besides mail: other names, ways on, copies, app passwords, rights; and long ones."""
    domain = address.partition("@")[2]
    far = [f"a.rather.long.local.part.{n}@a-long-domain-name-of-somebody.example" for n in range(3)]

    async def work(db: Connection) -> None:
        number = (await get_mailbox(db, address))["id"]
        for alias in (f"hallo@{domain}", f"{'bestellungen.und.fragen' * 2}@{domain}", f"@{domain}"):
            await aliases.add(db, house.id, address=alias, target=address)
        await aliases.add(db, house.id, address=f"team@{domain}", target=far[0])
        await aliases.add(db, house.id, address=f"team@{domain}", target=address)
        await forwards.put(db, house.id, number, targets=far, keep_copy=True)
        for whose in (address, f"@{domain}"):
            await rights.add_copy(
                db, house.id, direction="received", address=whose, copy_to=far[1], outside=True, by=house.email
            )
        await rights.allow_sending(db, house.id, number, f"@{domain}")
        await app_passwords.create(db, house.id, number, name="Donaudampfschifffahrtsgesellschaftsrechner")
        await db.execute(
            "UPDATE mailbox SET bytes_used = quota_bytes * 0.94, messages_used = 21418, used_at = now() WHERE id = %s",
            [number],
        )

    await house.do(work)


async def many_boxes(house: House, domain: str) -> dict[str, int]:
    """A file of mailboxes that waits for a yes, and one that ended; and a mailbox that was removed."""
    name = f"{'bestellungen.und.fragen' * 2}.anderswo@{domain}"
    long = bulk.Wanted(2, name, "A Person with a Rather Long Name")
    wanted = [long, bulk.Wanted(3, "not an address at all, and long" * 4, problem="It has no @.")]

    async def work(db: Connection) -> dict[str, int]:
        await add_mailbox(db, house.id, address=name)
        await remove_mailbox(db, name)
        made = [
            await box_import.create(db, house.id, house.settings, filename="m" * 60 + ".csv", wanted=wanted)
            for _ in range(2)
        ]
        await box_import.cancel(db, made[1])
        return {"checked": made[0], "stopped": made[1]}

    return await house.do(work)


async def held(house: House, address: str) -> int:
    """Mails that are held for a mailbox, and a sender it blocks; the newest of them."""
    reasons = [{"name": name, "score": 6.0, "options": []} for name in ("DMARC_POLICY_REJECT", "URIBL_BLACK")]
    message = b"Content-Type: text/plain\r\n\r\nPay at https://bank.example/" + b"x" * 200 + b"\r\n"
    newest = 0
    async with await connect(house.settings, "system", autocommit=True) as db:
        for subject in ("", "Oven service, new dates", "Rechnung" + "s" * 90):
            row = await one(
                db,
                """INSERT INTO held_mail (workspace_id, mailbox_id, queue_id, mail_from, header_from, subject, score,
                     required, symbols, size, message)
                   SELECT workspace_id, id, 'Q', 'x@evil.example', 'accounts@a-very-long-name-of-a-shop.example', %s,
                     17.3, 15, %s, %s, %s FROM mailbox WHERE address = %s RETURNING id""",
                [subject, Jsonb(reasons), len(message), message, address],
            )
            newest = row["id"]
        await db.execute(
            """INSERT INTO spam_sender (workspace_id, domain_id, mailbox_id, verdict, sender)
               SELECT workspace_id, domain_id, id, 'block', 'somebody.who.writes@a-very-long-name-of-a-shop.example'
               FROM mailbox WHERE address = %s""",
            [address],
        )
    return newest


async def traced(house: House) -> int:
    """Mails to the bakery from strangers and to strangers, as the trace shows them; the one with the longest route."""
    async with await connect(house.settings, "system") as db:
        for number, (state, reply) in enumerate(_TRACED, 1):
            values = {"n": 900_000 + number, "w": house.id, "q": f"4Nl1Wk2bQHz{number}", "state": state, "reply": reply}
            await db.execute(
                """INSERT INTO trace_message (id, workspace_id, node, queue_id, at, ours, sender, message_id, size,
                     client_ip, client_name, login)
                   VALUES (%(n)s, %(w)s, 'main', %(q)s, now() - make_interval(mins => %(n)s - 900000), true,
                     'anna@bakery.example', '<' || %(q)s || '@bakery.example>', 20480, '203.0.113.7', 'pc.example.net',
                     'anna@bakery.example')""",
                values,
            )
            await db.execute(
                """INSERT INTO trace_recipient (id, workspace_id, trace_id, at, recipient, state, reply, changed_at)
                   SELECT id, workspace_id, id, at, 'a.rather.long.local.part.' || id || '@a-long-domain-name.example',
                     %(state)s, %(reply)s, now() FROM trace_message WHERE id = %(n)s""",
                values,
            )
            for what in (state, "told"):
                await db.execute(
                    """INSERT INTO trace_step (workspace_id, trace_id, recipient_id, at, what, relay, delay, reply)
                       SELECT workspace_id, id, CASE WHEN %(what)s <> 'told' THEN id END, now(), %(what)s,
                         CASE WHEN %(what)s <> 'told' THEN 'mx.a-long-domain-name.example[198.51.100.7]:25' ELSE '' END,
                         2.5,
                         CASE WHEN %(what)s = 'told' THEN 'delay 4Nl1Wk2bQHz9' ELSE %(reply)s END
                       FROM trace_message WHERE id = %(n)s""",
                    values | {"what": what},
                )
            await db.execute(
                """INSERT INTO spam_verdict (workspace_id, queue_id, action, score, required, symbols, mail_from,
                     header_from, rcpts, subject, message_id, ip, login, spf, dkim, dmarc, arc)
                   VALUES (%(w)s, %(q)s, 'no action', 1.4, 15, %(s)s, '', '', '{}', 'Order for Friday', '', '', '',
                     'pass', 'pass', 'pass', 'none')""",
                values | {"s": Jsonb([{"name": "MIME_GOOD", "score": -0.1}, {"name": "R_DKIM_ALLOW", "score": -0.2}])},
            )
    return 900_003


_TRACED = (
    ("delivered", "250 2.0.0 Ok: queued as 4Nl1Wk2bQHz"),
    ("deferred", "452 4.2.2 The email account that you tried to reach is over quota (in reply to RCPT TO command)"),
    ("bounced", "550 5.1.1 The email account that you tried to reach does not exist (in reply to RCPT TO command)"),
    ("refused", "550 5.1.1 <nobody@bakery.example>: Recipient address rejected: no such mailbox"),
    ("postponed", "450 4.7.1 Try again later"),
)


async def moved(house: House) -> int:
    """A move to the bakery's first mailbox that has ended and left something behind."""
    async with await connect(house.settings, "system") as db:
        row = await one(
            db,
            """INSERT INTO mailbox_move (workspace_id, mailbox_id, host, port, login, state, folders_total,
                 folders_done,
                 messages_total, messages_done, messages_left, bytes_done, started_at, finished_at)
               SELECT workspace_id, id, 'imap.a-rather-long-provider-name.example', 993,
                 'anna.with.a.rather.long.name@a-rather-long-provider-name.example', 'done', 12, 12, 31872, 31870, 2,
                 10415283200, now() - interval '3 hours', now()
               FROM mailbox WHERE workspace_id = %s ORDER BY id LIMIT 1 RETURNING id""",
            [house.id],
        )
        await db.execute(
            """INSERT INTO mailbox_move_problem (move_id, workspace_id, folder, uid, size, dated, reason)
               VALUES (%(move)s, %(w)s, '[Gmail]/All Mail', NULL, NULL, NULL,
                       'It only shows again what other folders hold.'),
                      (%(move)s, %(w)s, 'Kunden/Donaudampfschifffahrtsgesellschaft', 4711, 73400320, now(),
                       'It is larger than 50 MB.')""",
            {"move": row["id"], "w": house.id},
        )
        return int(row["id"])


async def fed(house: House) -> dict[str, int]:
    """A mailbox elsewhere that cannot be opened, and a service that calls."""

    async def work(db: Connection) -> dict[str, int]:
        host = "imap.a-rather-long-provider-name.example"
        new = feeds.New("Bounces at the old provider", "imap", "secret", host, 993, "bounces@bakery.example")
        box = await feeds.add(db, house.id, new, settings=house.settings)
        await db.execute(
            """UPDATE feed SET state = 'broken', reason = 'imap.a-rather-long-provider-name.example does not take this '
                 'user name and password. It says: [AUTHENTICATIONFAILED] Authentication failed.' WHERE id = %s""",
            [box],
        )
        hook = await feeds.add(db, house.id, feeds.New("Receipts by Postmark", "postmark"), settings=house.settings)
        await db.execute(
            "UPDATE feed SET state = 'ok', read_at = now(), taken = 41386, matched = 41002, refused = 2 WHERE id = %s",
            [hook],
        )
        return {"box": box, "hook": hook}

    return await house.do(work)


async def reported(house: House, domain: str) -> None:
    """Two weeks of DMARC and TLS reports on a domain: a sender that passes, one of whom nobody knows whose it is."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(1, 15):
        day = today - timedelta(days=back)
        known = record("198.51.100.1", 90 + back, dkim=domain, aligned="dkim", header_from=domain)
        unknown = record("203.0.113.66", 10 + back, header_from=domain)
        number = (day.timestamp() - DAY) // 86_400
        report = aggregate(known, unknown, domain=domain, report_id=f"r{back}", day=int(number))
        dates = {"start-datetime": day.isoformat(), "end-datetime": (day + timedelta(hours=23)).isoformat()}
        secure = tls(**{"report-id": f"t{back}", "date-range": dates}).replace(b"brotzeit.example", domain.encode())
        for raw in (report, secure):
            await house.do(lambda db, raw=raw: upload(db, raw))  # type: ignore[misc]


# Machines that send, in every state; they run nowhere.
MACHINES = """
INSERT INTO node (name, login, state, joined_at, seen_at, ended_at, able, hostname, roles, trouble, missing) VALUES
  ('out-of-the-way', NULL, 'joined', now() - interval '1 day', now() - interval '1 hour', NULL, false,
   'out-of-the-way.a-provider-with-a-long-name.machine.example', '{"out": "running", "sender": "failing"}',
   'The role sender does not run.', '{2001:db8:1234:5678:9abc:def0:1234:5678}'),
  ('expected', NULL, 'invited', NULL, NULL, NULL, false, '', '{}', '', '{}'),
  ('leaving', NULL, 'leaving', now(), now(), NULL, true, 'leaving.example', '{"out": "running"}', '', '{}'),
  ('gone', NULL, 'left', now(), now(), now(), false, 'gone.example', '{}', '', '{}'),
  ('lost', NULL, 'lost', now(), now() - interval '1 day', now(), false, 'lost.example', '{}', '', '{}');
UPDATE node SET login = 'thurn_node_' || name WHERE name IN ('out-of-the-way', 'leaving', 'gone', 'lost')
"""
OF_A_MACHINE = """
WITH c AS (INSERT INTO campaign (workspace_id, name, from_address, state)
           VALUES (1, 'To somebody with_a_very_long_word_in_the_name_of_the_campaign_' || repeat('x', 60),
                   'a@machine.example', 'paused') RETURNING id),
     l AS (INSERT INTO node_loss (node, workspace_id, campaign_id, delivery_id, was, again)
           SELECT 'lost', 1, c.id, 900000003, 'leased', true FROM c)
INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, lease, id)
SELECT c.id, 1, n, n || '@machine.example', 'other', s::delivery_state, %(life)s, 900000000 + n
FROM c, (VALUES (1, 'leased'), (2, 'handed_over'), (3, 'unknown')) x (n, s)
"""
