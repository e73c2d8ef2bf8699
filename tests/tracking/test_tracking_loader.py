"""From the spool into the database: every hit once, first contacts counted as people, whatever is killed."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.conftest import Sent
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.settings import Settings
from thurn.tracking import loader
from thurn.tracking.loader import LAG, load_spool, read_file
from thurn.tracking.spool import Spool, directory

FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Writer:
    """Writes hits as a web process does, but at moments the test chooses."""

    def __init__(self, settings: Settings, sent: Sent) -> None:
        self._sent = sent
        self.clock = time.time
        self.hits, self.left = Spool(settings.state, "hits"), Spool(settings.state, "left")

    def hit(
        self, purpose: str, n: int, link: int = 0, ago: float = 60.0, agent: bytes = FIREFOX, method: bytes = b"GET"
    ) -> None:
        at = int((self.clock() - ago) * 1000)
        spool = self.left if purpose == "u" else self.hits
        assert spool.append(
            b"%b\t1\t%d\t%d\t%d\t%d\t%b\t0\t%b\n"
            % (purpose.encode(), self._sent.campaign, self._sent.deliveries[n], link, at, method, agent)
        )

    def close(self) -> None:
        self.hits.close()
        self.left.close()


@pytest.fixture
def writer(clean: Settings, sent: Sent) -> Iterator[Writer]:
    made = Writer(clean, sent)
    yield made
    made.close()


class Clock:
    """Goes on when the test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the writer and of the loader: whether a hit is young must not depend on how busy this machine is."""
    made = Clock()
    writer.clock = made.time
    monkeypatch.setattr(loader, "time", made)
    return made


async def rows(db: Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in await (await db.execute(query)).fetchall()]


async def tallies(db: Connection) -> dict[str, int]:
    return dict(await rows(db, "SELECT measure, n FROM campaign_tally"))  # type: ignore[arg-type]  # two columns


async def test_hits_become_events_and_people_are_counted_once(
    clean: Settings, system: Connection, writer: Writer
) -> None:
    for ago in (60, 50, 40):
        writer.hit("o", 0, ago=ago)
    writer.hit("o", 1, agent=b"Mozilla/5.0")
    writer.hit("c", 0, link=2)
    writer.hit("c", 0, link=2, ago=30)
    assert await load_spool(clean, system) == 6
    assert await tallies(system) == {"opened_human": 1, "opened_machine": 1, "clicked_human": 1}
    assert await rows(system, "SELECT number, actor, n FROM link_tally") == [(2, "human", 2)]
    events = await rows(
        system, "SELECT kind, actor, detail->>'rule' AS rule, contact_id IS NOT NULL AS c FROM event ORDER BY id"
    )
    assert events.count(("opened", "human", "person", True)) == 3
    assert events.count(("opened", "machine", "apple-mail-privacy", True)) == 1
    assert events.count(("clicked", "human", "person", True)) == 2
    engagement = await rows(
        system,
        "SELECT opened_human IS NULL AS a, opened_machine IS NULL AS b, clicked_human IS NULL AS c FROM engagement",
    )
    assert sorted(engagement) == [(False, True, False), (True, False, True)]
    assert await load_spool(clean, system) == 0


async def test_the_last_day_somebody_read_is_kept_with_the_contact_and_no_machines_day_is(
    clean: Settings, system: Connection, sent: Sent, writer: Writer
) -> None:
    await system.execute("UPDATE contact SET engaged_on = '2020-02-02' WHERE id = %s", [sent.contacts[0]])
    await system.execute("UPDATE contact SET engaged_on = '2999-01-01' WHERE id = %s", [sent.contacts[2]])
    for n, agent in ((0, FIREFOX), (0, FIREFOX), (1, b"Mozilla/5.0"), (2, FIREFOX)):
        writer.hit("o", n, agent=agent)
    writer.hit("c", 3, link=1)
    assert await load_spool(clean, system) == 5
    days = dict(await rows(system, "SELECT id, engaged_on::text AS day FROM contact"))  # type: ignore[arg-type]
    today = {(datetime.now(UTC) - timedelta(seconds=ago)).date().isoformat() for ago in (0, 200)}
    assert {days[sent.contacts[0]], days[sent.contacts[3]]} <= today
    assert (days[sent.contacts[1]], days[sent.contacts[2]]) == (None, "2999-01-01"), "a machine; never set back"


async def test_who_unsubscribes_is_gone_at_once_and_counted_once(
    clean: Settings, system: Connection, sent: Sent, writer: Writer
) -> None:
    writer.hit("u", 3, ago=0, method=b"POST")
    writer.hit("u", 3, ago=0, method=b"POST")
    assert await load_spool(clean, system) == 2
    left = await rows(system, "SELECT id, unsubscribed_by FROM contact WHERE unsubscribed_at IS NOT NULL")
    assert left == [(sent.contacts[3], sent.campaign)]
    assert await rows(system, "SELECT kind, actor FROM event") == [("unsubscribed", "human")]
    assert await tallies(system) == {"unsubscribed": 1}


async def test_opens_and_clicks_wait_until_their_burst_is_complete(
    clean: Settings, system: Connection, writer: Writer, clock: Clock
) -> None:
    writer.hit("c", 0, link=1, ago=0.5)
    assert await load_spool(clean, system) == 0
    clock.now += LAG - 0.4
    writer.hit("c", 0, link=2, ago=LAG - 0.3)
    assert await load_spool(clean, system) == 1  # decided with the second, which is not loaded yet
    assert await tallies(system) == {"clicked_machine": 1}
    clock.now += 0.5
    assert await load_spool(clean, system) == 1  # and the second with the first, which is in the database
    assert await rows(system, "SELECT DISTINCT detail->>'rule' FROM event") == [("burst-of-links",)]


async def test_a_burst_seen_by_two_processes_is_one(
    clean: Settings, system: Connection, sent: Sent, writer: Writer
) -> None:
    other = Writer(clean, sent)
    for link in (1, 2, 3):
        (writer if link % 2 else other).hit("c", 5, link=link, ago=30 - link / 10)
    assert await load_spool(clean, system) == 3
    assert await rows(system, "SELECT actor, n FROM link_tally") == [("machine", 1)] * 3
    other.close()


async def test_a_burst_across_passes_is_one(clean: Settings, system: Connection, writer: Writer) -> None:
    for link in (1, 2, 3):
        writer.hit("c", 5, link=link, ago=30 - link / 10)
    assert [await load_spool(clean, system, limit=1) for _ in range(4)] == [1, 1, 1, 0]
    assert await rows(system, "SELECT actor, n FROM link_tally") == [("machine", 1)] * 3


async def test_a_cut_off_line_and_garbage_are_passed_over(clean: Settings, system: Connection, writer: Writer) -> None:
    writer.hit("o", 0)
    writer.hits.append(b"\0\xff garbage\n\n" + b"x" * 5000 + b"\no\t1\t2\n")
    writer.hit("o", 1)
    writer.hits.append(b"o\t1\t1\t")  # a process died here
    assert await load_spool(clean, system) == 2
    writer.close()
    assert await load_spool(clean, system) == 0
    assert list(directory(clean.state).glob("*")) == []  # nobody was told that the cut off one was taken


async def test_hits_of_a_delivery_that_is_gone_or_of_another_workspace_are_dropped(
    clean: Settings, system: Connection, sent: Sent, writer: Writer
) -> None:
    await system.execute("DELETE FROM delivery WHERE id = %s", [sent.deliveries[0]])
    await system.execute("INSERT INTO workspace (slug, name) VALUES ('two', 'Two')")
    await system.execute("UPDATE delivery SET workspace_id = 2 WHERE id = %s", [sent.deliveries[1]])
    for n in range(3):
        writer.hit("c", n, link=1)
    assert await load_spool(clean, system) == 3
    assert await tallies(system) == {"clicked_human": 1}
    assert len(await rows(system, "SELECT id FROM event")) == 1


async def test_agents_with_every_character_arrive_as_they_are(
    clean: Settings, system: Connection, writer: Writer
) -> None:
    agent = 'back\\slash "quotes" \\N \\. ü {} \x7f'.encode() + b"\xff\xfe"
    writer.hit("o", 0, agent=agent)
    await load_spool(clean, system)
    assert await rows(system, "SELECT detail->>'agent' FROM event") == [(agent.decode("utf-8", "replace"),)]


async def test_a_file_that_is_done_with_is_deleted_one_that_is_written_is_not(
    clean: Settings, system: Connection, writer: Writer
) -> None:
    writer.hit("o", 0)
    await load_spool(clean, system)
    assert len(list(directory(clean.state).glob("*.log"))) == 1
    writer.close()
    await load_spool(clean, system)
    assert list(directory(clean.state).glob("*")) == []
    Writer.hit(writer, "o", 1)
    await load_spool(clean, system)
    assert len(await rows(system, "SELECT file FROM spool_position")) == 1  # that of the deleted file is gone


async def test_a_file_is_not_deleted_before_its_young_hits_are_loaded(
    clean: Settings, system: Connection, writer: Writer, clock: Clock
) -> None:
    writer.hit("o", 0, ago=0.1)
    writer.close()
    assert await load_spool(clean, system) == 0
    assert len(list(directory(clean.state).glob("*.log"))) == 1


async def test_a_pass_that_fails_leaves_everything_as_it_was(
    clean: Settings, system: Connection, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        writer.hit("c", n, link=1)

    async def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(loader, "_keep_positions", fail)
        with pytest.raises(RuntimeError):
            await load_spool(clean, system)
    assert await rows(system, "SELECT id FROM event") == []
    assert await load_spool(clean, system) == 5
    assert await tallies(system) == {"clicked_human": 5}


async def test_two_loaders_do_not_load_twice(clean: Settings, system: Connection, writer: Writer) -> None:
    from thurn.db.connect import connect

    for n in range(20):
        writer.hit("o", n)
    async with await connect(clean, "system", autocommit=True) as second:
        taken = await asyncio.gather(*(load_spool(clean, db, limit=5) for db in (system, second) for _ in range(1)))
        while await load_spool(clean, second, limit=5):
            pass
    assert sum(taken) in (5, 10)
    assert await tallies(system) == {"opened_human": 20}
    assert len(await rows(system, "SELECT id FROM event")) == 20


def test_a_clock_that_was_wrong_holds_nothing_up(tmp_path: Path) -> None:
    path, now = tmp_path / "hits-1-1.log", 1_000_000.0
    path.write_bytes(b"o\t1\t1\t1\t0\t%d\tGET\t0\tx\n" % (now * 1000 + 3_600_000) + b"o\t1\t1\t2\t0\t5\tGET\t0\tx\n")
    assert [hit.delivery for hit in read_file(path, 0, now - LAG, now, 10).taken] == [1, 2]


# A process that writes hits as fast as it can, saying how many it has answered; and one that loads for ever.
WRITE = """
import sys, time
from pathlib import Path
from thurn.tracking import spool
spool.ROTATE_BYTES = 20_000
writer = spool.Spool(Path(sys.argv[1]), "hits")
campaign, deliveries = int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",")]
n = int(sys.argv[4])
while True:
    at = time.time_ns() // 1_000_000 - 60_000
    delivery = deliveries[n % len(deliveries)]
    assert writer.append(b"o\\t1\\t%d\\t%d\\t0\\t%d\\tGET\\t0\\tFirefox %d\\n" % (campaign, delivery, at, n))
    n += 1
    print(n, flush=True)
    time.sleep(0.0005)
