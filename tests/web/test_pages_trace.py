"""Pages of the message trace as a browser gets them: empty, full, with a stranger's text in every place."""

import httpx
import pytest
from page_check import check
from psycopg.types.json import Jsonb

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection

SignedInBrowser = tuple[httpx.AsyncClient, SignedInAs]
EVIL = "<script>alert(1)</script>\"'ä" + "x" * 300


async def seed(system: Connection) -> None:
    await system.execute(
        """INSERT INTO trace_message (id, workspace_id, node, queue_id, at, ours, sender, message_id, client_ip,
             client_name, helo, login)
           VALUES (1, 1, 'main', '4Nl1Wk2bQHz1', now(), true, 'anna@brotzeit.example', %(evil)s, '192.0.2.7',
             'pc.example', %(evil)s, 'anna@brotzeit.example')""",
        {"evil": EVIL},
    )
    for number, (state, reply) in enumerate(
        [
            ("delivered", "250 ok"), ("deferred", "452 4.2.2 mailbox full"), ("bounced", EVIL),
            ("refused", "550 5.1.1 no"), ("postponed", "450 4.7.1 later"),
        ], 1,
    ):  # fmt: skip
        await system.execute(
            """WITH r AS (
                 INSERT INTO trace_recipient
                   (id, workspace_id, trace_id, at, recipient, original, state, reply, changed_at)
                 VALUES (%(n)s, 1, 1, now(), %(to)s, %(to)s, %(state)s, %(reply)s, now()) RETURNING id, recipient),
               k AS (INSERT INTO trace_key SELECT 1, recipient, now(), id FROM r)
               INSERT INTO trace_step (workspace_id, trace_id, recipient_id, at, what, relay, delay, reply)
               SELECT 1, 1, id, now(), %(state)s, %(reply)s, 1.5, %(reply)s FROM r""",
            {"n": number, "to": f"p{number}{EVIL[:200]}@x.example", "state": state, "reply": reply},
        )
    for what in ("told", "expired", "removed"):
        await system.execute(
            "INSERT INTO trace_step (workspace_id, trace_id, at, what, reply) VALUES (1, 1, now(), %s, %s)",
            [what, EVIL],
        )
    await system.execute(
        """INSERT INTO spam_verdict (workspace_id, queue_id, action, score, required, symbols, mail_from, header_from,
             rcpts, subject, message_id, ip, login, spf, dkim, dmarc, arc)
           VALUES (1, '4Nl1Wk2bQHz1', 'add header', 7.5, 15, %s, '', '', '{}', %s, '', '', '', 'pass',
             'fail', '', '')""",
        [Jsonb([{"name": EVIL, "score": 7.5, "options": []}, {"name": "R_SPF_ALLOW"}]), EVIL],
    )


async def test_an_empty_trace_says_what_it_is_for(signed_in: SignedInBrowser) -> None:
    answer = await signed_in[0].get("/w/main/trace")
    assert answer.status_code == 200
    assert "No mail has come through yet" in answer.text
    check(answer.text)


@pytest.mark.parametrize(
    "path", ["", "?q=nobody@x.example", "?state=bounced&since=day", "?q=%00%F0%9F%92%A9&state=x&since=y", "/1"]
)
async def test_strangers_text_is_shown_as_text(signed_in: SignedInBrowser, system: Connection, path: str) -> None:
    await seed(system)
    answer = await signed_in[0].get(f"/w/main/trace{path}")
    assert answer.status_code == 200, answer.text
    assert "<script>alert" not in answer.text
    check(answer.text)


async def test_a_mail_shows_its_route_with_the_servers_words(signed_in: SignedInBrowser, system: Connection) -> None:
    await seed(system)
    text = (await signed_in[0].get("/w/main/trace/1")).text
    for words in ("Sent by anna@brotzeit.example", "Taken for spam, put into Junk", "452 4.2.2 mailbox full",
                  "Mailbox is full", "SPF", "Given up", "Its sender was told"):  # fmt: skip
        assert words in text, words


async def test_a_place_we_did_not_give_and_a_mail_that_is_not_there(signed_in: SignedInBrowser) -> None:
    for path, status in (("?after=x", 422), ("/99", 404), (f"/{2**70}", 404), ("/campaigns/1/1", 404)):
        assert (await signed_in[0].get(f"/w/main/trace{path}")).status_code == status, path


async def test_an_address_leads_to_the_campaigns_that_went_to_it(
    signed_in: SignedInBrowser, system: Connection
) -> None:
    await system.execute("INSERT INTO contact (workspace_id, email) VALUES (1, 'Eva@X.example')")
    await system.execute("INSERT INTO campaign (workspace_id, name, from_address) VALUES (1, 'Stollen', 'a@b.example')")
    await system.execute(
        """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state)
           VALUES (1, 1, 1, 'Eva@X.example', 'other', 'bounced')"""
    )
    await system.execute(
        """INSERT INTO event (at, workspace_id, campaign_id, delivery_id, contact_id, kind, detail)
           VALUES (now(), 1, 1, 1, 1, 'bounced', '{"reply": "550 5.1.1 nobody", "hard": true}')"""
    )
    found = (await signed_in[0].get("/w/main/trace?q=eva@x.example")).text
    assert '/w/main/trace/campaigns/1/1"' in found
    check(found)
    shown = (await signed_in[0].get("/w/main/trace/campaigns/1/1")).text
    assert "550 5.1.1 nobody" in shown
    check(shown)
