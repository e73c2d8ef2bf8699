"""The limit of a day: recipients are counted, and who is over it learns when it works again."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from thurn.db.connect import Connection, make_pool
from thurn.guard import socketmap
from thurn.mail.srs import Srs
from thurn.mailhost import mailboxes, sending
from thurn.settings import Settings

ANNA = "anna@brotzeit.example"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("people")


def question(recipients: str, *, login: str = ANNA, stage: str = "END-OF-MESSAGE") -> dict[str, str]:
    return {"protocol_state": stage, "sasl_username": login, "recipient_count": recipients, "sender": ANNA}


@pytest.mark.parametrize(
    ("sent", "limit", "recipients", "minutes"),
    [([(0, 5)], 5, 1, 0), ([(0, 2), (10, 3)], 5, 1, 0), ([(0, 2), (10, 3)], 5, 3, 10), ([(0, 5), (60, 1)], 5, 5, 60),
     ([(0, 3), (5, 3)], 4, 1, 0)],
)  # fmt: skip
def test_it_works_again_when_enough_is_a_day_old(
    sent: list[tuple[int, int]], limit: int, recipients: int, minutes: int
) -> None:
    day = [{"at": NOON + timedelta(minutes=at), "recipients": n} for at, n in sent]
    assert sending.free_at(day, limit, recipients) == NOON + timedelta(days=1, minutes=minutes)


async def test_parallel_questions_do_not_pass_the_limit_together(clean: Settings, system: Connection) -> None:
    await system.execute("UPDATE mailbox SET send_limit = 50")
    async with make_pool(clean, "system", size=8) as pool:
        answers = await asyncio.gather(*(sending.check(pool, clean, question("7")) for _ in range(20)))
    assert answers.count("DUNNO") == 7
    assert {words.split()[0] for words in answers} == {"DUNNO", "452"}
    alerts = await (await system.execute("SELECT level, subject FROM alert")).fetchall()
    assert alerts == [{"level": "warn", "subject": f"{ANNA} has reached its sending limit"}]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (question("1"), "DUNNO"),
        (question("1", stage="RCPT"), "DUNNO"),
        (question("1", login=""), "DUNNO"),
        (question("", login=ANNA.upper()), "DUNNO"),
        (question("9" * 50), "DUNNO"),
        (question("-5"), "DUNNO"),
        (question("501"), "550"),
        (question("999999999"), "550"),
        (question("1", login="nobody@brotzeit.example"), "550"),
        (question("1", login="' OR 1=1 --"), "550"),
        ({}, "DUNNO"),
    ],
)
async def test_hostile_questions_get_an_answer(clean: Settings, asked: dict[str, str], answered: str) -> None:
    async with make_pool(clean, "system", size=1) as pool:
        assert (await sending.check(pool, clean, asked)).split()[0] == answered


async def test_who_receives_only_hands_in_nothing(clean: Settings, system: Connection) -> None:
    await system.execute("UPDATE mailbox SET may_send = false")
    async with make_pool(clean, "system", size=1) as pool:
        assert "receives only" in await sending.check(pool, clean, question("1"))


async def test_yesterday_does_not_count(clean: Settings, system: Connection) -> None:
    await system.execute("UPDATE mailbox SET send_limit = 5")
    async with make_pool(clean, "system", size=1) as pool:
        assert await sending.check(pool, clean, question("5")) == "DUNNO"
        assert (await sending.check(pool, clean, question("1"))).startswith("452")
        await system.execute("UPDATE mailbox_sent SET at = at - interval '1 day'")
        assert await sending.check(pool, clean, question("5")) == "DUNNO"
    rows = await (await system.execute("SELECT recipients FROM mailbox_sent")).fetchall()
    assert rows == [{"recipients": 5}], "what is older is not kept"


async def test_the_alert_closes_when_its_day_is_over_and_there_is_room(clean: Settings, system: Connection) -> None:
    async def still_open() -> list[str]:
        await sending.close_alerts(system)
        found = await (await system.execute("SELECT key FROM alert WHERE cleared_at IS NULL ORDER BY key")).fetchall()
        return [row["key"] for row in found]

    async def hours_pass(hours: int, which: str) -> None:
        await system.execute(f"UPDATE mailbox_sent SET at = at - make_interval(hours => %s) WHERE {which}", [hours])  # noqa: S608

    await system.execute("UPDATE mailbox SET send_limit = 5")
    await system.execute("INSERT INTO alert (workspace_id, key, subject, text) VALUES (1, 'mx-down', 'x', 'x')")
    async with make_pool(clean, "system", size=1) as pool:
        for recipients in ("3", "2", "1"):
            await sending.check(pool, clean, question(recipients))
        about = [f"send-limit {ANNA}"]
        assert await still_open() == ["mx-down", *about]
        await hours_pass(23, "true")
        assert await still_open() == ["mx-down", *about], "the day of the refusal is not over"
        await hours_pass(1, "refused")
        assert await still_open() == ["mx-down", *about], "five are counted still"
        await hours_pass(1, "recipients = 3")
        assert await still_open() == ["mx-down"]
        assert (await sending.check(pool, clean, question("4"))).startswith("452")
        assert await still_open() == ["mx-down", *about], "another day, another alert"
        await system.execute("DELETE FROM mailbox WHERE address = %s", [ANNA])
        assert await still_open() == ["mx-down"], "nobody can look at a mailbox that is gone"


@pytest.mark.parametrize(("limit", "closed"), [(3, False), (5, False), (6, True)])
async def test_a_higher_limit_answers_the_alert(
    clean: Settings, system: Connection, db: Connection, limit: int, closed: bool
) -> None:
    await system.execute("UPDATE mailbox SET send_limit = 5")
    async with make_pool(clean, "system", size=1) as pool:
        assert await sending.check(pool, clean, question("5")) == "DUNNO"
        assert (await sending.check(pool, clean, question("1"))).startswith("452")
    await mailboxes.update_mailbox(db, ANNA, send_limit=limit)
    row = await (await system.execute("SELECT cleared_at FROM alert")).fetchone()
    assert row is not None
    assert (row["cleared_at"] is not None) is closed


async def test_maps_of_return_addresses(clean: Settings) -> None:
    srs = Srs(b"key", "mail.thurn.example")
    async with make_pool(clean, "system", size=1) as pool:

        async def ask(text: str) -> str:
            return await socketmap.answer(pool, srs, text)

        away = (await ask("srs franz@elsewhere.example")).removeprefix("OK ")
        assert away.startswith("SRS0=")
        assert await ask(f"srs-back {away}") == "OK franz@elsewhere.example"
        assert await ask(f"srs-access {away}") == "NOTFOUND "
        assert (await ask(f"srs-access SRS0=x{away[5:]}")).startswith("OK 550 ")
        for stays in (ANNA, ANNA.upper(), f"b.e1.x@bounce.{ANNA[5:]}", "", "@", "\udc80@\udcff", "a\0b@c.example"):
            assert await ask(f"srs {stays}") in {"NOTFOUND ", "OK " + srs.forward(stays, socketmap._today())}
        assert await ask(f"srs {ANNA}") == "NOTFOUND "
        assert await ask("srs-back nobody@elsewhere.example") == "NOTFOUND "
        assert await ask("passwords root") == "PERM there is no such map"


async def test_what_is_no_netstring_ends_the_connection(clean: Settings) -> None:
    server = await socketmap.serve(clean)
    port = clean.port["guard_maps"]
    for sent in (b"x", b"99999999999:", b"-1:,", b"3:abc;", b"0:,", b"5:a\xff b,,", b"GET / HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        said = await asyncio.wait_for(reader.read(), 60)
        assert said in {b"", b"25:PERM there is no such map,"}
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"27:srs-access anna@far.example,")
    assert await asyncio.wait_for(reader.readuntil(b","), 60) == b"9:NOTFOUND ,"
    writer.close()
    server.close()