"""
LOAD = """
import asyncio, sys
from thurn.db.connect import connect
from thurn.settings import load_settings
from thurn.tracking.loader import load_spool
async def main():
    settings = load_settings(sys.argv[1])
    async with await connect(settings, "system", autocommit=True) as db:
        while True:
            await load_spool(settings, db, limit=37)
asyncio.run(main())
"""


@asynccontextmanager
async def _running(code: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is killed at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _alone(db: Connection, since: datetime) -> None:
    """Until PostgreSQL has noticed that the killed are dead: what they had asked for may still be done, in a lock."""
    others = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = current_user AND backend_start > %s"
    async with asyncio.timeout(60):
        while (await one(db, others, [since]))["n"]:
            await asyncio.sleep(0.05)


async def test_kill_9_of_writer_and_loader_loses_no_hit_and_doubles_none(
    clean: Settings, system: Connection, sent: Sent
) -> None:
    deliveries = ",".join(map(str, sent.deliveries))
    answered = 0
    began = (await one(system, "SELECT clock_timestamp() AS now"))["now"]
    for life in range(4):
        start = life * 1_000_000
        writes = (WRITE, str(clean.state), str(sent.campaign), deliveries, str(start))
        async with _running(LOAD, str(clean.state)), _running(*writes) as write:
            assert write.stdout is not None
            last = int(await write.stdout.readline())  # it has begun; how long that takes is the machine's affair
            until = time.monotonic() + 0.8 + life * 0.13
            while last - start < 150 or time.monotonic() < until:
                last = int(await asyncio.wait_for(write.stdout.readline(), 60))
            os.kill(write.pid, signal.SIGKILL)
            rest = (await write.stdout.read()).decode().split("\n")
        last = max([last, *(int(word) for word in rest[:-1] if word)])
        answered += last - start
    await _alone(system, began)
    while await load_spool(clean, system):
        pass
    await load_spool(clean, system)
    counts = await rows(system, "SELECT count(*), count(DISTINCT detail->>'agent') AS agents FROM event")
    [(total, distinct)] = counts
    assert total == distinct  # nothing twice
    assert answered <= total <= answered + 4  # all that was answered; a write may come just before its answer
    assert answered > 500
    assert list(directory(clean.state).glob("*")) == []
    assert await tallies(system) == {"opened_human": 20}
