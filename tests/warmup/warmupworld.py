"""Sending days that a test turns itself, and mail that goes through the real board, pacing, claims and fold."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from thurn.campaigns.snapshot import finish, snapshot
from thurn.db.connect import Connection, conninfo
from thurn.db.fetch import one, rows
from thurn.delivery.board import Board
from thurn.delivery.claims import Claim, begin_life, claim, open_lanes
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.delivery.pacing import Buckets, Wish, allot
from thurn.settings import Settings
from thurn.warmup import store

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TICK = timedelta(minutes=12)  # what an even spread of 5, 10, 20 or 40 over eight hours is a multiple of
Answer = Callable[[Claim, date], Sequence[dict[str, Any]]]


@pytest.fixture
async def clock(clean: Settings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The sending day comes from a table that the test sets; afterwards from the calendar again."""
    async with await psycopg.AsyncConnection.connect(conninfo(clean, "owner"), autocommit=True) as db:
        row = await (await db.execute("SELECT pg_get_functiondef('sending_day'::regproc)")).fetchone()
        assert row is not None
        await db.execute("CREATE TABLE test_clock (at timestamp NOT NULL)")
        await db.execute("INSERT INTO test_clock VALUES (%s)", [NOON.replace(tzinfo=None)])
        await db.execute("GRANT SELECT, UPDATE ON test_clock TO thurn_app, thurn_system")
        await db.execute(
            """CREATE OR REPLACE FUNCTION sending_day(OUT day date, OUT length interval, OUT remains interval)
               LANGUAGE sql STABLE AS $$
                 SELECT at::date, interval '24 hours', interval '24 hours' - at::time::interval FROM test_clock $$"""
        )
        yield db
        await db.execute(row[0])
        await db.execute("DROP TABLE test_clock")


def delivered(claimed: Claim, day: date) -> Sequence[dict[str, Any]]:
    """Everybody takes everything."""
    del claimed, day
    return ({"kind": "delivered"},)


