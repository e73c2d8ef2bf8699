"""How full a mailbox is, and emptying junk and trash, at the real Dovecot."""

import asyncio
import socket

import psycopg
import pytest
from stackworld import UNDERSCORE, imap, message, wait_for
from test_portal_filters import number_of

from thurn.db.connect import connect, conninfo
from thurn.mailhost import usage
from thurn.portal import storage
from thurn.settings import Settings

pytestmark = pytest.mark.stack


def test_junk_and_trash_are_counted_and_emptied_and_nothing_else(stack: Settings) -> None:
    address = "lager@brotzeit.example"  # of its own: other tests write to the mailboxes that are there
    with psycopg.connect(conninfo(stack, "system")) as db:
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               SELECT workspace_id, domain_id, %s, password_hash FROM mailbox WHERE address = %s""",
            [address, UNDERSCORE],
        )
    number = number_of(stack, address)
    with imap(stack, address) as client:
        for folder in ("Junk", "Junk", "Trash", "INBOX", "Archive"):
            client.append(folder, "", "", message("x" * 100))
    junk, trash = asyncio.run(storage.folders(stack, 1, number, address))
    assert (junk.name, junk.messages, trash.name, trash.messages) == ("Junk", 2, "Trash", 1)
    assert junk.octets > trash.octets > 100
    gone = asyncio.run(storage.empty(stack, 1, number, address))
    assert (gone.messages, gone.octets) == (3, junk.octets + trash.octets)
    assert [each.messages for each in asyncio.run(storage.folders(stack, 1, number, address))] == [0, 0]
    assert asyncio.run(storage.empty(stack, 1, number, address)).messages == 0
    with imap(stack, address) as client:
        assert client.select("INBOX")[1] == [b"1"]
        assert client.select("Archive")[1] == [b"1"]


def test_the_owner_is_told_once_that_it_is_nearly_full_and_again_when_it_fills_up_anew(stack: Settings) -> None:
    """Each step by what Dovecot itself counted."""
    address, subject = "voll@brotzeit.example", "Your mailbox is 9"
    with psycopg.connect(conninfo(stack, "system")) as db:
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash, quota_bytes)
               SELECT workspace_id, domain_id, %s, password_hash, 1000000 FROM mailbox WHERE address = %s""",
            [address, UNDERSCORE],
        )

    async def warn() -> int:
        async with await connect(stack, "system", autocommit=True) as db:
            return await usage.warn_due(db, stack)

    def told() -> int:
        with imap(stack, address) as client:
            client.select("INBOX")
            return len(client.search(None, "SUBJECT", f'"{subject}"')[1][0].split())

    def counted(least: int, most: int) -> None:
        def look() -> bool:
            with psycopg.connect(conninfo(stack, "system")) as db:
                row = db.execute("SELECT bytes_used FROM mailbox WHERE address = %s", [address]).fetchone()
            return row is not None and least <= (row[0] or 0) <= most

        wait_for(look)

    def fill(octets: int) -> None:
        with imap(stack, address) as client:
            client.append("Archive", "", "", message("x", "Brezn " * (octets // 6)))

    def empty() -> None:
        with imap(stack, address) as client:
            client.select("Archive")
            client.store("1:*", "+FLAGS", "(\\Deleted)")
            client.expunge()

    asyncio.run(warn())  # whoever else is nearly full is told now
    fill(850_000)
    counted(840_000, 890_000)
    assert (asyncio.run(warn()), told()) == (0, 0)
    fill(80_000)
    counted(900_000, 960_000)
    assert (asyncio.run(warn()), told()) == (1, 1)
    assert (asyncio.run(warn()), told()) == (0, 1)
    empty()
    counted(0, 50_000)
    fill(930_000)
    counted(900_000, 980_000)
    assert asyncio.run(warn()) == 0  # nobody looked while it was empty
    empty()
    counted(0, 50_000)
    assert asyncio.run(warn()) == 0
    fill(930_000)
    counted(900_000, 980_000)
    assert (asyncio.run(warn()), told()) == (1, 2)


def test_when_dovecot_is_away_that_is_said(stack: Settings) -> None:
    away = stack.model_copy()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away.__dict__["port"] = {**stack.port, "webmail_imap": nobody.getsockname()[1]}
        with pytest.raises(storage.Unreachable):
            asyncio.run(storage.folders(away, 1, number_of(stack, UNDERSCORE), UNDERSCORE))
