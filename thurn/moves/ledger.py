"""What a running move writes down, each step in a transaction of its own: synchronous, for the thread that moves.

A message is noted before it is stored here and ticked off after; one that was noted and not ticked off when the worker
was killed is looked for. The connection holds a lock on the move: nobody else runs it, and a kill lets go of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from thurn.db.connect import conninfo
from thurn.settings import Settings

Sync = psycopg.Connection[dict[str, Any]]
_LOCK = 0x7468_6D76  # class of our advisory locks


class Stopped(Exception):
    """The move is no longer wanted: it was cancelled, or its mailbox is gone."""


@dataclass(frozen=True, slots=True)
class Noted:
    """The message that is being stored."""

    source: str
    uidvalidity: int
    uid: int
    target: str
    from_uid: int  # of the target: below it the message cannot be
    size: int  # with CRLF
    digest: str

    @classmethod
    def of(cls, known: dict[str, Any]) -> "Noted":
        """From JSON."""
        return cls(**known)

    def json(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Ledger:
    """One run of one move."""

    def __init__(self, settings: Settings, number: int) -> None:
        self.number = number
        self._db: Sync = psycopg.connect(conninfo(settings, "system"), row_factory=dict_row, autocommit=True)

    def close(self) -> None:
        """Let go of the move."""
        self._db.close()

    def take(self) -> dict[str, Any] | None:
        """Lock the move and mark it running; its row, or None if somebody else has it or it is not to run."""
        held = self._db.execute("SELECT pg_try_advisory_lock(%s, %s) AS ours", [_LOCK, self.number % 2**31]).fetchone()
        if not held or not held["ours"]:
            return None
        return self._db.execute(
            """UPDATE mailbox_move v
               SET state = 'running', started_at = coalesce(started_at, now()), updated_at = now(), next_try_at = NULL
               FROM mailbox m, workspace w
               WHERE v.id = %s AND m.id = v.mailbox_id AND w.id = v.workspace_id AND v.state IN ('waiting', 'running')
                 AND coalesce(v.next_try_at <= now(), true)
               RETURNING v.*, m.address""",
            [self.number],
        ).fetchone()

    def folder(self, source: str, target: str) -> dict[str, Any]:
        """The folder's row, made if it is new: what it was called here at first stays."""
        row = self._db.execute(
            """INSERT INTO mailbox_move_folder (move_id, workspace_id, source, target)
               SELECT id, workspace_id, %s, %s FROM mailbox_move WHERE id = %s
               ON CONFLICT (move_id, source) DO UPDATE SET source = excluded.source RETURNING *""",
            [source, target, self.number],
        ).fetchone()
        if row is None:
            raise Stopped
        return row

    def known(self, source: str, uidvalidity: int) -> None:
        """The folder counts by these UIDs."""
        self._db.execute(
            "UPDATE mailbox_move_folder SET uidvalidity = %s WHERE move_id = %s AND source = %s",
            [uidvalidity, self.number, source],
        )

    def sizes(self, folders: int, messages: int) -> None:
        """How much there is to do."""
        self._change("folders_total = %s, messages_total = %s, folders_done = 0", [folders, messages])

    def at(self, folder: str, done: int) -> None:
        """Where it is."""
        self._change("folder = %s, folders_done = %s", [folder, done])

    def note(self, noted: Noted) -> None:
        """This message is stored next."""
        self._change("appending = %s", [Jsonb(noted.json())])

    def tick(self, source: str, uid: int, size: int) -> None:
        """The message is here."""
        with self._db.transaction():
            self._reach(source, uid)
            self._db.execute(
                """UPDATE mailbox_move SET messages_done = messages_done + 1, bytes_done = bytes_done + %s,
                     appending = NULL, failures = 0, reason = '', updated_at = now() WHERE id = %s""",
                [size, self.number],
            )

    def never(self) -> None:
        """What was noted did not get here: it is taken again."""
        self._change("appending = NULL", [])

    def skip(
        self, folder: str, uid: int | None, reason: str, *, size: int | None = None, dated: datetime | None = None
    ) -> None:  # fmt: skip
        """A message, or a whole folder, stays behind."""
        with self._db.transaction():
            if uid is not None:
                self._reach(folder, uid)
            self._db.execute(
                """INSERT INTO mailbox_move_problem (move_id, workspace_id, folder, uid, size, dated, reason)
                   SELECT id, workspace_id, %s, %s, %s, %s, %s FROM mailbox_move WHERE id = %s""",
                [folder, uid, size, dated, reason, self.number],
            )
            self._db.execute(
                """UPDATE mailbox_move SET messages_left = messages_left + %s, appending = NULL, updated_at = now()
                   WHERE id = %s""",
                [int(uid is not None), self.number],
            )

    def said(self, folder: str) -> bool:
        """Whether something stands there already about the whole folder."""
        row = self._db.execute(
            "SELECT 1 AS yes FROM mailbox_move_problem WHERE move_id = %s AND folder = %s AND uid IS NULL LIMIT 1",
            [self.number, folder],
        ).fetchone()
        return row is not None

    def end(self, state: str, reason: str = "") -> None:
        """Done, failed or paused, unless somebody cancelled it meanwhile. What has ended keeps no password."""
        self._db.execute(
            """UPDATE mailbox_move SET state = %(state)s, reason = %(reason)s, folder = '', updated_at = now(),
                 finished_at = CASE WHEN %(state)s = 'paused' THEN NULL ELSE now() END,
                 password = CASE WHEN %(state)s = 'paused' THEN password END
               WHERE id = %(id)s AND state = 'running'""",
            {"state": state, "reason": reason, "id": self.number},
        )

    def again(self, reason: str, *, most: int) -> None:
        """Something in between went wrong: try again later, later each time; after `most` times in a row it failed."""
        row = self._db.execute(
            """UPDATE mailbox_move
               SET failures = failures + 1, reason = %s, updated_at = now(), state = 'waiting',
                   next_try_at = now() + least(interval '1 hour', interval '15 seconds' * 2 ^ least(failures, 10))
               WHERE id = %s AND state = 'running' RETURNING failures""",
            [reason, self.number],
        ).fetchone()
        if row and row["failures"] >= most:
            self._db.execute(
                """UPDATE mailbox_move SET state = 'failed', password = NULL, finished_at = now()
                   WHERE id = %s AND state = 'waiting'""",
                [self.number],
            )

    def _reach(self, source: str, uid: int) -> None:
        self._db.execute(
            "UPDATE mailbox_move_folder SET done_uid = greatest(done_uid, %s) WHERE move_id = %s AND source = %s",
            [uid, self.number, source],
        )

    def _change(self, what: str, values: list[Any]) -> None:
        """Change the row while the move is to run; `Stopped` when it is not any more."""
        query = f"UPDATE mailbox_move SET {what}, updated_at = now() WHERE id = %s AND state = 'running'"  # noqa: S608
        if not self._db.execute(query, [*values, self.number]).rowcount:
            raise Stopped
