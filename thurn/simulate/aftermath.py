"""What comes of accepted mail, in time: readers, machines, bounces and complaints.

Steps are kept with the mail, so a restart forgets none; one that was in progress is taken again.
"""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import cast

import structlog

from thurn.simulate.behaviour import What, behaviour
from thurn.simulate.engage import Browser, Reader
from thurn.simulate.links import find_links
from thurn.simulate.mailer import deliver
from thurn.simulate.reports import bounce, complaint, complaint_address, dkim_key, sign
from thurn.simulate.returns import RETURNS, Got, Sent
from thurn.simulate.store import Store
from thurn.simulate.world import mx_hosts

log = structlog.get_logger()

_AT_ONCE = 24  # steps in progress
_LATE = 0.3  # seconds a step may end after it was due; beyond, the others of the same mail are put off as much


class Aftermath:
    """Takes each step when it is due."""

    def __init__(self, store: Store, seed: int, mx_port: int) -> None:
        self._store = store
        self._seed = seed
        self._mx_port = mx_port
        self._key, _ = dkim_key(seed)
        # When, which, and how much later than planned that is.
        self._due: list[tuple[float, int, float]] = [(due, step, 0.0) for step, due in store.open_steps()]
        self._due.sort()
        self._more = asyncio.Event()
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._browser = Browser()
        self._busy: set[int] = set()  # mails of which a step is in progress
        self._late: dict[int, float] = {}  # mail -> seconds its story runs behind the plan

    @property
    def pending(self) -> int:
        """Steps to come or in progress."""
        return len(self._due) + len(self._tasks)

    def plan(self, step: int, due: float) -> None:
        """Remember a step that has been written down."""
        heappush(self._due, (due, step, 0.0))
        self._more.set()

    def forget(self) -> None:
        """Drop what is to come; what is in progress finds its message gone."""
        self._due.clear()
        self._late.clear()

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                await self._wait()
                await self._free.acquire()
                if not self._due:  # forgotten meanwhile
                    self._free.release()
                    continue
                task = asyncio.create_task(self._take(*heappop(self._due)))
                self._tasks.add(task)
                task.add_done_callback(self._done)
        finally:
            for task in self._tasks:
                task.cancel()
            await self._browser.close()

    async def _wait(self) -> None:
        """Until a step is due."""
        while not self._due or self._due[0][0] > time.time():
            self._more.clear()
            pause = self._due[0][0] - time.time() if self._due else None
            try:
                await asyncio.wait_for(self._more.wait(), pause)
            except TimeoutError:
                pass

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()

    async def _take(self, due: float, step: int, late: float) -> None:
        """Act, or put off: on a busy machine a person must not come to a mail while a scanner is still at it."""
        found = self._store.step(step)
        if found is not None:
            message = found[0]
            if message in self._busy:
                self._put_off(due, step, late, time.time() - due + _LATE)
                return
            if (behind := self._late.get(message, 0.0) - late) > 0:
                self._put_off(due, step, late, behind)
                return
            self._busy.add(message)
            try:
                await self._act(*found)
            except Exception:
                # A mail that cannot be read, or a fault of ours: this step is over, the others are not.
                log.exception("a step failed", step=step)
            finally:
                self._busy.discard(message)
            if (took := time.time() - due) > _LATE:
                self._late[message] = late + took
        self._store.finish(step)
        self._store.commit()

    def _put_off(self, due: float, step: int, late: float, seconds: float) -> None:
        heappush(self._due, (due + seconds, step, late + seconds))
        self._more.set()

    async def _act(self, message: int, what: str, detail: str, sender: str, recipient: str, data: bytes) -> None:
        if what in RETURNS:
            await self._return(message, RETURNS[what], detail, sender, recipient, data)
            return
        if what in ("bounce", "complain"):
            await self._send_back(message, what, detail, sender, recipient, data)
            return
        reader = Reader(self._browser, find_links(data), behaviour(recipient, self._seed).number)
        for hit in await reader.take(cast("What", what), detail):
            self._store.record(
                message, hit.kind, hit.actor, ok=hit.ok, status=hit.status, target=hit.url, agent=hit.agent
            )

    async def _send_back(self, message: int, what: str, why: str, sender: str, recipient: str, data: bytes) -> None:
        """A bounce or a complaint to our `mx`. A mail without envelope sender gets none (RFC 5321, 6.1)."""
        if "@" not in sender:
            return
        domain = recipient.rpartition("@")[2]
        number = message << 32 | behaviour(recipient, self._seed).number
        if what == "bounce":
            mail = bounce(recipient=recipient, sender=sender, reason=why, original=data, number=number)
            envelope, to, kind = "", sender, "bounce"
        else:
            mail = complaint(recipient=recipient, sender=sender, original=data, number=number)
            envelope, to, kind, why = f"feedback@{domain}", complaint_address(sender), "complaint", "abuse"
        mail = sign(mail, domain, self._key)
        helo = mx_hosts(domain)[0]
        ok, status = await deliver(self._mx_port, helo=helo, sender=envelope, recipient=to, mail=mail)
        actor = "machine" if kind == "bounce" else "human"
        self._store.record(message, kind, actor, ok=ok, status=status, target=why)

    async def _return(
        self, message: int, make: Callable[[Got, str], Sent | None], why: str, sender: str, recipient: str, data: bytes
    ) -> None:
        """Another mail to our `mx`. Nothing answers a mail without envelope sender."""
        if "@" not in sender:
            return
        domain = recipient.rpartition("@")[2]
        number = message << 32 | behaviour(recipient, self._seed).number
        sent = make(Got(sender, recipient, data, number), why)
        if sent is None:
            return
        mail = sign(sent.mail, domain, self._key)
        ok, status = await deliver(
            self._mx_port, helo=mx_hosts(domain)[0], sender=sent.sender, recipient=sent.to, mail=mail
        )
        self._store.record(message, sent.kind, "human", ok=ok, status=status, target=sent.why)
