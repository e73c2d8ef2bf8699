"""Absence and sorting rules of the portal, obeyed by the real Dovecot, beside the owner's own script."""

import asyncio
import smtplib
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import date, datetime, timedelta
from email.header import Header
from typing import TypeVar

import psycopg
import pytest
from stackworld import (
    DOMAIN,
    RESI,
    STRANGER,
    XAVER,
    all_moved,
    fetch,
    imap,
    message,
    send,
    smtp,
    trusting,
    wait_for,
)

from thurn.db.connect import Connection, connect, conninfo
from thurn.portal import filters, managesieve
from thurn.portal.inner import door_key
from thurn.portal.jobs import publish_pending
from thurn.portal.sieve import Absence, Rule
from thurn.settings import Settings

pytestmark = pytest.mark.stack
T = TypeVar("T")


def number_of(stack: Settings, address: str) -> int:
    with psycopg.connect(conninfo(stack, "system")) as db:
        row = db.execute("SELECT id FROM mailbox WHERE address = %s", [address]).fetchone()
    assert row is not None
    return int(row[0])


def portal(stack: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """One transaction of the portal."""

    async def run() -> T:
        async with await connect(stack, "app") as db, db.transaction():
            await db.execute("SELECT set_config('thurn.workspace', '1', true)")
            return await work(db)

    return asyncio.run(run())


def keep(stack: Settings, address: str, *rules: Rule, absence: Absence | None = None) -> None:
    """Exactly these rules, and this absence."""
    mailbox_id = number_of(stack, address)

    async def work(db: Connection) -> None:
        for row in await filters.rules(db, mailbox_id):
            await filters.remove_rule(db, mailbox_id, row["id"])
        for rule in rules:
            await filters.add_rule(db, 1, mailbox_id, rule)
        await filters.put_absence(db, 1, mailbox_id, absence or Absence())
        await filters.publish(db, stack, mailbox_id)

    portal(stack, work)


@pytest.fixture
def bare(stack: Settings) -> Iterator[Settings]:
    """RESI without scripts that other tests left; afterwards she has no rules again."""

    async def forget_others() -> None:
        async with (
            door_key(stack, 1, number_of(stack, RESI)) as secret,
            managesieve.connected(stack.port["webmail_sieve"], RESI, secret) as server,
        ):
            await server.command(b'SETACTIVE ""')  # an active one cannot be deleted
            for name in await server.names():
                await server.delete(name)

    asyncio.run(forget_others())
    yield stack
    keep(stack, RESI)


def names(stack: Settings, address: str) -> dict[str, bool]:
    async def run() -> dict[str, bool]:
        async with (
            door_key(stack, 1, number_of(stack, address)) as secret,
            managesieve.connected(stack.port["webmail_sieve"], address, secret) as server,
        ):
            return await server.names()

    return asyncio.run(run())


def flags(stack: Settings, address: str, mark: str, folder: str = "INBOX") -> str:
    with imap(stack, address) as client:
        client.select(folder)
        (number,) = client.search(None, "SUBJECT", f'"{mark}"')[1][0].split()
        return str(client.fetch(number.decode(), "(FLAGS)")[1][0])


def a_day() -> date:
    """Today, which is not over before the test is."""

    def far_from_midnight() -> bool:
        now = datetime.now().astimezone()
        return (now + timedelta(minutes=2)).date() == now.date()

    wait_for(far_from_midnight, 180)
    return datetime.now().astimezone().date()


HOSTILE = 'quote " backslash \\ ${1} /* # ; stop; } ümläut 🥨'


def test_rules_file_mark_and_trash(bare: Settings) -> None:
    keep(
        bare, RESI,
        filters.checked("subject", "bill", "read", ""),
        filters.checked("subject", "bill", "folder", "Bürokram/Rechnungen"),
        filters.checked("from", "FRANZ", "trash", "", active=False),
        filters.checked("subject", HOSTILE, "folder", "Odd; stop }"),
        filters.checked("subject", "casino", "trash", ""),
        filters.checked("to", "you@", "read", ""),
    )  # fmt: skip
    bill = send(bare, STRANGER, RESI, subject="your bill")
    assert b"bill" in fetch(bare, RESI, bill, folder='"B&APw-rokram.Rechnungen"')
    assert "\\Seen" in flags(bare, RESI, bill, '"B&APw-rokram.Rechnungen"')
    assert fetch(bare, RESI, send(bare, STRANGER, RESI, subject="Casino"), folder="Trash")
    plain = send(bare, STRANGER, RESI, subject="hello")
    assert fetch(bare, RESI, plain)
    assert "\\Seen" in flags(bare, RESI, plain)
    assert names(bare, RESI) == {"thurn": False}
    keep(bare, RESI)
    assert names(bare, RESI) == {}


def test_text_of_people_is_never_sieve(bare: Settings) -> None:
    """Dovecot's own parser is the judge: what it takes files only what it should."""
    keep(bare, RESI, filters.checked("subject", HOSTILE, "folder", "Odd ; stop }"))
    assert fetch(bare, RESI, send(bare, STRANGER, RESI, subject="quote backslash stop"))
    mark = uuid.uuid4().hex
    text = message("x").replace(b"Subject: x", f"Subject: {Header(f'{HOSTILE} {mark}', 'utf-8').encode()}".encode())
    with smtp(bare) as client:
        client.sendmail(STRANGER, [RESI], text)
    assert fetch(bare, RESI, mark, folder='"Odd ; stop }"')


def test_a_rule_sends_a_copy_on(bare: Settings) -> None:
    keep(bare, RESI, filters.checked("subject", "for both", "forward", XAVER))
    mark = send(bare, STRANGER, RESI, subject="for both")
    assert fetch(bare, XAVER, mark)
    assert fetch(bare, RESI, mark)


def test_the_owners_own_script_goes_on_after_ours_and_stays_as_it_is(bare: Settings) -> None:
    own = 'require ["fileinto", "mailbox"];\r\nif header :contains "subject" "choir" { fileinto :create "Choir"; }\r\n'

    async def by_mail_program() -> None:
        async with (
            door_key(bare, 1, number_of(bare, RESI)) as secret,
            managesieve.connected(bare.port["webmail_sieve"], RESI, secret) as server,
        ):
            await server.put("roundcube", own)
            await server.command(b'SETACTIVE "roundcube"')

    asyncio.run(by_mail_program())
    try:
        keep(
            bare,
            RESI,
            filters.checked("subject", "solo", "folder", "Solo"),
            filters.checked("from", "franz", "read", ""),
        )
        assert names(bare, RESI) == {"thurn": False, "roundcube": True}
        assert fetch(bare, RESI, send(bare, STRANGER, RESI, subject="choir practice"), folder="Choir")
        assert fetch(bare, RESI, send(bare, STRANGER, RESI, subject="choir and solo"), folder="Solo")
        assert fetch(bare, RESI, send(bare, STRANGER, RESI, subject="neither"))
        keep(bare, RESI)
        assert names(bare, RESI) == {"roundcube": True}
    finally:

        async def tidy() -> None:
            async with (
                door_key(bare, 1, number_of(bare, RESI)) as secret,
                managesieve.connected(bare.port["webmail_sieve"], RESI, secret) as server,
            ):
                assert await server.get("roundcube") == own
                await server.command(b'SETACTIVE ""')
                await server.delete("roundcube")

        asyncio.run(tidy())


def answers(stack: Settings, subject: str) -> int:
    with imap(stack, XAVER) as client:
        client.select("INBOX")
        return len(client.search(None, "SUBJECT", f'"{subject}"')[1][0].split())


def write(stack: Settings, to: str, **headers: str) -> None:
    """A mail of XAVER's, as a server would bring it."""
    text = message(f"Are you there? {uuid.uuid4().hex}").replace(STRANGER.encode(), XAVER.encode())
    text = text.replace(b"you@brotzeit.example", to.encode())
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    with smtp(stack) as client:
        client.sendmail(XAVER, [to], extra.encode() + text)


def test_an_absence_answers_once_on_its_days_and_never_a_list(bare: Settings) -> None:
    today, day = a_day(), timedelta(days=1)
    subject = f"Away {uuid.uuid4().hex}"
    late, early = Absence(True, today + day, None, subject, "x", 7), Absence(True, None, today - day, subject, "x", 7)
    for away in (late, early):
        keep(bare, RESI, absence=away)
        mark = send(bare, XAVER, RESI)
        fetch(bare, RESI, mark)
    keep(bare, RESI, absence=Absence(True, today, today, subject, 'Gone fishing.\n.\n"Petri" \\o/ 🐟', 7))
    write(bare, RESI, List_Id="<fans.brotzeit.example>")
    write(bare, RESI, Auto_Submitted="auto-generated")
    write(bare, RESI, Precedence="bulk")
    write(bare, f"wirt@{DOMAIN}")  # an alias
    wait_for(lambda: answers(bare, subject) == 1)
    write(bare, RESI)  # the same person again
    last = send(bare, STRANGER, XAVER)
    fetch(bare, XAVER, last)
    wait_for(lambda: all_moved(bare))
    assert answers(bare, subject) == 1
    with imap(bare, XAVER) as client:
        client.select("INBOX")
        numbers = client.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
        text = client.fetch(numbers[0].decode(), "(RFC822)")[1][0][1]
    assert b"Gone fishing" in text
    assert b"Auto-Submitted: auto-replied" in text


def test_with_an_absence_in_webmail_as_well_people_get_one_answer_the_portals(bare: Settings) -> None:
    """Two scripts that answer: Dovecot takes the first and says nothing of the second."""
    ours, theirs = f"Ours {uuid.uuid4().hex}", f"Theirs {uuid.uuid4().hex}"
    own = f'require "vacation";\r\nvacation :days 1 :subject "{theirs}" :addresses "{RESI}" "Away";\r\n'

    async def in_webmail(*steps: bytes) -> None:
        async with (
            door_key(bare, 1, number_of(bare, RESI)) as secret,
            managesieve.connected(bare.port["webmail_sieve"], RESI, secret) as server,
        ):
            if steps[0]:
                await server.put("roundcube", own)
            else:
                await server.command(b'SETACTIVE ""')
                await server.delete("roundcube")
            for step in filter(None, steps):
                await server.command(step)

    log = bare.state / "log" / "imap.log"
    before = len(log.read_text(errors="replace"))
    asyncio.run(in_webmail(b'SETACTIVE "roundcube"'))
    try:
        keep(bare, RESI, absence=Absence(True, None, None, ours, "x", 7))
        for _ in range(2):
            mark = uuid.uuid4().hex
            text = message(mark).replace(STRANGER.encode(), XAVER.encode())
            with smtp(bare) as client:
                client.sendmail(XAVER, [RESI], text.replace(b"you@brotzeit.example", RESI.encode()))
            fetch(bare, RESI, mark)
        wait_for(lambda: answers(bare, ours) == 1)
        wait_for(lambda: all_moved(bare))
        assert (answers(bare, ours), answers(bare, theirs)) == (1, 0)
        yesterday = datetime.now().astimezone().date() - timedelta(days=1)
        keep(bare, RESI, absence=Absence(True, None, yesterday, ours, "x", 7))
        write(bare, RESI)
        wait_for(lambda: answers(bare, theirs) == 1)
        assert answers(bare, ours) == 1
        assert "Error: sieve" not in log.read_text(errors="replace")[before:]
    finally:
        asyncio.run(in_webmail(b""))


def test_when_dovecot_is_away_the_change_is_kept_and_taken_later(bare: Settings) -> None:
    mailbox_id = number_of(bare, RESI)
    away = bare.model_copy()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away.__dict__["port"] = {**bare.port, "webmail_sieve": nobody.getsockname()[1]}

        async def work(db: Connection) -> bool:
            await filters.add_rule(db, 1, mailbox_id, filters.checked("subject", "later", "folder", "Later"))
            return await filters.publish(db, away, mailbox_id)

        assert not portal(bare, work)
    assert portal(bare, lambda db: filters.pending(db, mailbox_id))
    assert names(bare, RESI) == {}
    assert asyncio.run(publish_pending(bare)) == 1
    assert not portal(bare, lambda db: filters.pending(db, mailbox_id))
    assert names(bare, RESI) == {"thurn": False}
    with psycopg.connect(conninfo(bare, "system")) as db:
        left = db.execute("SELECT count(*) FROM app_password WHERE name = 'Portal'").fetchone()
    assert left == (0,)


def test_a_secret_of_the_inner_door_opens_nothing_outside_and_is_gone_afterwards(bare: Settings) -> None:
    async def run() -> str:
        async with door_key(bare, 1, number_of(bare, RESI)) as secret:
            client = smtplib.SMTP_SSL("localhost", bare.port["submissions"], context=trusting(bare))
            with client, pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(RESI, secret)
            return secret

    secret = asyncio.run(run())

    async def again() -> None:
        async with managesieve.connected(bare.port["webmail_sieve"], RESI, secret):
            pass

    with pytest.raises(managesieve.Unreachable):
        asyncio.run(again())