@dataclass(slots=True)
class World:
    """Two addresses, and a sender without connections: real board, pacing, claims and fold, in any time."""

    db: Connection
    settings: Settings
    life: int
    at: datetime = NOON
    answer: Answer = delivered
    board: Board = field(default_factory=Board)
    buckets: Buckets = field(default_factory=Buckets)
    sent: list[tuple[datetime, int, Claim]] = field(default_factory=list)
    turn: int = 0

    async def launch(self, **readers: int) -> int:
        """A campaign to so many readers of each provider, the first of each the most engaged; returns its id."""
        made = await one(
            self.db,
            """INSERT INTO campaign (workspace_id, name, from_address, state, kind, subject, source)
               VALUES (1, 'News', 'n@house.example', 'launching', 'markdown', 'Hello', 'Hi') RETURNING id""",
        )
        for provider, n in readers.items():
            await self.db.execute(
                """INSERT INTO provider_domain (domain, provider, expires_at) VALUES (%s, %s, 'infinity')
                   ON CONFLICT DO NOTHING""",
                [f"{provider}.example", provider],
            )
            await self.db.execute(
                """WITH l AS (INSERT INTO list (workspace_id, name) VALUES (1, %(name)s) RETURNING id),
                     c AS (INSERT INTO contact (workspace_id, email, engaged_on)
                           SELECT 1, 'r' || i || %(at)s, CASE WHEN i <= 20 THEN date '2026-02-28' - i END
                           FROM generate_series(%(n)s, 1, -1) i RETURNING id),
                     m AS (INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT l.id, c.id, 1 FROM l, c)
                   INSERT INTO campaign_list (campaign_id, list_id, workspace_id) SELECT %(campaign)s, id, 1 FROM l""",
                {"name": f"{provider} {made['id']}", "at": f".{made['id']}@{provider}.example", "n": n,
                 "campaign": made["id"]},
            )  # fmt: skip
        await snapshot(self.db, made["id"], self.settings)
        return int(made["id"])

    async def tick(self) -> None:
        """A moment: plans are decided, and what may go goes and is answered."""
        await self.db.execute("UPDATE test_clock SET at = %s", [self.at.replace(tzinfo=None)])
        await store.step(self.db)
        await self.board.read(self.db, "main", frozenset({"e1", "e2", "r1"}))
        self.turn += 1
        lanes = {}
        for lane in await open_lanes(self.db):
            wish = Wish(lane.workspace, lane.campaign, lane.provider, self.board.pool(lane), lane.speed, lane.weight)
            lanes[wish] = lane
        seconds = (self.at - NOON).total_seconds()
        for grant in allot(list(lanes), self.board.lanes, self.buckets, seconds, batch=100, turn=self.turn):
            lane, key = lanes[grant.wish], (grant.egress, grant.wish.provider)
            spare = self.board.spare(lane, grant.egress)
            taken = await claim(self.db, lane, self.life, grant.n, grant.egress, spare=spare)
            self.buckets.take(key, len(taken))
            self.board.took(key, len(taken))
            self.sent += [(self.at, grant.egress, each) for each in taken]
            await append(
                self.db,
                [
                    Outcome(each.campaign, each.delivery, "handed_over", datetime.now(UTC), each.attempt)
                    for each in taken
                ],
            )
            for each in taken:
                facts = [Outcome(each.campaign, each.delivery, at=datetime.now(UTC), source="log", **said)
                         for said in self.answer(each, self.at.date())]  # fmt: skip
                await append(self.db, facts)
        while await fold(self.db):
            pass
        self.at += TICK

    async def until(self, moment: datetime) -> None:
        """Let time pass."""
        while self.at < moment:
            await self.tick()

    async def until_sent(self, campaign: int, days: int = 14) -> None:
        """Let time pass until everybody has a final outcome."""
        last = self.at + timedelta(days=days)
        while campaign not in await finish(self.db):
            assert self.at < last, "somebody waits for ever"
            await self.tick()

    def by_day(self, provider: str, egress: int | None = None) -> list[int]:
        """How many went on each day on which any did."""
        found = Counter(at.date() for at, by, each in self.sent if each.provider == provider and egress in (None, by))
        return [n for _, n in sorted(found.items())]

    async def caps_kept(self) -> None:
        """No day of no lane had more than its cap, by what was claimed and by what is written down."""
        counted: Counter[tuple[date, int, str]] = Counter((at.date(), by, each.provider) for at, by, each in self.sent)
        for row in await rows(self.db, "SELECT * FROM day_cap"):
            key = row["day"], row["egress_id"], row["provider"]
            assert counted[key] == row["sent"] <= row["cap"], key

    async def nobody_lost(self, campaign: int) -> None:
        """Everybody is settled, once."""
        people = [each.delivery for _, _, each in self.sent if each.campaign == campaign]
        row = await one(
            self.db,
            """SELECT count(*) AS n, count(*) FILTER (WHERE state NOT IN ('delivered', 'bounced')) AS open
               FROM delivery WHERE campaign_id = %s""",
            [campaign],
        )
        assert (len(people), len(set(people)), row["open"]) == (row["n"], row["n"], 0)


@pytest.fixture
async def world(clean: Settings, system: Connection, clock: Any) -> World:
    """Nothing is sent yet. `e1` is warm, `e2` stands beside it in no pool."""
    del clock
    await system.execute("INSERT INTO egress (name, bind4) VALUES ('e2', '127.0.0.2')")
    return World(system, clean, await begin_life(system, "main"))


@pytest.fixture
def in_pool(system: Connection) -> Callable[..., Any]:
    """`await in_pool("e2", …)`: these, and no others, in the pool `default`; a rank by `e2=3`."""

    async def put(*names: str, **ranks: int) -> None:
        await system.execute("DELETE FROM pool_egress")
        for name, rank in (dict.fromkeys(names, 2) | ranks).items():
            await system.execute(
                """INSERT INTO pool_egress (pool_id, egress_id, rank)
                   SELECT p.id, e.id, %s FROM pool p, egress e WHERE p.name = 'default' AND e.name = %s""",
                [rank, name],
            )

    return put


def order_of(sent: list[tuple[datetime, int, Claim]], provider: str) -> list[int]:
    """Numbers of readers in the order in which they were claimed."""
    return [int(each.recipient[1:].partition(".")[0]) for _, _, each in sent if each.provider == provider]


__all__ = ["NOON", "TICK", "World", "delivered", "order_of"]
