"""Many mailboxes at once: each made once or refused with its line, whatever is stopped or killed meanwhile."""

import asyncio

import pytest

from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.mailhost import box_import, bulk
from thurn.mailhost.bulk import Wanted
from thurn.mailhost.passwords import matches
from thurn.problems import Conflict, NotFound
from thurn.settings import Settings

pytestmark = pytest.mark.usefixtures("people")
GIVEN = "Radi und Brezn"


async def kept(db: Connection, settings: Settings, many: int, *more: Wanted) -> int:
    """A list of so many mailboxes, every third with a password of its own, and `more` rows behind them."""
    wanted = [
        Wanted(n + 1, f"m{n}@brotzeit.example", f"Nr. {n}", GIVEN if n % 3 == 0 else None) for n in range(1, many + 1)
    ]
    looked = await bulk.look_through(db, [*wanted, *more])
    return await box_import.create(db, 1, settings, filename="many.csv", wanted=looked)


async def boxes(db: Connection) -> int:
    return int((await one(db, "SELECT count(*) AS n FROM mailbox WHERE address LIKE 'm%%'"))["n"])


async def go(settings: Settings, number: int) -> None:
    await box_import.run(settings, import_id=number, workspace=1)


async def test_every_row_is_made_or_left_out_with_its_line(db: Connection, clean: Settings) -> None:
    number = await kept(
        db, clean, 13,
        Wanted(15, "anna@brotzeit.example"), Wanted(16, "x@elsewhere.example"), Wanted(17, "nobody\0", problem="Odd."),
    )  # fmt: skip
    before = await box_import.get(db, number)
    assert (before["state"], before["left_over"], before["refused"], before["given"]) == ("checked", 13, 3, 4)
    await go(clean, number)  # nobody has said yes
    assert await boxes(db) == 0
    await box_import.start(db, 1, number)
    with pytest.raises(Conflict):
        await box_import.start(db, 1, number)
    await go(clean, number)
    done = await box_import.get(db, number)
    assert (done["state"], done["made"], done["left_over"], done["refused"]) == ("done", 13, 0, 3)
    found = await box_import.page(db, clean, number, limit=100, passwords=True)
    assert [row["line"] for row in found if row["problem"]] == [15, 16, 17]
    for row in found[:6]:
        stored = await one(db, "SELECT password_hash, name FROM mailbox WHERE address = %s", [row["address"]])
        assert bool(row["password"]) != row["given"]  # what you gave is not shown again
        assert await matches(stored["password_hash"], row["password"] or GIVEN)
    with pytest.raises(Conflict):
        await box_import.cancel(db, number)
    text = "".join([part async for part in box_import.as_csv(db, clean, number)])
    assert len(text.splitlines()) == 17


async def test_passwords_are_sealed_and_forgotten(db: Connection, system: Connection, clean: Settings) -> None:
    number = await kept(db, clean, 3)
    sealed = await rows(system, "SELECT password FROM mailbox_import_row WHERE password IS NOT NULL")
    assert sealed
    assert all(GIVEN.encode() not in bytes(row["password"]) for row in sealed)
    await box_import.start(db, 1, number)
    await go(clean, number)
    assert (await box_import.get(db, number))["passwords"] == 2
    await box_import.sweep(system)
    assert (await box_import.get(db, number))["passwords"] == 2
    await system.execute("UPDATE mailbox_import SET finished_at = now() - interval '25 hours'")
    forgotten = await kept(db, clean, 2)
    await system.execute(
        "UPDATE mailbox_import SET created_at = now() - interval '25 hours' WHERE id = %s", [forgotten]
    )
    await box_import.sweep(system)
    assert (await box_import.get(db, number))["passwords"] == 0
    with pytest.raises(NotFound):
        await box_import.get(db, forgotten)


async def test_stopped_it_stays_stopped_and_what_is_made_stays(db: Connection, clean: Settings) -> None:
    number = await kept(db, clean, 40)
    await box_import.start(db, 1, number)
    running = asyncio.create_task(go(clean, number))
    while not (await box_import.get(db, number))["made"]:
        await asyncio.sleep(0.02)
    await box_import.cancel(db, number)
    await box_import.cancel(db, number)
    await running
    stopped = await box_import.get(db, number)
    assert stopped["state"] == "cancelled"
    assert 0 < stopped["made"] < 40
    assert await boxes(db) == stopped["made"]
    await go(clean, number)
    assert await boxes(db) == stopped["made"]


async def test_killed_or_run_twice_each_mailbox_is_made_once(db: Connection, clean: Settings) -> None:
    number = await kept(db, clean, 30)
    await box_import.start(db, 1, number)
    killed = asyncio.create_task(go(clean, number))
    while not (await box_import.get(db, number))["made"]:
        await asyncio.sleep(0.02)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    assert (await box_import.get(db, number))["state"] == "running"
    await asyncio.gather(go(clean, number), go(clean, number))
    done = await box_import.get(db, number)
    assert (done["state"], done["made"], done["refused"]) == ("done", 30, 0)
    assert await boxes(db) == 30


async def test_what_is_taken_while_it_waits_is_left_out_with_the_reason(db: Connection, clean: Settings) -> None:
    number = await kept(db, clean, 2)
    await box_import.start(db, 1, number)
    await db.execute(
        """INSERT INTO alias (workspace_id, domain_id, address, target)
           SELECT 1, id, 'm1@brotzeit.example', 'x@far.example' FROM domain"""
    )
    await go(clean, number)
    done = await box_import.get(db, number)
    assert (done["state"], done["made"], done["refused"]) == ("done", 1, 1)
    (left,) = await box_import.page(db, clean, number, problems=True)
    assert (left["line"], left["problem"]) == (2, "There is a mailbox or an alias of this name already.")


async def test_another_workspace_sees_nothing_of_it(db: Connection, clean: Settings) -> None:
    number = await kept(db, clean, 1)
    await db.execute("SELECT set_config('thurn.workspace', '2', false)")
    for act in (box_import.get(db, number), box_import.start(db, 2, number), box_import.forget(db, number)):
        with pytest.raises(NotFound):
            await act
    assert await box_import.page(db, clean, number) == []
