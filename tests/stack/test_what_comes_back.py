"""Replies and unsubscribes through the real daemons: Postfix takes them, Rspamd tells of them, `feedback` acts."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psycopg
import pytest
from stackworld import DOMAIN, RESI, STRANGER, XAVER, Outside, all_moved, fetch, message, smtp, wait_for

from thurn.db.connect import conninfo, make_pool
from thurn.feedback.lmtp import serve_lmtp
from thurn.feedback.matching import Tokens
from thurn.settings import Settings

pytestmark = pytest.mark.stack
BOUNCES = f"bounce.{DOMAIN}"


@dataclass(frozen=True)
class Sent:
    """A campaign mail that STRANGER has got, and the addresses in it."""

    campaign: int
    delivery: int
    verp: str
    leave: str
    message_id: str


@pytest.fixture
async def feedback_role(stack: Settings) -> AsyncIterator[None]:
    """The LMTP server of the role `feedback`, on the port that Postfix was told."""
    async with make_pool(stack, "system", size=2) as pool:
        server = await serve_lmtp(stack, pool)
        yield
        # Nobody is left in the middle of a session: Postfix would wait for minutes.
        await asyncio.to_thread(wait_for, lambda: all_moved(stack))
        server.close()


@pytest.fixture
def sent(stack: Settings) -> Sent:
    with psycopg.connect(conninfo(stack, "system")) as db:
        row = db.execute(
            """WITH c AS (INSERT INTO campaign (workspace_id, name, from_address, reply_to, state)
                          VALUES (1, 'May', %s, %s, 'sent') RETURNING id),
                    p AS (INSERT INTO contact (workspace_id, email) VALUES (1, %s) RETURNING id)
               INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state)
               SELECT c.id, 1, p.id, %s, 'other', 'delivered' FROM c, p RETURNING campaign_id, id""",
            [f"news@{DOMAIN}", XAVER, f"{uuid.uuid4().hex}@elsewhere.example", STRANGER],
        ).fetchone()
    assert row is not None
    tokens = Tokens.of(stack).verp
    local = tokens.local_part("e1", "other", *row)
    return Sent(*row, f"{local}@{BOUNCES}", f"{tokens.leave(*row)}@{BOUNCES}", f"{local.rpartition('.')[2]}@{DOMAIN}")


async def hand_in(stack: Settings, to: str, *header: str, sender: str = STRANGER) -> str:
    """Give `mx` a mail; returns the text to find it by."""
    mark = uuid.uuid4().hex
    mail = "".join(f"{line}\r\n" for line in header).encode() + message(f"Re: May {mark}", "Yes please, a secret")

    def run() -> None:
        with smtp(stack) as client:
            client.sendmail(sender, [to], mail)

    await asyncio.to_thread(run)
    return mark


def outcomes(stack: Settings, sent: Sent) -> list[str]:
    with psycopg.connect(conninfo(stack, "system")) as db:
        found = db.execute("SELECT kind FROM outcome WHERE campaign_id = %s ORDER BY id", [sent.campaign])
        return [row[0] for row in found.fetchall()]


async def test_a_reply_to_a_bounce_address_reaches_the_reply_to_mailbox_and_counts(
    stack: Settings, feedback_role: None, sent: Sent
) -> None:
    mark = await hand_in(stack, sent.verp)
    mail = await asyncio.to_thread(fetch, stack, XAVER, mark)
    assert b"a secret" in mail
    assert b"X-Thurn-Reply: forwarded by mail.thurn.example" in mail
    await asyncio.to_thread(wait_for, lambda: outcomes(stack, sent))  # committed after it was forwarded
    assert outcomes(stack, sent) == ["replied"]
    with psycopg.connect(conninfo(stack, "system")) as db:
        row = db.execute("SELECT effect, raw FROM incoming_report WHERE campaign_id = %s", [sent.campaign]).fetchone()
    assert row == (f"A reply. It was forwarded to {XAVER}.", None)
    # The mailbox's owner has it sent on to the bounce address again: it ends here.
    await hand_in(stack, sent.verp, "X-Thurn-Reply: forwarded by mail.thurn.example")
    await asyncio.to_thread(wait_for, lambda: all_moved(stack))
    assert outcomes(stack, sent) == ["replied"]


async def test_a_reply_to_be_forwarded_elsewhere_goes_under_a_return_address_of_ours(
    stack: Settings, feedback_role: None, outside: Outside, sent: Sent
) -> None:
    with psycopg.connect(conninfo(stack, "system")) as db:
        db.execute("UPDATE campaign SET reply_to = 'boss@far.example' WHERE id = %s", [sent.campaign])
    await hand_in(stack, sent.verp)
    await asyncio.to_thread(wait_for, lambda: outside.received)
    sender, recipients, mail = outside.received[0]
    assert recipients == ["boss@far.example"]
    assert sender.startswith("SRS0=")
    assert b"a secret" in mail


async def test_a_reply_to_a_mailbox_here_is_counted_by_its_references_and_an_absence_notice_is_not(
    stack: Settings, sent: Sent
) -> None:
    away = await hand_in(stack, RESI, f"In-Reply-To: <{sent.message_id}>", "Auto-Submitted: auto-replied")
    await asyncio.to_thread(fetch, stack, RESI, away)
    other = await hand_in(stack, RESI, "In-Reply-To: <aaaaaaaaaaaaaaaaaaaaaaaa@brotzeit.example>")
    await asyncio.to_thread(fetch, stack, RESI, other)
    mark = await hand_in(stack, RESI, f"References: <x@elsewhere.example>\r\n <{sent.message_id.upper()}>")
    await asyncio.to_thread(fetch, stack, RESI, mark)
    await asyncio.to_thread(wait_for, lambda: outcomes(stack, sent))
    assert outcomes(stack, sent) == ["replied"]


async def test_a_mail_to_the_unsubscribe_address_unsubscribes(stack: Settings, feedback_role: None, sent: Sent) -> None:
    await hand_in(stack, sent.leave)

    def gone() -> bool:
        with psycopg.connect(conninfo(stack, "system")) as db:
            row = db.execute(
                """SELECT unsubscribed_by = d.campaign_id FROM contact c JOIN delivery d ON d.contact_id = c.id
                   WHERE d.campaign_id = %s AND c.unsubscribed_at IS NOT NULL""",
                [sent.campaign],
            ).fetchone()
        return row == (True,)

    await asyncio.to_thread(wait_for, gone)
