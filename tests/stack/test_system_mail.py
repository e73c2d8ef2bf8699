"""What Thurn writes itself, on its way through the real `out`."""

import asyncio
from email import message_from_bytes
from email.policy import default

import dkim
import pytest
from stackworld import DOMAIN, RESI, Outside, fetch, wait_for

from thurn.db.connect import connect
from thurn.mail.system import send
from thurn.mailhost.keys import make_keys
from thurn.settings import Settings

pytestmark = pytest.mark.stack


async def _send(settings: Settings, recipient: str, subject: str, text: str) -> dict[str, bytes]:
    """Write, in the name of the tests' domain, which gets keys where it has none; returns the keys' records."""
    async with await connect(settings, "system", autocommit=True) as db:
        found = await (await db.execute("SELECT id FROM domain WHERE name = %s", [DOMAIN])).fetchone()
        assert found is not None
        query = "SELECT selector, algorithm, public_key FROM dkim_key WHERE domain_id = %s AND state = 'active'"
        if not await (await db.execute(query, [found["id"]])).fetchone():
            await make_keys(db, 1, domain_id=found["id"], domain=DOMAIN, settings=settings, state="active")
        await send(db, settings, 1, [recipient], subject=subject, text=text)
        rows = await (await db.execute(query, [found["id"]])).fetchall()
    return {
        f"{r['selector']}._domainkey.{DOMAIN}.": f"v=DKIM1; k={r['algorithm'].partition('-')[0]}; p={r['public_key']}"
        .encode() for r in rows
    }  # fmt: skip


def test_an_alert_to_the_world_is_signed_twice_for_its_from(stack: Settings, outside: Outside) -> None:
    subject, text = "DNS of brötchen.example broke – “SPF”", "Grüß Gott.\n.\nFrom here: " + "long " * 300
    records = asyncio.run(_send(stack, "boss@far.example", subject, text))
    wait_for(lambda: outside.received)
    sender, recipients, raw = outside.received[-1]
    assert sender == f"b.e1.other.system@bounce.{DOMAIN}"
    assert recipients == ["boss@far.example"]
    mail = message_from_bytes(raw, policy=default)
    assert mail["Subject"] == subject
    assert mail["From"] == f"Thurn <thurn@{DOMAIN}>"
    assert mail.get_content().split() == text.split()
    assert raw.count(b"DKIM-Signature:") == 2
    for index in (0, 1):
        assert dkim.DKIM(raw).verify(idx=index, dnsfunc=lambda name, **_: records.get(name.decode()))


def test_an_alert_to_a_mailbox_here_arrives_without_dns(stack: Settings) -> None:
    asyncio.run(_send(stack, RESI, "local alert 4711", "Look at your records."))
    assert b"Look at your records" in fetch(stack, RESI, "local alert 4711")
