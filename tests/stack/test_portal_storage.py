"""How full a mailbox is, and emptying junk and trash, at the real Dovecot."""

import asyncio
import socket

import psycopg
import pytest
from stackworld import UNDERSCORE, imap, message
from test_portal_filters import number_of

from thurn.db.connect import conninfo
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


def test_when_dovecot_is_away_that_is_said(stack: Settings) -> None:
    away = stack.model_copy()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away.__dict__["port"] = {**stack.port, "webmail_imap": nobody.getsockname()[1]}
        with pytest.raises(storage.Unreachable):
            asyncio.run(storage.folders(away, 1, number_of(stack, UNDERSCORE), UNDERSCORE))
