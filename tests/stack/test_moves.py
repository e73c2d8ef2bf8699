"""Mailboxes moved here from a second, real Dovecot: whole, once, with nothing changed over there."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from itertools import count
from typing import Any

import pytest
from imapclient import IMAPClient
from otherserver import PASSWORD, OtherServer, other_server
from psycopg.types.json import Jsonb
from stackworld import APOSTROPHE, UNDERSCORE, XAVER, trusting
from stackworld import PASSWORD as OURS

from thurn.db.connect import Connection, connect
from thurn.mailhost import app_passwords
from thurn.moves import service
from thurn.moves.ledger import Ledger, Noted
from thurn.moves.runner import Runner
from thurn.moves.service import Source
from thurn.settings import Settings
from thurn.stack.open_sessions import lingers

MAIL = "From: a@old.example\r\nTo: b@old.example\r\nSubject: {0}\r\nMessage-ID: <{0}@old.example>\r\n\r\nHello {0}\r\n"
AWKWARD: dict[str, list[tuple[bytes, str]]] = {
    "INBOX": [
        (MAIL.format("one").encode(), r"(\Seen \Answered $Forwarded)"),
        (MAIL.format("twin").encode(), ""),
        (MAIL.format("twin").encode(), ""),  # twice the same: both are somebody's
        (b"Subject: no line at the end", r"(\Flagged)"),
        (b"Subject: bare\nline\nfeeds\n\nand \x80\xff bytes, . alone:\n.\nFrom here\n", ""),
        (b"\r\nno header at all", r"(\Deleted)"),
        (b"Subject: =?utf-8?q?=C3=84?=\r\n\r\n" + b"x" * 300_000, r"(\Draft Etikett1)"),
    ],
    "Gesendete Objekte": [(MAIL.format("sent").encode(), r"(\Seen)")],
    "Entw&APw-rfe": [(MAIL.format("draft").encode(), r"(\Draft)")],
    "Papierkorb": [(MAIL.format("bin").encode(), "")],
    "Kunden/M&APw-ller &- S&APY-hne/Rechnungen 2.0": [(MAIL.format("invoice").encode(), "")],
    "&ZeVnLIqe-": [(MAIL.format("japan").encode(), "")],
    "Alle": [(MAIL.format("shown again").encode(), "")],
    "empty": [],
}


@pytest.fixture(scope="module")
def other(stack: Settings) -> Iterator[OtherServer]:
    with other_server() as server:
        server.fill("alt", AWKWARD)
        server.fill("viel", {"INBOX": [(MAIL.format(f"m{n}").encode(), "") for n in range(300)],
                             "Zwei": [(MAIL.format("twin").encode(), "") for n in range(20)]})  # fmt: skip
        yield server


@pytest.fixture
async def db(stack: Settings) -> AsyncIterator[Connection]:
    async with await connect(stack, "system", autocommit=True) as connection:
        await connection.execute("SELECT set_config('thurn.workspace', '1', false)")
        yield connection
        await connection.execute("DELETE FROM mailbox_move")


def here(stack: Settings, address: str) -> IMAPClient:
    client = IMAPClient("localhost", stack.port["imaps"], ssl_context=trusting(stack))
    client.normalise_times = False
    client.login(address, OURS)
    return client


def folders(client: IMAPClient) -> list[str]:
    return [name for flags, _, name in client.list_folders() if not {b"\\Noselect", b"\\NonExistent"} & set(flags)]


def all_of(client: IMAPClient) -> dict[str, list[tuple[bytes, set[bytes], str]]]:
    found: dict[str, list[tuple[bytes, set[bytes], str]]] = {}
    for name in folders(client):
        client.select_folder(name, readonly=True)
        fetched = client.fetch(client.search(), ["BODY.PEEK[]", "FLAGS", "INTERNALDATE"])
        found[name] = [
            (m[b"BODY[]"], set(m[b"FLAGS"]) - {b"\\Recent"}, m[b"INTERNALDATE"].astimezone(UTC).isoformat())
            for _, m in sorted(fetched.items())
        ]
    return found


def wipe(stack: Settings, address: str) -> None:
    with here(stack, address) as client:
        for name in folders(client):
            client.select_folder(name)
            client.delete_messages(client.search())
            client.expunge()


def source(other: OtherServer, user: str = "alt", **more: Any) -> Source:
    return Source(**{"host": "127.0.0.1", "port": other.port, "login": user, "password": PASSWORD,
                     "fingerprint": other.fingerprint, **more})  # fmt: skip


async def finished(stack: Settings, db: Connection, number: int) -> dict[str, Any]:
    await Runner(stack).one(number)
    return await service.get(db, number)


async def test_everything_comes_over_as_it_was_and_nothing_changes_there(
    stack: Settings, db: Connection, other: OtherServer
) -> None:
    wipe(stack, XAVER)
    before = other.contents("alt")
    number = await service.start(db, 1, address=XAVER, source=source(other), settings=stack)
    move = await finished(stack, db, number)
    assert (move["state"], move["reason"]) == ("done", "")
    assert (move["messages_done"], move["messages_left"]) == (12, 0)
    assert (move["folders_done"], move["folders_total"]) == (7, 7)
    assert other.contents("alt") == before, "not even \\Recent"
    with here(stack, XAVER) as client:
        got = all_of(client)
        subscribed = {name for _, _, name in client.list_sub_folders()}
    wanted = {
        "INBOX": "INBOX", "Gesendete Objekte": "Sent", "Entw&APw-rfe": "Drafts", "Papierkorb": "Trash",
        "Kunden/M&APw-ller &- S&APY-hne/Rechnungen 2.0": "Kunden.Müller & Söhne.Rechnungen 2_0", "&ZeVnLIqe-": "日本語",
        "empty": "empty",
    }  # fmt: skip
    for there, name in wanted.items():
        bodies = [body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for body, _ in AWKWARD[there]]
        assert [body for body, _, _ in got[name]] == bodies, there
        flags = [set(text.encode().strip(b"()").split()) for _, text in AWKWARD[there]]
        assert [flag for _, flag, _ in got[name]] == flags, there
        assert all(dated.startswith("2020-02-29") for _, _, dated in got[name])
        assert name in subscribed
    (left,) = await service.problems(db, number)
    assert left["folder"] == "Alle"
    row = await (await db.execute("SELECT password FROM mailbox_move")).fetchone()
    assert row == {"password": None}
    row = await (await db.execute("SELECT count(*) AS n FROM app_password WHERE scope = 'import'")).fetchone()
    assert row == {"n": 0}

    # Once more: only what is new over there comes.
    other.fill("alt", {"INBOX": [(MAIL.format("late").encode(), "")]})
    assert await service.start(db, 1, address=XAVER, source=source(other), settings=stack) == number
    move = await finished(stack, db, number)
    assert (move["state"], move["messages_done"]) == ("done", 13)
    assert len(await service.problems(db, number)) == 1


async def test_a_worker_killed_again_and_again_moves_each_message_once(
    stack: Settings, db: Connection, other: OtherServer
) -> None:
    wipe(stack, UNDERSCORE)
    number = await service.start(db, 1, address=UNDERSCORE, source=source(other, "viel"), settings=stack)
    code = (
        "import asyncio; from thurn.settings import load_settings; from thurn.moves.runner import Runner; "
        "asyncio.run(Runner(load_settings()).run())"
    )
    environment = {**os.environ, "THURN_STATE": str(stack.state)}
    for quarter in (1, 2, 3, 4):
        worker = subprocess.Popen([sys.executable, "-c", code], env=environment)
        deadline = time.monotonic() + 180
        while True:
            move = await service.get(db, number)
            if move["state"] == "done" or (quarter < 4 and move["messages_done"] >= 70 * quarter):
                break
            assert time.monotonic() < deadline, move
            await asyncio.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert move["state"] == "done"
    assert (move["messages_done"], move["messages_left"]) == (320, 0)
    with here(stack, UNDERSCORE) as client:
        got = all_of(client)
    assert Counter(body for body, _, _ in got["INBOX"]) == Counter(MAIL.format(f"m{n}").encode() for n in range(300))
    assert len(got["Zwei"]) == 20


async def test_a_message_that_was_stored_and_not_ticked_off_is_found_again(
    stack: Settings, db: Connection, other: OtherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wipe(stack, UNDERSCORE)
    number = await service.start(db, 1, address=UNDERSCORE, source=source(other, "alt"), settings=stack)
    ticked = []

    def tick(self: Ledger, folder: str, uid: int, size: int) -> None:
        ticked.append(uid)
        if len(ticked) == 3:  # the second twin: the first, word for word the same, is here already
            raise KeyboardInterrupt
        original(self, folder, uid, size)

    original = Ledger.tick
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "tick", tick)
        with pytest.raises(KeyboardInterrupt):
            await Runner(stack).one(number)
    move = await finished(stack, db, number)
    while move["state"] == "running":  # PostgreSQL has not noticed yet that the first run is gone, and keeps its lock
        move = await finished(stack, db, number)
    assert (move["state"], move["messages_left"]) == ("done", 0)
    with here(stack, UNDERSCORE) as client:
        assert [b"twin" in body for body, _, _ in all_of(client)["INBOX"]].count(True) == 2


async def test_a_full_mailbox_pauses_the_move_until_it_has_room(
    stack: Settings, db: Connection, other: OtherServer
) -> None:
    wipe(stack, APOSTROPHE)
    await db.execute("UPDATE mailbox SET quota_bytes = 200000 WHERE address = %s", [APOSTROPHE])
    try:
        number = await service.start(db, 1, address=APOSTROPHE, source=source(other), settings=stack)
        move = await finished(stack, db, number)
        assert (move["state"], "full" in move["reason"]) == ("paused", True)
        with pytest.raises(service.Conflict):
            await service.start(db, 1, address=APOSTROPHE, source=source(other), settings=stack)
    finally:
        await db.execute("UPDATE mailbox SET quota_bytes = 5368709120 WHERE address = %s", [APOSTROPHE])
    await service.resume(db, number)
    move = await finished(stack, db, number)
    assert move["state"] == "done"
    with here(stack, APOSTROPHE) as client:
        assert sum(map(len, all_of(client).values())) == move["messages_done"]


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"password": "wrong: secret7"}, "failed", "does not take this user name and password"),
        ({"fingerprint": ""}, "failed", "certificate of 127.0.0.1 is not valid"),
        ({"fingerprint": "0" * 64}, "failed", "another certificate"),
        ({"port": 1}, "waiting", "does not answer"),
    ],
)
async def test_what_does_not_work_is_said_and_no_secret_with_it(
    stack: Settings, db: Connection, other: OtherServer, change: dict[str, Any], state: str, reason: str
) -> None:
    number = await service.start(db, 1, address=XAVER, source=source(other, "leer", **change), settings=stack)
    move = await finished(stack, db, number)
    assert (move["state"], reason in move["reason"]) == (state, True), move
    assert "secret7" not in str(move)
    if state == "waiting":
        assert move["next_try_at"] is not None
        await service.cancel(db, number)
    row = await (await db.execute("SELECT password FROM mailbox_move WHERE id = %s", [number])).fetchone()
    assert row == {"password": None}


async def test_a_cancelled_move_stops_in_its_middle_and_keeps_what_is_here(
    stack: Settings, db: Connection, other: OtherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wipe(stack, UNDERSCORE)
    number = await service.start(db, 1, address=UNDERSCORE, source=source(other, "viel"), settings=stack)
    ticked, in_its_middle, cancelled = count(1), threading.Event(), threading.Event()

    def tick(self: Ledger, folder: str, uid: int, size: int) -> None:
        original(self, folder, uid, size)
        if next(ticked) == 10:
            in_its_middle.set()
            assert cancelled.wait(60)

    original = Ledger.tick
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "tick", tick)
        running = asyncio.create_task(Runner(stack).one(number))
        assert await asyncio.to_thread(in_its_middle.wait, 60)
        await service.cancel(db, number)
        cancelled.set()
        await asyncio.wait_for(running, 60)
    move = await service.get(db, number)
    assert (move["state"], move["messages_done"] < 320) == ("cancelled", True)
    with here(stack, UNDERSCORE) as client:
        assert sum(map(len, all_of(client).values())) == move["messages_done"]


async def test_what_an_earlier_run_sent_is_looked_for_when_its_session_is_over(
    stack: Settings, db: Connection, other: OtherServer
) -> None:
    """A killed worker's session may still be storing: looked for before, its message would come twice."""
    row = await (await db.execute("SELECT id FROM mailbox WHERE address = %s", [UNDERSCORE])).fetchone()
    assert row is not None
    number = await service.start(db, 1, address=UNDERSCORE, source=source(other, "leer"), settings=stack)
    _, secret = await app_passwords.create(db, 1, row["id"], name=f"Move {number}", scope="import", expires_at=None)
    noted = Noted("INBOX", 1, 1, "INBOX", 1, 1, "no such message")
    await db.execute("UPDATE mailbox_move SET appending = %s WHERE id = %s", [Jsonb(noted.json()), number])
    with IMAPClient("127.0.0.1", stack.port["webmail_imap"], ssl=False) as earlier:
        earlier.login(UNDERSCORE, secret)
        assert not lingers(stack, UNDERSCORE)
        running = asyncio.create_task(Runner(stack).one(number))
        while not await asyncio.to_thread(lingers, stack, UNDERSCORE):  # its password was revoked
            assert not running.done()
            await asyncio.sleep(0.05)
        assert not (await asyncio.wait({running}, timeout=3))[0]
    await asyncio.wait_for(running, 60)
    assert (await service.get(db, number))["state"] == "done"
