"""What the simulated receivers hold: one SQLite file, `<state>/sim/mail.sqlite3`.

Whoever answers 250 has committed first (`receivers`). A commit hands the data to the operating system without waiting
for the disk: a killed process loses nothing, a power cut may. One process writes; any number read (WAL).
"""

import re
import sqlite3
import time
from base64 import b32decode
from binascii import Error as DecodeError
from collections.abc import Iterable
from pathlib import Path

from thurn.simulate.behaviour import Step

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (      -- accepted: one row per recipient
  id         INTEGER PRIMARY KEY,
  at         REAL NOT NULL,
  sender     TEXT NOT NULL,               -- envelope sender
  recipient  TEXT NOT NULL,               -- envelope recipient, lower case
  campaign   TEXT NOT NULL,               -- of the envelope sender's token; '' for people's mail
  message_id TEXT NOT NULL,
  addressed  INTEGER NOT NULL,            -- whether the To or Cc field names the recipient
  data       BLOB NOT NULL,               -- as it came, dots unstuffed
  peer       TEXT NOT NULL DEFAULT '',    -- the address it came from
  helo       TEXT NOT NULL DEFAULT ''     -- and what that called itself
);
CREATE INDEX IF NOT EXISTS message_recipient ON message (recipient);
CREATE INDEX IF NOT EXISTS message_campaign ON message (campaign);
CREATE TABLE IF NOT EXISTS refusal (
  id        INTEGER PRIMARY KEY,
  at        REAL NOT NULL,
  sender    TEXT NOT NULL,
  recipient TEXT NOT NULL,
  campaign  TEXT NOT NULL,
  kind      TEXT NOT NULL,                -- greylist | unknown | full | policy
  reply     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refusal_recipient ON refusal (recipient);
CREATE TABLE IF NOT EXISTS step (         -- what is going to come of an accepted message
  id      INTEGER PRIMARY KEY,
  message INTEGER NOT NULL REFERENCES message,
  due     REAL NOT NULL,
  what    TEXT NOT NULL,
  detail  TEXT NOT NULL,
  done    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS step_open ON step (due) WHERE done = 0;
CREATE TABLE IF NOT EXISTS action (       -- what was done: a request, a bounce, a report
  id        INTEGER PRIMARY KEY,
  at        REAL NOT NULL,
  message   INTEGER NOT NULL,
  recipient TEXT NOT NULL,
  campaign  TEXT NOT NULL,
  kind      TEXT NOT NULL,                -- open | click | unsubscribe | look | bounce | complaint
  actor     TEXT NOT NULL,                -- human | machine
  ok        INTEGER NOT NULL,             -- whether the other side took it
  status    TEXT NOT NULL,                -- HTTP status or SMTP reply, or why nothing was tried
  target    TEXT NOT NULL,                -- URL or address; for a bounce, its reason
  agent     TEXT NOT NULL                 -- User-Agent
);
CREATE INDEX IF NOT EXISTS action_campaign ON action (campaign);
"""
TABLES = ("message", "refusal", "step", "action")
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)
_ADDRESSEES = re.compile(rb"^(?:to|cc):(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)


def campaign_of(sender: str) -> str:
    """The campaign in an envelope sender `b.<egress>.<provider>.<token>@…`: the token's first number, or ''.

    Read without the key: a receiver only needs to tell campaigns apart.
    """
    parts = sender.partition("@")[0].split(".")
    if len(parts) != 4 or parts[0].lower() != "b":
        return ""
    token = parts[3].upper()
    try:
        raw = b32decode(token + "=" * (-len(token) % 8))
    except (DecodeError, ValueError):
        return ""
    value = shift = 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return str(value)
        shift += 7
    return ""


def _printable(value: str) -> str:
    """SQLite wants text it can encode; bytes that were no UTF-8 show as escapes."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Store:
    """The writer. Nothing is kept before `commit`; the caller answers nobody before that."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA page_size = 8192")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)
        known = {row[1] for row in self._db.execute("PRAGMA table_info(message)")}
        for column in ("peer", "helo"):  # a file that was made before them
            if column not in known:
                self._db.execute(f"ALTER TABLE message ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")

    def _write(self, sql: str, values: tuple[object, ...]) -> int:
        if not self._db.in_transaction:
            self._db.execute("BEGIN")
        return self._db.execute(sql, values).lastrowid or 0

    def commit(self) -> None:
        """Keep everything written since the last commit."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Forget everything written since the last commit."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def accept(self, sender: str, recipient: str, data: bytes, peer: str = "", helo: str = "") -> int:
        """Write an accepted message; its id. `peer`: the client's address, `helo`: its name."""
        end = data.find(b"\r\n\r\n")
        head = data if end < 0 else data[: end + 2]
        found = _MESSAGE_ID.search(head)
        message_id = found[1].decode("ascii", "backslashreplace") if found else ""
        needle = recipient.encode("utf-8", "surrogateescape")
        addressed = any(needle in field.lower() for field in _ADDRESSEES.findall(head))
        return self._write(
            "INSERT INTO message (at, sender, recipient, campaign, message_id, addressed, data, peer, helo)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (
                *(time.time(), _printable(sender), _printable(recipient), campaign_of(sender), message_id, addressed),
                *(data, peer, _printable(helo)),
            ),
        )

    def plan(self, message: int, step: Step) -> tuple[int, float]:
        """Write down what comes of a message; (id, time it is due)."""
        due = time.time() + step.after
        sql = "INSERT INTO step (message, due, what, detail) VALUES (?,?,?,?)"
        return self._write(sql, (message, due, step.what, step.detail)), due

    def refuse(self, sender: str, recipient: str, kind: str, reply: str) -> None:
        """Write down a refusal, for good or for now."""
        self._write(
            "INSERT INTO refusal (at, sender, recipient, campaign, kind, reply) VALUES (?,?,?,?,?,?)",
            (time.time(), _printable(sender), _printable(recipient), campaign_of(sender), kind, _printable(reply)),
        )

    def first_greylisted(self, sender: str, recipient: str) -> float | None:
        """When this pair was first put off, if it was; in Unix time."""
        row = self._db.execute(
            "SELECT min(at) FROM refusal WHERE recipient = ? AND sender = ? AND kind = 'greylist'",
            (_printable(recipient), _printable(sender)),
        ).fetchone()
        return row[0] if row else None

    def record(
        self, message: int, kind: str, actor: str, *, ok: bool, status: str, target: str, agent: str = ""
    ) -> None:
        """Write down something that was done because of a message."""
        self._write(
            "INSERT INTO action (at, message, recipient, campaign, kind, actor, ok, status, target, agent) "
            "SELECT ?, id, recipient, campaign, ?, ?, ?, ?, ?, ? FROM message WHERE id = ?",
            (time.time(), kind, actor, ok, _printable(status), target, agent, message),
        )

    def finish(self, step: int) -> None:
        """The step has been taken, or given up."""
        self._write("UPDATE step SET done = 1 WHERE id = ?", (step,))

    def open_steps(self) -> Iterable[tuple[int, float]]:
        """(id, due) of steps nobody has taken yet: after a restart."""
        return self._db.execute("SELECT id, due FROM step WHERE done = 0").fetchall()

    def step(self, step: int) -> tuple[int, str, str, str, str, bytes] | None:
        """(message, what, detail, sender, recipient, data) of a step, unless it was forgotten."""
        row: tuple[int, str, str, str, str, bytes] | None = self._db.execute(
            "SELECT m.id, s.what, s.detail, m.sender, m.recipient, m.data "
            "FROM step s JOIN message m ON m.id = s.message WHERE s.id = ?",
            (step,),
        ).fetchone()
        return row

    def reset(self) -> None:
        """Forget everything."""
        self.rollback()
        for table in TABLES:
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our own
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Commit and let go of the file."""
        self.commit()
        self._db.close()


def read(path: Path) -> sqlite3.Connection:
    """A connection for reading, beside the writer."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db
