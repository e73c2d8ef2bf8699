"""The message trace from what real daemons log, and the rotation of their logs under traffic."""

import asyncio
import smtplib
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from stackworld import GTUBE, RESI, XAVER, Outside, fetch, message, send, signed_in, smtp, wait_for

from thurn.db.connect import Connection, connect
from thurn.settings import Settings
from thurn.stack.logrotate import rotate
from thurn.trace import search
from thurn.trace.reader import TraceReader
from thurn.trace.route import route
from thurn.trace.search import Wanted

Traced = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def traced(stack: Settings) -> Any:
    """Reads the log until so many recipients are found, and returns their mails."""
    reader = TraceReader(stack)
    async with await connect(stack, "system") as db:
        await db.execute("SELECT set_config('thurn.workspace', '1', false)")
        await reader.load(db)

        async def look(query: str, many: int = 1, **how: Any) -> list[dict[str, Any]]:
            deadline = time.monotonic() + 60
            while True:
                while await reader.step(db):
                    pass
                found = await search.find(db, Wanted(query, **how), limit=200)
                if len(found) >= many:
                    return [await _mail(db, row) for row in found]
                assert time.monotonic() < deadline, f"{query}: {len(found)} of {many}"
                await asyncio.sleep(0.05)

        yield look


async def _mail(db: Connection, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"mail": await search.message(db, row["trace_id"])}


async def test_a_strangers_mail_is_traced_from_the_door_into_the_mailbox(stack: Settings, traced: Traced) -> None:
    sender = "trace-in@elsewhere.example"
    mark = send(stack, sender, "wirt@brotzeit.example")
    fetch(stack, RESI, mark)
    (row,) = await traced(sender)
    assert (row["recipient"], row["original"], row["state"]) == (RESI, "wirt@brotzeit.example", "delivered")
    assert "Saved" in row["reply"]
    assert row["mail"]["client_ip"] == "127.0.0.1"
    assert row["message_id"].endswith("@elsewhere.example>")
    assert [stop.title for stop in route(row["mail"]) if stop.icon != "shield"] == ["Taken in", "Delivered"]
    assert [r["trace_id"] for r in await traced(row["message_id"])] == [row["trace_id"]]


async def test_what_people_send_is_traced_to_each_recipient(
    stack: Settings, traced: Traced, outside: Outside
) -> None:  # fmt: skip
    gone, there = "gone@trace.example", "there@trace.example"
    outside.refuse.add(gone)
    with signed_in(stack, "submissions") as client:
        client.sendmail(RESI, [gone, there, XAVER], message("three of them"))
    found = [*await traced(gone, state="bounced"), *await traced(there, state="delivered")]
    rows = {row["recipient"]: row for row in found}
    assert (rows[gone]["state"], rows[gone]["reply"][:25]) == ("bounced", "550 5.1.1 unknown user (in"[:25])
    three = await traced(rows[gone]["queue_id"], 3)
    assert three[0]["mail"]["login"] == RESI
    assert len(three[0]["mail"]["recipients"]) == 3


async def test_what_is_refused_at_the_door_is_traced_with_the_reason(stack: Settings, traced: Traced) -> None:
    sender = "trace-no@elsewhere.example"
    with smtp(stack) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail(sender, ["nobody@brotzeit.example"], message("x"))
    with smtp(stack) as client, pytest.raises(smtplib.SMTPRecipientsRefused):  # relaying: nobody's business here
        client.sendmail(sender, ["nobody@elsewhere.example"], message("x"))
    (row,) = await traced(sender)
    assert (row["recipient"], row["state"], row["queue_id"]) == ("nobody@brotzeit.example", "refused", "")
    assert row["reply"].startswith("550 5.1.1")
    assert row["mail"]["helo"] == "elsewhere.example"


async def test_what_is_refused_after_the_data_is_traced_for_each_recipient(stack: Settings, traced: Traced) -> None:
    sender, wirt = "trace-all@elsewhere.example", "wirt@brotzeit.example"
    everybody = [RESI, wirt, "nobody@brotzeit.example", XAVER]
    with smtp(stack) as client, pytest.raises(smtplib.SMTPDataError):
        client.sendmail(sender, everybody, message("x", GTUBE))
    rows = {row["recipient"]: row for row in await traced(sender, 4)}
    assert sorted(rows) == sorted(everybody)
    assert {row["state"] for row in rows.values()} == {"refused"}
    assert {row["trace_id"] for row in rows.values()} == {rows[RESI]["trace_id"]}, "one mail"
    assert {rows[each]["reply"] for each in (RESI, wirt, XAVER)} == {rows[RESI]["reply"]}
    assert "User unknown" in rows["nobody@brotzeit.example"]["reply"]
    assert {row["recipient"] for row in await traced(XAVER, state="refused")} >= {XAVER}


async def test_what_is_over_the_sending_limit_is_traced_for_each_recipient(stack: Settings, traced: Traced) -> None:
    """Postfix names none of them in what it logs then."""
    far = ["limit-one@far.example", '"limit two"@far.example']
    async with await connect(stack, "system", autocommit=True) as db:
        await db.execute("UPDATE mailbox SET send_limit = 1 WHERE address = %s", [RESI])
        try:
            with signed_in(stack, "submission") as client, pytest.raises(smtplib.SMTPDataError):
                client.sendmail(RESI, [*far, XAVER], message("too many"))
        finally:
            await db.execute("UPDATE mailbox SET send_limit = 500 WHERE address = %s", [RESI])
    (row,) = await traced(far[0])
    assert row["state"] == "refused"
    assert "limit" in row["reply"]
    assert [each["recipient"] for each in row["mail"]["recipients"]] == [*far, XAVER]


