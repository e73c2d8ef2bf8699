"""Follows the mail log of this node's `out` and turns it into outcomes.

How far it has read is committed together with what it has read: whatever is killed, each line counts once. Which
queue id belongs to which delivery is remembered in memory, and in the database only while a mail outlives a batch.
"""

import time
from datetime import UTC, datetime

from thurn.db.connect import Connection
from thurn.delivery.outcomes import Outcome, append
from thurn.feedback.classify import classify
from thurn.feedback.postfix_log import Line, parse, when
from thurn.feedback.tail import Tail, follow
from thurn.mail.tokens import InvalidToken, VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.shaping.answers import OUTCOMES, Ears, Heard
from thurn.shaping.giving_up import GiveUps, wish

_TELL = 1.0  # seconds; how often a quiet log's position is renewed

Key = tuple[int, int]


class LogReader:
    """One node's log. `run` never returns; a lost database connection is waited out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tail = Tail(settings.state / "log" / "out.mail.log")
        self._tokens = VerpTokens(Secrets(settings.state).derive("verp"))
        self._give_ups = GiveUps()
        self._head = (0, "")  # inode of the log, and how it begins
        self._told = -_TELL  # by a clock that nobody sets
        self._known: dict[str, Key] = {}
        self._stored: set[str] = set()
        self._answered: set[str] = set()  # delivered or bounced, and not removed from the queue yet
        self._last_reply: dict[str, str] = {}  # of mails that are being deferred

    async def run(self) -> None:
        """Follow the log for ever."""
        await follow(self._settings, self._load, self.step)

    async def _load(self, db: Connection) -> None:
        node = self._settings.node
        query = "SELECT inode, position, head FROM log_position WHERE node = %s"
        row = await (await db.execute(query, [node])).fetchone()
        self._tail.inode, self._tail.position = (row["inode"], row["position"]) if row else (0, 0)
        self._tail.recognise(row["head"] if row else "")
        rows = await db.execute("SELECT queue_id, campaign_id, delivery_id FROM queue_entry WHERE node = %s", [node])
        self._known = {r["queue_id"]: (r["campaign_id"], r["delivery_id"]) async for r in rows}
        self._stored = set(self._known)
        await db.commit()

    async def step(self, db: Connection) -> int:
        """Read what is new and commit it; how many bytes that were."""
        data = self._tail.read()
        now = datetime.now(UTC)
        if data is None:
            # Also when quiet: whoever waits for the log to be read past a moment learns that it was.
            if time.monotonic() - self._told > _TELL:
                await self._store(db, now)
                await db.commit()
            return 0
        outcomes: list[Outcome] = []
        ears = Ears()
        deferred: list[tuple[str, Heard, Key]] = []
        await self._give_ups.refresh(db)
        for raw in data.split(b"\n"):
            line = parse(raw)
            if line is not None:
                if line.what in OUTCOMES and line.queue_id in self._known:
                    heard = ears.take(line, raw, when(raw, now))
                    if heard is not None and heard.outcome == "deferred":
                        deferred.append((line.queue_id, heard, self._known[line.queue_id]))
                self._take(line, raw, now, outcomes)
        self._tail.position += len(data)
        await append(db, outcomes)
        await ears.store(db)
        await wish(db, self._settings.node, self._give_ups.look(deferred))
        await self._store(db, now)
        await db.commit()
        return len(data)

    def _take(self, line: Line, raw: bytes, now: datetime, outcomes: list[Outcome]) -> None:
        queue_id = line.queue_id
        if line.what == "from":
            if queue_id not in self._known:
                try:
                    self._known[queue_id] = key = self._tokens.read(line.sender)
                except InvalidToken:
                    return
                outcomes.append(Outcome(*key, "handed_over", when(raw, now), queue_id=queue_id, source="log"))
            return
        key_or_none = self._known.get(queue_id)
        if key_or_none is None:
            return
        if line.what == "removed":
            del self._known[queue_id]
            self._last_reply.pop(queue_id, None)
            if queue_id not in self._answered:
                # Gone from the queue, and the line that says how was lost in a crash. Repeating what is known
                # already does no harm: after a delivery or a bounce the ledger ignores this.
                outcomes.append(Outcome(*key_or_none, "lost", when(raw, now), queue_id=queue_id, source="log"))
            self._answered.discard(queue_id)
            return
        if line.what != "deferred":
            self._answered.add(queue_id)
        outcomes.append(self._outcome(line, key_or_none, when(raw, now)))

    def _outcome(self, line: Line, key: Key, at: datetime) -> Outcome:
        if line.what == "sent":
            return Outcome(*key, "delivered", at, queue_id=line.queue_id, reply=line.reply, source="log")
        if line.what == "expired":
            reply = self._last_reply.get(line.queue_id, line.reply)
            return Outcome(*key, "bounced", at, None, line.queue_id, "expired", False, reply, "log")
        verdict = classify(line.reply)
        if line.what == "deferred":
            self._last_reply[line.queue_id] = line.reply
            return Outcome(*key, "deferred", at, None, line.queue_id, verdict.category, None, line.reply, "log")
        return Outcome(*key, "bounced", at, None, line.queue_id, verdict.category, verdict.hard, line.reply, "log")

    async def _store(self, db: Connection, now: datetime) -> None:
        node = self._settings.node
        gone = [queue_id for queue_id in self._stored if queue_id not in self._known]
        new = [(queue_id, *key) for queue_id, key in self._known.items() if queue_id not in self._stored]
        if gone:
            await db.execute(
                "DELETE FROM queue_entry WHERE node = %s AND queue_id = ANY(ARRAY(SELECT unnest(%s::text[])))",
                [node, gone],
            )
        if new:
            await db.execute(
                """INSERT INTO queue_entry (node, queue_id, campaign_id, delivery_id)
                   SELECT %s, * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
                   ON CONFLICT (node, queue_id) DO UPDATE
                   SET campaign_id = excluded.campaign_id, delivery_id = excluded.delivery_id""",
                [node, *map(list, zip(*new, strict=True))],
            )
        self._stored = set(self._known)
        self._told = time.monotonic()
        if self._head[0] != self._tail.inode or not self._head[1]:
            self._head = self._tail.inode, self._tail.head()
        await db.execute(
            """INSERT INTO log_position (node, inode, position, head, read_at) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (node) DO UPDATE SET inode = excluded.inode, position = excluded.position,
                                                head = excluded.head, read_at = excluded.read_at""",
            [node, self._tail.inode, self._tail.position, self._head[1], now],
        )
