"""A chore of `keeper`: what operators hold or want tried again, what is given up, and when deferred mail is due.

All of it is done to the queue of this node's `out`.

It needs Postfix's own rights over its queue files, so root does it; what to do stands in the database, and nobody is
listened to. Which mail is whose is known from `queue_entry`.
"""

import os
import secrets
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import structlog

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.clock import pause

log = structlog.get_logger()

HELD = "run/ctl/held"  # queue ids that we put on hold: what an administrator holds by hand is left alone
_QUEUES = ("incoming", "active", "deferred")
_SCAN = b"D"  # qmgr(8): look through the deferred queue for what is due
_FORGET = b"F"  # and through its list of destinations that did not answer
_NS = 10**9
_LEAST = 0.02  # greylisting that asks for five minutes means no second less
_MORE = 0.25
_CHANGED = 10.0  # seconds

_WANTED = """
SELECT q.queue_id FROM queue_entry q
JOIN delivery d ON d.campaign_id = q.campaign_id AND d.id = q.delivery_id
WHERE q.node = %(node)s AND EXISTS (
  SELECT 1 FROM hold h WHERE coalesce(h.workspace_id, d.workspace_id) = d.workspace_id
                         AND coalesce(h.provider, d.provider) = d.provider)
"""
_OF_PROVIDER = """
SELECT q.queue_id FROM queue_entry q
JOIN delivery d ON d.campaign_id = q.campaign_id AND d.id = q.delivery_id
WHERE q.node = %(node)s AND (%(provider)s::text IS NULL OR d.provider = %(provider)s)
"""


def tend(settings: Settings) -> None:
    """Look once. Raises psycopg.Error, OSError or subprocess.SubprocessError; the next look does it again."""
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3, autocommit=True) as db:
        _hold(db, settings)
        _retry(db, settings)
        _give_up(db, settings)
    _spread(settings)


def _hold(db: psycopg.Connection, settings: Settings) -> None:
    """Put on hold what is held, and let go what is not any more. Idempotent: it compares."""
    note = settings.state / HELD
    ours = set(note.read_text().split()) if note.exists() else set()
    any_hold = db.execute("SELECT EXISTS (SELECT 1 FROM hold)").fetchone()
    if not ours and not (any_hold and any_hold[0]):
        return
    wanted = {row[0] for row in db.execute(_WANTED, {"node": settings.node})}
    there = {path.name for path in (settings.state / "out" / "queue" / "hold").rglob("*") if path.is_file()}
    new = {queue_id for queue_id in wanted - there if _file(settings, queue_id)}
    # Written down before it is done: killed in between, we still know what is ours.
    _write(note, (ours & there) | new)
    _postsuper(settings, "-h", new)
    gone = (ours & there) - wanted
    _postsuper(settings, "-H", gone)
    if gone:
        _write(note, ((ours & there) | new) - gone)
        _make_due(settings, gone)
    if new or gone:
        log.info("mail of out held and released", held=len(new), released=len(gone))


def _retry(db: psycopg.Connection, settings: Settings) -> None:
    asked = db.execute(
        "SELECT id, provider FROM queue_retry WHERE node = %s AND done_at IS NULL", [settings.node]
    ).fetchall()
    for number, provider in asked:
        ids = {row[0] for row in db.execute(_OF_PROVIDER, {"node": settings.node, "provider": provider})}
        mails = _make_due(settings, ids)
        db.execute("UPDATE queue_retry SET done_at = now(), mails = %s WHERE id = %s", [mails, number])
        db.execute("DELETE FROM queue_retry WHERE done_at < now() - interval '1 day'")
        log.info("mail of out is tried again", provider=provider or "all", mails=mails)


def _give_up(db: psycopg.Connection, settings: Settings) -> None:
    """End what a rule of shaping gave up; Postfix logs each as expired, or as delivered if it was faster."""
    rows = db.execute("SELECT queue_id FROM give_up WHERE node = %s LIMIT 5000", [settings.node]).fetchall()
    ids = {row[0] for row in rows}
    if not ids:
        return
    there = {queue_id for queue_id in ids if _file(settings, queue_id)}
    _postsuper(settings, "-e", there)
    if there:
        _make_due(settings, there)
        log.info("mail of out given up", mails=len(there))
    # Not found: delivered meanwhile, or ended by the look before this one.
    db.execute("DELETE FROM give_up WHERE node = %s AND queue_id = ANY(%s)", [settings.node, sorted(ids)])


def _spread(settings: Settings) -> None:
    """Put each deferred mail off by up to a quarter more, by chance: what was put off together does not come together.

    Postfix notes whole seconds for when a mail is due, so whatever has a part of a second has had its turn. Only
    folders in which something changed are looked at.
    """
    now = time.time()
    for folder in (settings.state / "out" / "queue" / "deferred").iterdir():
        if now - folder.stat().st_mtime > _CHANGED:
            continue
        for entry in os.scandir(folder):
            try:
                due = entry.stat().st_mtime_ns
                if due > now * _NS and not due % _NS:
                    wait = due - now * _NS
                    due += int(_LEAST * wait) + secrets.randbelow(int((_MORE - _LEAST) * wait) + 1) | 1
                    os.utime(entry.path, ns=(due, due))
            except FileNotFoundError:  # it has just been taken up
                continue


def _make_due(settings: Settings, ids: set[str]) -> int:
    """Have deferred mails tried now; returns how many there were."""
    mails = 0
    for path in (settings.state / "out" / "queue" / "deferred").rglob("*"):
        if path.name in ids:
            try:
                os.utime(path)  # as flush(8) does: the time of a queue file is when it is due
                mails += 1
            except FileNotFoundError:  # it has just been taken up
                continue
    _tell_qmgr(settings, _FORGET + _SCAN)
    return mails


def _file(settings: Settings, queue_id: str) -> bool:
    queue = settings.state / "out" / "queue"
    return any(next((queue / name).rglob(queue_id), None) is not None for name in _QUEUES)


def _postsuper(settings: Settings, option: str, ids: set[str]) -> None:
    if ids:
        subprocess.run(
            ["postsuper", "-c", f"{settings.state}/out/etc", option, "-"],
            input="".join(f"{queue_id}\n" for queue_id in sorted(ids)),
            text=True,
            cwd="/",
            check=True,
            capture_output=True,
            timeout=60,
        )


def _tell_qmgr(settings: Settings, request: bytes) -> None:
    """What `postqueue -f` says, over the same socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(settings.state / "out" / "queue" / "public" / "qmgr"))
        client.sendall(request)
        pause(0.05)  # qmgr reads when it has accepted; one that is gone by then was nobody


def _write(path: Path, ids: set[str]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{queue_id}\n" for queue_id in sorted(ids)))
    fresh.replace(path)
