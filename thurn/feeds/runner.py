"""Feeds in the role `worker`: mailboxes are looked at every minute, what webhooks brought is read at once.

Who looks at a mailbox takes a lease by moving its next look into the future; a worker that is killed leaves it to the
next.
"""

import asyncio
import imaplib
import poplib
from typing import Any

import psycopg
import structlog
from imapclient.exceptions import IMAPClientError

from thurn.alerts.service import mended, notify
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.feedback.incoming import Tokens
from thurn.feeds import reading, service
from thurn.feeds.mailbox import Mail, Mailbox, open_mailbox
from thurn.moves.hosts import Refused
from thurn.moves.runner import Wrong
from thurn.moves.wire import Trouble, Untrusted
from thurn.problems import Problem
from thurn.settings import Settings

log = structlog.get_logger()

_LEASE = 600  # seconds a look may take
_MAILS = 1000  # of one look; a mailbox with more is looked at again at once, after the others that are due
_LONGEST_WAIT = 3600  # seconds between tries of a server that does not answer
_CALLS = 50  # of webhooks, at a time
_KEPT = "35 days"  # that an item is remembered; services repeat themselves for three days at most


async def step(settings: Settings, db: Connection) -> int:
    """Look at the mailbox that is due longest, if one is; `db` is in autocommit."""
    feed = await maybe(
        db,
        """UPDATE feed SET next_at = now() + make_interval(secs => %s) WHERE id = (
             SELECT id FROM feed WHERE enabled AND hook IS NULL AND state <> 'broken' AND next_at <= now()
             ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
           RETURNING *, workspace_id = (SELECT id FROM workspace WHERE slug = 'main') AS main""",
        [_LEASE],
    )
    if feed is None:
        return 0
    try:
        password = await service.secret_of(db, feed["id"], settings)
        async with asyncio.timeout(_LEASE - 60):
            more = await _look(settings, db, feed, password)
        await _went_well(db, feed, pause=0 if more else service.EVERY)
    except (Wrong, Refused, Untrusted, Problem) as problem:
        await _broken(db, feed, str(problem))
    except (Trouble, imaplib.IMAP4.error, IMAPClientError, poplib.error_proto, TimeoutError, OSError) as problem:
        await _again(db, feed, str(problem) or "The server took too long.")
    except psycopg.Error:
        raise
    except Exception:
        log.exception("reading a mailbox met something unforeseen", feed=feed["id"])
        await _again(db, feed, "Something unforeseen happened here; the log of the worker knows more.")
    return 1


async def calls(settings: Settings, db: Connection) -> int:
    """Read what webhooks brought, oldest first; `db` is in autocommit."""
    tokens = Tokens.of(settings)
    waiting = await rows(
        db, "SELECT feed_id, key FROM feed_item WHERE body IS NOT NULL ORDER BY received_at LIMIT %s", [_CALLS]
    )
    for item in waiting:
        async with db.transaction():
            taken = await maybe(
                db,
                """SELECT i.body, f.*, f.workspace_id = (SELECT id FROM workspace WHERE slug = 'main') AS main
                   FROM feed_item i JOIN feed f ON f.id = i.feed_id
                   WHERE i.feed_id = %s AND i.key = %s AND i.body IS NOT NULL FOR UPDATE OF i SKIP LOCKED""",
                [item["feed_id"], item["key"]],
            )
            if taken is not None:
                await reading.take_call(db, settings, tokens, taken, bytes(taken["body"]))
                await db.execute(
                    "UPDATE feed_item SET body = NULL WHERE feed_id = %s AND key = %s", [item["feed_id"], item["key"]]
                )
    return len(waiting)


async def tidy(db: Connection) -> int:
    """Forget what nobody sends again; not what lies in a POP3 mailbox, where nothing else tells it is known."""
    await db.execute(
        f"""DELETE FROM feed_item i USING feed f WHERE f.id = i.feed_id AND i.body IS NULL
              AND i.received_at < now() - interval '{_KEPT}' AND NOT (f.kind = 'pop3' AND f.afterwards = 'keep')"""  # noqa: S608
    )
    return 0


async def _look(settings: Settings, db: Connection, feed: Row, password: str) -> bool:
    """Read what is new; True if there is more of it."""
    tokens = Tokens.of(settings)
    seen = frozenset[bytes]()
    if feed["kind"] == "pop3":
        found = await rows(db, "SELECT key FROM feed_item WHERE feed_id = %s", [feed["id"]])
        seen = frozenset(bytes(row["key"]) for row in found)
    mailbox, taken = await asyncio.to_thread(open_mailbox, feed, password, settings), 0
    try:
        while mails := await asyncio.to_thread(mailbox.new, seen):
            for mail in mails:
                async with db.transaction():
                    await reading.take_mail(db, settings, tokens, feed, mail.raw, mail.key)
            await asyncio.to_thread(mailbox.done, mails)
            await _stands(db, feed, mailbox, mails)
            taken += len(mails)
            if taken >= _MAILS:
                return True
        return False
    finally:
        await asyncio.to_thread(mailbox.close)


async def _stands(db: Connection, feed: Row, mailbox: Mailbox, mails: Any) -> None:
    """Where the next look begins: behind mails that are committed here and dealt with there."""
    last: Mail = max(mails, key=lambda mail: mail.number)
    if feed["kind"] == "imap":
        await db.execute(
            "UPDATE feed SET uidvalidity = %s, done_uid = %s WHERE id = %s",
            [mailbox.uidvalidity, last.number, feed["id"]],
        )


async def _went_well(db: Connection, feed: Row, *, pause: int) -> None:
    async with db.transaction():
        await db.execute(
            """UPDATE feed SET state = 'ok', reason = '', failures = 0, read_at = now(),
                 next_at = now() + make_interval(secs => %s) WHERE id = %s""",
            [pause, feed["id"]],
        )
        await mended(db, feed["workspace_id"], f"feed-{feed['id']}", mail=False)


async def _again(db: Connection, feed: Row, why: str) -> None:
    """Try later, at growing intervals; after a day of it the owners hear of it."""
    log.warning("a mailbox could not be read", feed=feed["id"], why=why)
    failures = feed["failures"] + 1
    async with db.transaction():
        await db.execute(
            """UPDATE feed SET state = 'retrying', reason = %s, failures = %s,
                 next_at = now() + make_interval(secs => %s) WHERE id = %s""",
            [why[:1000], failures, min(_LONGEST_WAIT, service.EVERY * 2 ** min(failures, 10)), feed["id"]],
        )
        if failures == 24:
            await _tell(db, feed, f"{why} Thurn keeps trying, once an hour.")


async def _broken(db: Connection, feed: Row, why: str) -> None:
    log.warning("a mailbox cannot be read", feed=feed["id"], why=why)
    async with db.transaction():
        await db.execute("UPDATE feed SET state = 'broken', reason = %s WHERE id = %s", [why[:1000], feed["id"]])
        await _tell(db, feed, f"{why} Thurn has stopped trying: put it right, then let it go on.")


async def _tell(db: Connection, feed: Row, text: str) -> None:
    slug = await maybe(db, "SELECT slug FROM workspace WHERE id = %s", [feed["workspace_id"]])
    await notify(
        db, feed["workspace_id"], f"Bounces in {feed['name']} are not read", text, f"feed-{feed['id']}", level="warn",
        link=f"/w/{slug['slug']}/feeds/{feed['id']}" if slug else "", act="Show it",
    )  # fmt: skip
