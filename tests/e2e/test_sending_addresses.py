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
from thurn.delivery import egress
from thurn.simulate import client
from thurn.simulate.store import read
from thurn.stack.control import status

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
    await until("the limit is loaded", lambda: "e2-google unix - - n - 3 smtp" in master.read_text())
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
