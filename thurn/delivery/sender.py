"""The role `sender`: claims deliveries, makes them into mail, hands them to the local `out`, writes down what happened.

One sender runs per node (a file lock). The order of things is the promise: a claim is committed before a byte goes out;
a mail is written to one connection once; no answer means unknown, and unknown is settled by `reconcile`, never resent.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime

import psycopg
import structlog
import uvloop

from thurn.db.connect import Connection, connect
from thurn.delivery.board import Board
from thurn.delivery.claims import Claim, Lane, begin_life, by_index, claim, open_lanes, pause, stopped
from thurn.delivery.compose import Composer, Unsendable
from thurn.delivery.composers import Composers, NotReady
from thurn.delivery.disk import Disk
from thurn.delivery.lanes import Table, drained
from thurn.delivery.out_queue import client_ports
from thurn.delivery.outcomes import Kind, Outcome, append
from thurn.delivery.pacing import Buckets, Wish, allot
from thurn.delivery.reconcile import Unknown, declare_lost, leases_of, settle, settle_former
from thurn.delivery.sessions import RENEWED, Served, SessionBook, alone
from thurn.heartbeat import beat
from thurn.log import configure_logging
from thurn.mail.smtp import NotConnected, Reply, Session, Unanswered
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings

log = structlog.get_logger()

# Connections to `out`: each waits for a disk write per mail, so some must wait at the same time; more of them get into
# each other's way in the queue's folder. And mails unanswered per connection: the next one is there when one is done.
SESSIONS, DEPTH = 8, 4
BATCH = 100  # deliveries a claim
BACKLOG = 200  # claimed and not yet written; pause and cancel act on all the others
_IDLE = 0.3  # seconds between looks for work
_BUSY = 0.03  # the same while there is something to hand over, but nothing more may be claimed
_FLUSH = 0.2  # seconds between commits of outcomes
_WATCH = 900.0  # seconds after a crash of `out` in which its lost log lines are looked for
_SWEEP = 30.0  # seconds between those looks
_OBEY = 0.5  # seconds between looks whether a campaign was paused or cancelled after its mail was claimed
_OUR_FAULT = "Thurn could not prepare this campaign; the sender's log says why. Resume it when that is mended."
_ADOPT = 60.0  # seconds between looks for leases of this life that it was never told of
_STALE = 30.0  # seconds after which a claim that could not be written is given back
_LOOK = 0.5  # seconds between looks at pools, limits and pace: what shaping suspends stops within a second
_DRAINED = 10.0  # seconds between looks whether a removed egress may go


class Sender:
    """One life of the sender of one node."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        secrets = Secrets(settings.state)
        self._tokens = VerpTokens(secrets.derive("verp"))
        self._composers = Composers(settings, secrets, self._tokens)
        self._life = 0
        self._former_ports: set[int] = set()
        self._sessions: set[Session] = set()
        self._ready: asyncio.Queue[tuple[Claim, Composer, float]] = asyncio.Queue()
        self._outcomes: deque[Outcome] = deque()
        self._flush_now = asyncio.Event()
        self._held: set[Unknown] = set()  # claimed by this life, outcome not committed yet
        self._unknown: dict[Unknown, Served] = {}  # -> the connection that broke
        self._broke_at = time.monotonic()  # a former life may have ended together with `out`
        self._book = SessionBook(settings.state / "run" / "sender.sessions")
        self._stopped: set[int] = set()  # campaigns that were paused or cancelled
        self._stopping = asyncio.Event()
        self._broken: BaseException | None = None
        self._disk = Disk(settings.state, tell=not settings.joined)
        self._board = Board()
        self._buckets = Buckets()
        self._table = Table(settings)

    async def run(self) -> None:
        """Send until told to stop (SIGTERM), then finish what is in the sockets and give the rest back."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        # Before this life opens connections of its own: whatever is open now belongs to a dead one.
        self._former_ports = client_ports(self._settings.port["out"])
        self._life = await self._begin()
        log.info("sender starts", life=self._life)
        background = [
            self._start(self._forever("reconcile", self._reconcile)),
            self._start(self._forever("flush", self._flush)),
            self._start(self._forever("lanes", self._watch_lanes)),
            self._start(self._forever("obey", self._obey)),
            self._start(beat(self._settings, "sender")),
        ]
        claiming = self._start(self._forever("claim", self._claim))
        sessions = [self._start(self._work()) for _ in range(SESSIONS)]
        await self._stopping.wait()
        await asyncio.wait([claiming], timeout=5)
        await asyncio.wait(sessions, timeout=5)
        self._give_back()
        for _ in range(20):
            if not self._outcomes:
                break
            await asyncio.sleep(_FLUSH)
        for task in [*background, *sessions]:
            task.cancel()
        if self._broken is not None:
            raise self._broken

    def _start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        task.add_done_callback(self._watch)
        return task

    def _watch(self, task: "asyncio.Task[None]") -> None:
        """A part that breaks takes the whole life down: the supervisor starts another, which settles what is open."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._stop()

    def _stop(self) -> None:
        self._stopping.set()

    async def _begin(self) -> int:
        while True:
            try:
                async with await connect(self._settings, "system", autocommit=True) as db:
                    return await begin_life(db, self._settings.node, first=not self._settings.joined)
            except psycopg.OperationalError as error:
                log.warning("database not there, waiting", error=str(error))
                await asyncio.sleep(1)

    async def _forever(self, name: str, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Run a loop on a connection of its own; a lost connection is waited out."""
        while not self._stopping.is_set() or name != "claim":
            try:
                async with await connect(self._settings, "system", autocommit=True) as db:
                    await work(db)
                    return
            except psycopg.Error as error:
                log.warning("database trouble, trying again", loop=name, error=str(error))
                await asyncio.sleep(1)

    # ---- claiming

    async def _claim(self, db: Connection) -> None:
        adopted = cleared = -_ADOPT
        turn = 0
        await by_index(db)
        while not self._stopping.is_set():
            # Again and again: the server may finish a commit long after the connection that asked for it was lost.
            if time.monotonic() - adopted > _ADOPT:
                await self._adopt_orphans(db)
                adopted = time.monotonic()
            if time.monotonic() - cleared > _DRAINED:
                if not self._settings.joined:
                    await drained(db)
                cleared = time.monotonic()
            rest = 0.005
            if self._ready.qsize() < BACKLOG:
                turn += 1
                if not (self._board.names and await self._disk.has_room(db) and await self._claim_round(db, turn)):
                    rest = _BUSY if self._ready.qsize() else _IDLE
            await asyncio.sleep(rest)

    async def _claim_round(self, db: Connection, turn: int) -> int:
        """One batch of each lane in turn: a campaign with a million does not starve one with ten."""
        lanes = {}
        waiting = await open_lanes(db)
        parts = self._board.parts(waiting)
        for lane in waiting:
            pool = self._board.pool(lane)
            speed = None if lane.speed is None else parts[lane.campaign]
            lanes[Wish(lane.workspace, lane.campaign, lane.provider, pool, speed, lane.weight)] = lane
        total = 0
        now = time.monotonic()
        board = self._board
        for grant in allot(
            list(lanes), board.lanes, self._buckets, now, batch=BATCH, most=2 * BACKLOG, turn=turn, rates=board.rates
        ):
            while self._ready.qsize() >= BACKLOG and not self._stopping.is_set():
                await asyncio.sleep(0.005)
            # Something else may have happened to the lane while we waited.
            if self._stopping.is_set() or grant.egress not in self._board.names:
                return total
            total += await self._claim_some(db, lanes[grant.wish], grant.egress, grant.n)
        return total

    async def _claim_some(self, db: Connection, lane: Lane, egress: int, n: int) -> int:
        key = egress, lane.provider
        if (self._board.names[egress], lane.provider) in self._board.suspended:
            return 0
        try:
            composer = await self._composers.get(db, lane.campaign)
        except NotReady as error:
            await pause(db, lane.campaign, str(error))
            return 0
        except psycopg.Error:
            raise
        except Exception:  # one campaign must not stop all the others
            log.exception("a campaign can't be prepared", campaign=lane.campaign)
            await pause(db, lane.campaign, _OUR_FAULT)
            return 0
        # Taken before and given back after: if the answer is lost the mails are claimed all the same.
        self._take(lane, key, n)
        taken = await claim(db, lane, self._life, n, egress, spare=self._board.spare(lane, egress))
        for claimed in taken:
            self._held.add(Unknown(claimed.campaign, claimed.delivery, claimed.attempt))
            self._ready.put_nowait((claimed, composer, time.monotonic()))
        self._take(lane, key, len(taken) - n)
        return len(taken)

    def _take(self, lane: Lane, key: tuple[int, str], n: int) -> None:
        self._buckets.take(key, n)
        self._buckets.take(("campaign", lane.campaign), n)
        self._buckets.take(("egress", key[0]), n)
        self._board.took(key, n)

    async def _watch_lanes(self, db: Connection) -> None:
        """Read what pacing needs, and let Postfix know which lanes are suspended."""
        while True:
            await self._board.read(db, self._settings.node, self._table.usable())
            for provider in self._table.write(self._board.suspended, self._board.instead, self._board.moved):
                # Else what waits in Postfix would wait for as long again as it has.
                await db.execute(
                    "INSERT INTO queue_retry (node, provider) VALUES (%s, %s)", [self._settings.node, provider]
                )
            await asyncio.sleep(_LOOK)

    async def _obey(self, db: Connection) -> None:
        """Pause and cancel act on what is claimed and not written, too: `out` may be slow, and the backlog long."""
        while True:
            campaigns = {lease.campaign for lease in self._held}
            self._stopped = await stopped(db, list(campaigns)) if campaigns else set()
            await asyncio.sleep(_OBEY)

    async def _adopt_orphans(self, db: Connection) -> None:
        """Leases of this life it does not know of: the claim was committed, the connection lost before we heard."""
        for lease in await leases_of(db, [self._life]):
            if lease not in self._held:
                self._held.add(lease)
                self._note(lease, "returned")

    # ---- handing over

    async def _work(self) -> None:
        """One connection's worth of work."""
        session: Session | None = None
        while not self._stopping.is_set():
            if session is None or not session.open:
                if session is not None:
                    self._broke_at = time.monotonic()
                session = await self._connect()
                continue
            if session.age > RENEWED:
                if await session.quit():
                    self._book.ended((session.server_process, session.client_port))
                session = None
                continue
            try:
                claimed, composer, since = await self._next()
            except TimeoutError:
                continue
            if time.monotonic() - since > _STALE or claimed.campaign in self._stopped:
                self._note(Unknown(claimed.campaign, claimed.delivery, claimed.attempt), "returned")
                continue
            await self._hand_over(session, claimed, composer)
        if session is not None:
            await session.quit()

    async def _next(self) -> tuple[Claim, Composer, float]:
        """The next one; `TimeoutError` now and then, to look whether it goes on. A timer costs more than to look."""
        try:
            return self._ready.get_nowait()
        except asyncio.QueueEmpty:
            return await asyncio.wait_for(self._ready.get(), 1.0)

    async def _connect(self) -> Session | None:
        session = None
        try:
            session = await Session.connect("127.0.0.1", self._settings.port["out"], self._settings.hostname)
            self._book.note((session.server_process, session.client_port))
            self._sessions = {each for each in self._sessions if each.open} | {session}
            return session
        except (OSError, NotConnected, TimeoutError) as error:
            log.warning("out does not take mail, trying again", error=str(error))
            if session is not None:  # it could not be written down: the disk is full
                session.abort()
            await asyncio.sleep(1)
            return None

    def _ports(self) -> set[int]:
        return {session.client_port for session in self._sessions if session.open}

    async def _hand_over(self, session: Session, claimed: Claim, composer: Composer) -> None:
        lease = Unknown(claimed.campaign, claimed.delivery, claimed.attempt)
        egress = self._board.names.get(claimed.egress)
        if egress is None or (egress, claimed.provider) in self._board.suspended:
            self._note(lease, "returned")  # its lane was closed since it was claimed
            return
        try:
            letter = composer.compose(claimed.delivery, claimed.recipient, claimed.provider, claimed.fields, egress)
        except Unsendable as error:
            self._note(lease, "failed", str(error))
            return
        except Exception as error:  # else the next life claims it again, and dies of it again
            log.exception("a mail can't be made", campaign=lease.campaign, delivery=lease.delivery)
            self._note(lease, "failed", f"Thurn could not make this mail ({type(error).__name__}: {error}).")
            return
        try:
            answer = session.send(letter.sender, letter.recipient, letter.data)
        except NotConnected:
            self._note(lease, "returned")
            return
        answer.add_done_callback(lambda done: self._answered(lease, session, done))
        while session.depth >= DEPTH:
            await session.room()

    def _answered(self, lease: Unknown, session: Session, answer: "asyncio.Future[Reply]") -> None:
        error = answer.exception()
        if isinstance(error, Unanswered):
            self._unknown[lease] = (session.server_process, session.client_port)
            return
        reply = answer.result()
        if reply.code < 300:
            self._note(lease, "handed_over", queue_id=reply.text.rpartition("queued as ")[2] or None)
        elif reply.code < 500:
            # Its disk may be full, and then its log has lost lines: what became of mails it took has to be looked up.
            self._broke_at = time.monotonic()
            self._note(lease, "returned", str(reply))
        else:
            self._note(lease, "failed", str(reply))

    def _give_back(self) -> None:
        while not self._ready.empty():
            claimed, _, _ = self._ready.get_nowait()
            self._note(Unknown(claimed.campaign, claimed.delivery, claimed.attempt), "returned")

    # ---- writing down

    def _note(self, lease: Unknown, kind: Kind, reply: str | None = None, queue_id: str | None = None) -> None:
        now = datetime.now(UTC)
        self._outcomes.append(Outcome(lease.campaign, lease.delivery, kind, now, lease.attempt, queue_id, reply=reply))
        if len(self._outcomes) >= 500:
            self._flush_now.set()

    async def _flush(self, db: Connection) -> None:
        while True:
            try:
                await asyncio.wait_for(self._flush_now.wait(), _FLUSH)
            except TimeoutError:
                pass
            self._flush_now.clear()
            if not self._outcomes:
                continue
            batch = list(self._outcomes)
            async with db.transaction():
                await append(db, batch)
            # Only now: if the commit failed they are written again, and the ledger's rules make twice the same as once.
            for outcome in batch:
                self._outcomes.popleft()
                self._held.discard(Unknown(outcome.campaign_id, outcome.delivery_id, outcome.attempt or 0))

    # ---- settling what is unknown

    async def _reconcile(self, db: Connection) -> None:
        served = frozenset(self._book.former)
        await settle_former(db, self._settings, self._tokens, self._life, self._former_ports, self._ports, served)
        self._book.forget_former()
        swept = time.monotonic()
        while True:
            await asyncio.sleep(0.5)
            if time.monotonic() - swept > _SWEEP and time.monotonic() - self._broke_at < _WATCH:
                swept = time.monotonic()
                if lost := await declare_lost(db, self._settings, self._tokens):
                    log.warning("outcomes lost in a crash of out", deliveries=lost)
            batch = dict(self._unknown)
            if batch:
                ports = {port for _, port in batch.values()}
                served = frozenset(batch.values())
                found, returned = await settle(
                    db, self._settings, self._tokens, [self._life], batch, ports, self._ports, served
                )
                for lease in batch:
                    del self._unknown[lease]
                    self._held.discard(lease)
                log.info("unknown deliveries settled", handed_over=found, queued_again=returned)


def main(settings: Settings) -> None:
    """Run until told to stop."""
    configure_logging("sender")
    lock = alone(settings)
    uvloop.run(Sender(settings).run())
    del lock
