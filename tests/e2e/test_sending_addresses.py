"""Several sending addresses in real Postfix: receivers see address and name, changes lose nothing, suspensions hold."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import e2e_house as furniture
import pytest
from e2e_house import House

from thurn.db.connect import Connection, connect
from thurn.db.fetch import rows
from thurn.delivery import egress
from thurn.simulate import client
from thurn.simulate.store import read
from thurn.stack.control import status
from thurn.stack.out_plan import load_plan
from thurn.stack.postfix_out import SUSPENDED, TRANSPORTS
from thurn.warmup import service as warmup

NAMES = {"127.0.0.1": "mail.brotzeit.example", "127.0.0.2": "out2.brotzeit.example", "::1": "six.brotzeit.example"}


@pytest.fixture
async def db(ready: House) -> AsyncIterator[Connection]:
    """The machinery's connection; afterwards there is one sending address again, and no limit."""
    async with await connect(ready.settings, "system", autocommit=True) as system:
        yield system
        await system.execute("DELETE FROM provider_limit")
        await system.execute("DELETE FROM pace")
        await system.execute("DELETE FROM egress WHERE name <> 'e1'")


async def until(what: str, look: Callable[[], bool], patience: float = 60.0) -> float:
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < patience, what
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def came(house: House, campaign: int) -> list[tuple[str, str]]:
    """(address, name) that each mail of a campaign came from, by the receivers."""
    with read(house.settings.state / "sim" / "mail.sqlite3") as sim:
        rows = sim.execute("SELECT peer, helo FROM message WHERE campaign = ?", [str(campaign)]).fetchall()
    return [(row["peer"], row["helo"]) for row in rows]


async def campaign_to(house: House, name: str, addresses: list[str]) -> int:
    template = (await house.row("SELECT min(id) AS id FROM template"))["id"]
    lists = [await furniture.people(house, name, addresses)]
    number = await furniture.draft(house, name, sender="post@ready.example", template=template, lists=lists)
    await furniture.launch(house, number)
    return number


def in_out(house: House) -> int:
    queue = house.settings.state / "out" / "queue"
    return sum(path.is_file() for name in ("incoming", "active") for path in (queue / name).rglob("*"))


async def test_addresses_come_and_go_in_mid_campaign_and_a_suspension_holds_what_postfix_has(
    ready: House, db: Connection
) -> None:
    settings = ready.settings
    await db.execute("INSERT INTO provider_limit (provider, rate_per_minute) VALUES ('google', 120)")
    people = [f"plain.{n}.lanes@gmail.example" for n in range(600)]
    number = await campaign_to(ready, "Lanes", people)
    await until("the first mails", lambda: bool(came(ready, number)))
    for added in ({"name": "e2", "bind4": "127.0.0.2"}, {"name": "e3", "bind6": "::1"}):
        address = added.get("bind4") or added["bind6"]
        await egress.add(db, settings, **added, helo=NAMES[address], pool="default")
        await until(f"mail from {address}", lambda: address in {peer for peer, _ in came(ready, number)})  # noqa: B023
    assert len(came(ready, number)) < 600, "all this in mid-campaign"
    await db.execute("UPDATE provider_limit SET rate_per_minute = 60000")
    await furniture.sent(ready, number)
    assert set(came(ready, number)) == set(NAMES.items())
    truth = client.truth(settings, campaign=number, expected=people, dkim=False)
    assert (truth.missing, truth.duplicates) == (0, 0)

    # One that is removed goes by itself when nothing of it is on its way.
    await egress.remove(db, "e3")
    master = settings.state / "out" / "etc" / "master.cf"
    await until("the services of e3 are gone", lambda: "e3-google" not in master.read_text())

    # The receivers stand still: Postfix holds mail with open connections, the rest waits behind them.
    await db.execute("UPDATE provider_limit SET connections = 3")
    # Written down when Postfix has been told.
    await until("the limit is loaded", lambda: load_plan(settings.state).limits("e2", "google").connections == 3)
    receivers = status(settings)["simulate"].process.pid
    assert receivers
    more = [f"plain.{n}.held@gmail.example" for n in range(300)]
    connections = 6  # of two addresses
    os.kill(receivers, signal.SIGSTOP)
    try:
        held = await campaign_to(ready, "Held", more)
        await until("mail in Postfix", lambda: in_out(ready) >= 100)
        await db.execute(
            """INSERT INTO pace (egress_id, provider, state, suspended_until)
               SELECT id, 'google', 'suspended', 'infinity' FROM egress"""
        )
        took = await until("Postfix holds it back", lambda: in_out(ready) <= connections)
        print(f"a suspension acted on what was in Postfix after {took:.1f} s")
    finally:
        os.kill(receivers, signal.SIGCONT)
    await until("what was in the connections is through", lambda: in_out(ready) == 0)
    assert len(came(ready, held)) <= connections

    async def deferred() -> bool:
        return (await furniture.tallies(ready, held)).get("deferred", 0) >= 100 - connections

    await furniture.eventually("the ledger says so", deferred)
    row = await ready.row("SELECT reply FROM delivery WHERE campaign_id = %s AND state = 'deferred' LIMIT 1", [held])
    assert "suspended by Thurn" in row["reply"]

    await db.execute("DELETE FROM pace")
    await furniture.sent(ready, held)
    truth = client.truth(settings, campaign=held, expected=more, dkim=False)
    assert (truth.missing, truth.duplicates) == (0, 0)


