"""Runs moves in the role `worker`, a few at once, each in a thread of its own: IMAPClient waits by blocking.

Nothing marks a move as somebody's but a lock that its connection holds. A worker that is killed lets go of it, and the
next one goes on.
"""

import asyncio
import imaplib
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from cryptography.exceptions import InvalidTag
from imapclient.exceptions import IMAPClientError

from thurn.db.connect import Connection, connect
from thurn.mailhost import app_passwords
from thurn.moves import hosts
from thurn.moves.copy import Copy, Full, words
from thurn.moves.ledger import Ledger, Noted, Stopped
from thurn.moves.service import label
from thurn.moves.wire import Client, Trouble, Untrusted
from thurn.moves.wire import connect as dial
from thurn.secrets import Secrets
from thurn.settings import LOOPBACK, Settings
from thurn.stack import open_sessions

log = structlog.get_logger()

AT_ONCE = 3
_LOOK = 1.0  # seconds between looks for moves to run
_MOST_FAILURES = 12  # in a row: about five hours
_SETTLE = 60.0  # seconds at most that a session of a killed worker gets to store what it had received
_PAUSED_FOR = timedelta(days=7)


class Wrong(Exception):
    """The move cannot work as it was asked for; the message says why."""


class Runner:
    """The moves of this worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look for moves for ever."""
        while True:
            try:
                async with await connect(self._settings, "system", autocommit=True) as db:
                    while True:
                        await self.step(db)
                        await asyncio.sleep(_LOOK)
            except psycopg.Error as error:
                log.warning("database trouble, trying again", loop="moves", error=str(error))
                await asyncio.sleep(_LOOK)

    async def step(self, db: Connection) -> None:
        """Start what is due."""
        self._running = {number: task for number, task in self._running.items() if not task.done()}
        await db.execute(
            """UPDATE mailbox_move SET state = 'failed', password = NULL, finished_at = now(),
                 reason = reason || ' It waited for a week.'
               WHERE state = 'paused' AND updated_at < now() - %s""",
            [_PAUSED_FOR],
        )
        rows = await db.execute(
            """SELECT id FROM mailbox_move WHERE state IN ('waiting', 'running') AND id <> ALL(%s)
                 AND coalesce(next_try_at <= now(), true) ORDER BY updated_at LIMIT %s""",
            [list(self._running), AT_ONCE - len(self._running)],
        )
        for row in await rows.fetchall():
            self._running[row["id"]] = asyncio.create_task(self.one(row["id"]))

    async def one(self, number: int) -> None:
        """Run one move as far as it goes."""
        try:
            ledger = await asyncio.to_thread(Ledger, self._settings, number)
        except psycopg.Error as error:
            log.warning("cannot run a move", move=number, error=str(error))
            return
        try:
            move = await asyncio.to_thread(ledger.take)
            if move is not None:
                await self._go(ledger, move)
        except psycopg.Error as error:  # the next look finds the move again
            log.warning("a move lost the database", move=number, error=str(error))
        finally:
            await asyncio.to_thread(ledger.close)

    async def _go(self, ledger: Ledger, move: dict[str, Any]) -> None:
        async with await connect(self._settings, "system", autocommit=True) as db:
            # Those of runs that were killed go too: no two runs of a move are alive at once.
            await _revoke(db, move)
            inner, secret = await app_passwords.create(
                db, move["workspace_id"], move["mailbox_id"], name=f"Move {move['id']}", scope="import",
                expires_at=datetime.now(UTC) + timedelta(days=7),
            )  # fmt: skip
        log.info("moving", move=move["id"], run=inner)
        try:
            await _in_thread(self._move, ledger, move, secret)
        finally:
            async with await connect(self._settings, "system", autocommit=True) as db:
                await _revoke(db, move)

    def _move(self, ledger: Ledger, move: dict[str, Any], inner: str) -> None:
        try:
            outer = Secrets(self._settings.state).unseal(move["password"] or b"", label(move)).decode()
        except (InvalidTag, ValueError):
            ledger.end("failed", "The password for the other server is no longer there. Start the move again.")
            return
        clients: list[Client] = []
        try:
            clients.append(self._source(move, outer))
            clients.append(self._target(move, inner))
            noted = Noted.of(move["appending"]) if move["appending"] else None
            if noted:
                self._wait_for_earlier_runs(move["address"])
            Copy(clients[0], clients[1], ledger).run(noted)
            ledger.end("done")
        except Stopped:
            pass
        except Full:
            ledger.end("paused", "The mailbox here is full. Give it more room, then let the move go on.")
        except (Wrong, hosts.Refused, Untrusted) as problem:
            ledger.end("failed", _without(outer, str(problem)))
        except Trouble as problem:
            ledger.again(_without(outer, str(problem)), most=_MOST_FAILURES)
        except IMAPClientError as problem:
            ledger.again(_without(outer, f"A server said no: {words(problem)}"), most=_MOST_FAILURES)
        except psycopg.Error:
            raise
        except Exception:
            log.exception("a move met something unforeseen", move=move["id"])
            ledger.again("Something unforeseen happened here; the log of the worker knows more.", most=_MOST_FAILURES)
        finally:
            for client in clients:
                client.wire.close()
        log.info("move stopped", move=move["id"])

    def _wait_for_earlier_runs(self, address: str) -> None:
        """Until what they sent is stored or lost: a message that is looked for before it is stored would come twice.

        Their passwords were revoked before this run got its own, so theirs are the sessions that are no longer good.
        """
        end = time.monotonic() + _SETTLE
        while open_sessions.lingers(self._settings, address) and time.monotonic() < end:
            time.sleep(0.1)

    def _source(self, move: dict[str, Any], password: str) -> Client:
        host, port = move["host"], move["port"]
        address = hosts.address_of(self._settings, host, port)
        client = dial(host, address, port, fingerprint=move["fingerprint"])
        try:
            sign_in(client, move["login"], password)
        except IMAPClientError as refused:
            client.wire.close()
            raise Wrong(f"{host} does not take this user name and password. It says: {words(refused)}") from refused
        except imaplib.IMAP4.error as error:
            client.wire.close()
            raise Trouble(f"{host} broke off the conversation.") from error
        return client

    def _target(self, move: dict[str, Any], secret: str) -> Client:
        client = dial(LOOPBACK, LOOPBACK, self._settings.port["webmail_imap"], tls=False)
        try:
            sign_in(client, move["address"], secret)
        except IMAPClientError as refused:
            client.wire.close()
            raise Trouble(f"The mailbox {move['address']} cannot be opened. Is it disabled?") from refused
        return client


def sign_in(client: Client, login: str, password: str) -> None:
    """By PLAIN where it is offered, for it takes any letters; else by LOGIN."""
    client.wire.allow(1024 * 1024, 60)
    if client.has_capability("AUTH=PLAIN"):
        client.plain_login(login, password)
    elif client.has_capability("LOGINDISABLED"):
        raise Wrong(
            f"{client.wire.host} offers no sign-in by password. Servers that want OAuth cannot be moved from yet."
        )
    elif not (login + password).isascii():
        raise Wrong(f"{client.wire.host} takes only ASCII letters in user name and password.")
    else:
        client.login(login, password)


async def _revoke(db: Connection, move: dict[str, Any]) -> None:
    await db.execute(
        "DELETE FROM app_password WHERE mailbox_id = %s AND scope = 'import' AND name = %s",
        [move["mailbox_id"], f"Move {move['id']}"],
    )


async def _in_thread(work: Any, *arguments: Any) -> None:
    """Run in a thread that does not keep the process alive: a worker that is told to end must not wait for hours."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            trouble.append(error)
        finally:
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()
    if trouble:
        raise trouble[0]


def _without(password: str, text: str) -> str:
    """A server may repeat what it was told."""
    return text.replace(password, "…") if password else text