@pytest.mark.parametrize(
    "hello", ["<pc>; from=<a@b> to=<resi@brotzeit.example> proto=ESMTP helo=<x", "x" * 400, "é'\""]
)
async def test_a_hostile_greeting_fools_nobody(stack: Settings, traced: Traced, hello: str) -> None:
    sender = f"trace-{abs(hash(hello))}@elsewhere.example"
    with smtp(stack) as client:
        client.sock.sendall(f"HELO {hello}\r\n".encode())
        client.getreply()
        client.mail(sender)
        assert client.rcpt("nobody@brotzeit.example")[0] == 550
    (row,) = await traced(sender)
    assert row["recipient"] == "nobody@brotzeit.example"


# A recipient that looks like the end of the line in which its refusal is logged.
FORGERY = '"x>: no; from=<forger@far.example> to=<forged@brotzeit.example> proto=SMTP helo=<h>"'


async def test_no_quoted_address_forges_another(stack: Settings, traced: Traced) -> None:
    sender = f"{FORGERY}@trace-quoted.example"
    room = 2000 - len("NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 554 5.7.1 <") - len(FORGERY[1:-1])
    cut = '"' + "x" * room + FORGERY[1:]  # Postfix logs no more than 2000 octets; cut there, the line looks whole
    with smtp(stack) as client:  # smtplib would read the addresses in its own way
        assert client.docmd(f"MAIL FROM:<{sender}>")[0] == 250
        answers = [client.docmd(f"RCPT TO:<{each}>")[0] for each in (
            f"{FORGERY}@far.example", f"{cut}@brotzeit.example", f"{FORGERY}@brotzeit.example", RESI
        )]  # fmt: skip
        assert answers == [554, 554, 554, 250]
        assert client.data(message("x", GTUBE))[0] == 554
    refused = await traced(sender.lower(), 2)
    assert {row["recipient"] for row in refused} == {f"{FORGERY.lower()}@brotzeit.example", RESI}
    assert await traced("forged@brotzeit.example", 0) == []
    assert await traced("forger@far.example", 0) == []


async def test_rotation_under_traffic_loses_nothing_and_repeats_nothing(stack: Settings, traced: Traced) -> None:
    log = stack.state / "log" / "mx.mail.log"
    sender = "trace-turn@elsewhere.example"
    moved = []
    for day in range(4):
        for number in range(6):
            with smtp(stack) as client:
                client.sendmail(sender, [f"{day}-{number}-nobody@brotzeit.example", RESI], message("turn"))
            if number == 3 and day < 3:
                moved += rotate(stack, datetime.now().astimezone() + timedelta(seconds=day), large=0)
    await traced(sender, 48)
    rows = await traced(sender, 48)
    assert len(rows) == 48
    assert all(row["attempts"] == 1 for row in rows)
    names = {path.name for path in moved}
    assert len([name for name in names if name.startswith("mx.mail.log.")]) == 3
    assert log.stat().st_mode & 0o777 == 0o640
    assert rotate(stack) == [], "a log of today, and not large"
    later = datetime.now().astimezone() + timedelta(days=stack.log_days + 1)
    await traced(sender, 48)
    wait_for(lambda: rotate(stack, later))
    assert not [path for path in moved if path.exists()]


async def test_what_an_alias_sends_out_of_the_house_is_traced_to_its_end(
    stack: Settings, traced: Traced, outside: Outside
) -> None:
    far = "trace-alias@far.example"
    async with await connect(stack, "system", autocommit=True) as db:
        await db.execute(
            """INSERT INTO alias (workspace_id, domain_id, address, target)
               SELECT 1, id, 'fern@brotzeit.example', %s FROM domain WHERE name = 'brotzeit.example'""",
            [far],
        )
        try:
            mark = send(stack, "trace-far@elsewhere.example", "fern@brotzeit.example")
            wait_for(lambda: any(mark.encode() in mail for _, _, mail in outside.received))
            (row,) = await traced(far, state="delivered")
        finally:
            await db.execute("DELETE FROM alias WHERE address = 'fern@brotzeit.example'")
    assert (row["state"], row["original"], row["sender"]) == (
        "delivered", "fern@brotzeit.example", "trace-far@elsewhere.example",
    )  # fmt: skip
    assert len(await traced("fern@brotzeit.example")) == 1
    assert [stop.title for stop in route(row["mail"]) if stop.icon != "shield"] == ["Taken in", "Delivered"]


async def test_what_a_mailboxs_filters_send_on_is_traced_to_its_end(
    stack: Settings, traced: Traced, outside: Outside
) -> None:
    far, sender = "trace-filter@far.example", "trace-on@elsewhere.example"
    async with await connect(stack, "system", autocommit=True) as db:
        await db.execute("UPDATE mailbox SET forward_to = %s WHERE address = %s", [[far], XAVER])
        try:
            mark = send(stack, sender, XAVER)
            wait_for(lambda: any(mark.encode() in mail for _, _, mail in outside.received))
            fetch(stack, XAVER, mark)
            # First its own end: Postfix notes it after Dovecot has sent the copy on, whose end may be noted before.
            (came,) = await traced(sender)
            (row,) = await traced(far, state="delivered")
        finally:
            await db.execute("UPDATE mailbox SET forward_to = '{}' WHERE address = %s", [XAVER])
        await db.execute("SELECT set_config('thurn.workspace', '1', false)")
        assert row["state"] == "delivered"
        assert row["mail"]["client_name"] == f"the filters of {XAVER}"
        assert [each["recipient"] for each in row["mail"]["elsewhere"]] == [XAVER]
        came = await search.message(db, came["trace_id"])
    assert [(each["recipient"], each["state"]) for each in came["elsewhere"]] == [(far, "delivered")]