@pytest.fixture
async def quick_days(ready: House) -> AsyncIterator[None]:
    """Sending days of five seconds, instead of those of the calendar."""
    async with await connect(ready.settings, "owner", autocommit=True) as db:
        row = await (await db.execute("SELECT pg_get_functiondef('sending_day'::regproc) AS was")).fetchone()
        assert row is not None
        query = f"""CREATE OR REPLACE FUNCTION sending_day(OUT day date, OUT length interval, OUT remains interval)
               LANGUAGE sql STABLE AS $$
                 SELECT date '2026-01-01' + floor(t / 5)::int, interval '5 s',
                        make_interval(secs => 5 - t + 5 * floor(t / 5))
                 FROM (SELECT extract(epoch FROM now())::float - {int(time.time())} AS t) now $$"""  # noqa: S608
        await db.execute(query)
        yield
        await db.execute(row["was"])


async def seen_by_the_sender(house: House, db: Connection) -> None:
    """Wait until it has read all anew: it has when the table it writes for Postfix follows what came after."""
    table = house.settings.state / TRANSPORTS
    await db.execute(
        """INSERT INTO pace (egress_id, provider, suspended_until)
           SELECT id, 'qq', 'infinity' FROM egress WHERE name = 'e1'"""
    )
    await until("the sender has read it", lambda: f"{SUSPENDED}: e1 at qq" in table.read_text())
    await db.execute("DELETE FROM pace")
    await until("the sender has read it again", lambda: SUSPENDED not in table.read_text())


async def test_a_new_address_warms_up_in_days_of_seconds_its_engaged_readers_first_and_nobody_waits_for_ever(
    ready: House, db: Connection, quick_days: None
) -> None:
    await egress.add(db, ready.settings, name="e4", bind4="127.0.0.2", helo=NAMES["127.0.0.2"], pool="default")
    await warmup.start(db, "e4", curve=(8, 16, 32, 64))
    people = [f"plain.{n}.warm@gmail.example" for n in range(150)] + [f"plain.{n}.warm@gmx.example" for n in range(40)]
    template = (await ready.row("SELECT min(id) AS id FROM template"))["id"]
    lists = [await furniture.people(ready, "Warm", people)]
    await db.execute("UPDATE contact SET engaged_on = current_date WHERE email LIKE 'plain.1__.warm@%%'")
    await db.execute("DELETE FROM pool_egress WHERE egress_id = (SELECT id FROM egress WHERE name = 'e1')")
    await seen_by_the_sender(ready, db)
    number = await furniture.draft(ready, "Warm", sender="post@ready.example", template=template, lists=lists)
    await furniture.launch(ready, number)
    try:
        await furniture.sent(ready, number)
    finally:
        await db.execute(
            """INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e
               WHERE p.name = 'default' AND e.name = 'e1'"""
        )
    truth = client.truth(ready.settings, campaign=number, expected=people, dkim=False)
    assert (truth.missing, truth.duplicates) == (0, 0)
    assert set(came(ready, number)) == {("127.0.0.2", NAMES["127.0.0.2"])}, "all by the address that warms up"
    days = await rows(db, "SELECT provider, cap, sent FROM day_cap WHERE sent > 0 ORDER BY provider, day")
    assert all(day["sent"] <= day["cap"] for day in days)
    google = [day["cap"] for day in days if day["provider"] == "google"]
    assert list(dict.fromkeys(google)) == [8, 16, 32, 64], "each day of the curve, again where too little was sent"
    first = await rows(
        db,
        """SELECT recipient LIKE 'plain.1__.warm@%%' AS engaged FROM delivery
           WHERE campaign_id = %s AND provider = 'google' ORDER BY handed_over_at LIMIT 24""",
        [number],
    )
    assert all(each["engaged"] for each in first), "those of the first two days"
