"""Moves as people ask for them: start, stop, go on, look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.errors import UniqueViolation

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.mailhost.mailboxes import get_mailbox
from thurn.moves import hosts
from thurn.problems import Conflict, Invalid, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings

_LONGEST = 500
_ALL = """v.id, v.mailbox_id, m.address, v.host, v.port, v.login, v.fingerprint, v.state, v.reason, v.folder,
  v.folders_total, v.folders_done, v.messages_total, v.messages_done, v.messages_left, v.bytes_done, v.next_try_at,
  v.created_at, v.started_at, v.finished_at, v.updated_at"""


@dataclass(frozen=True, slots=True)
class Source:
    """The mailbox on the other server."""

    host: str
    login: str
    password: str
    port: int = hosts.IMAPS
    fingerprint: str = ""


def label(move: Mapping[str, Any]) -> str:
    """What a sealed password is bound to: it opens nothing at another host or for another mailbox."""
    return f"move {move['workspace_id']} {move['mailbox_id']} {move['host']} {move['login']}"


async def start(db: Connection, workspace: int, *, address: str, source: Source, settings: Settings) -> int:
    """Begin to move a mailbox here; its id. `Invalid` (host, port, login, password, fingerprint), `Conflict`."""
    mailbox = await get_mailbox(db, address)
    kept = {
        "workspace_id": workspace, "mailbox_id": mailbox["id"], "host": hosts.checked_host(source.host),
        "port": hosts.checked_port(settings, source.port), "login": _line("login", source.login),
        "fingerprint": hosts.checked_fingerprint(source.fingerprint),
    }  # fmt: skip
    sealed = Secrets(settings.state).seal(_line("password", source.password).encode(), label(kept))
    # A move from there to here that has ended goes on where it was: what is here is not brought twice.
    before = await maybe(
        db,
        """SELECT id FROM mailbox_move WHERE mailbox_id = %(mailbox_id)s AND host = %(host)s AND login = %(login)s
             AND state IN ('done', 'cancelled', 'failed') ORDER BY id DESC LIMIT 1""",
        kept,
    )
    try:
        async with db.transaction():
            if before:
                await db.execute(
                    """UPDATE mailbox_move SET state = 'waiting', reason = '', password = %(password)s, port = %(port)s,
                         fingerprint = %(fingerprint)s, failures = 0, next_try_at = NULL, finished_at = NULL,
                         started_at = NULL, updated_at = now()
                       WHERE id = %(id)s""",
                    kept | {"password": sealed, "id": before["id"]},
                )
                return int(before["id"])
            row = await one(
                db,
                """INSERT INTO mailbox_move (workspace_id, mailbox_id, host, port, login, fingerprint, password)
                   VALUES (%(workspace_id)s, %(mailbox_id)s, %(host)s, %(port)s, %(login)s, %(fingerprint)s,
                           %(password)s) RETURNING id""",
                kept | {"password": sealed},
            )
            return int(row["id"])
    except UniqueViolation as error:
        raise Conflict(f"Something is being moved to {mailbox['address']} already. Wait for it, or stop it.") from error


async def get(db: Connection, number: int) -> Row:
    """One move. `NotFound`."""
    row = await maybe(
        db,
        f"SELECT {_ALL} FROM mailbox_move v JOIN mailbox m ON m.id = v.mailbox_id WHERE v.id = %s",  # noqa: S608
        [number],
    )
    if row is None:
        raise NotFound("There is no such move here.")
    return row


async def move_page(db: Connection, *, before: int | None = None, limit: int = 25) -> list[Row]:
    """Moves, newest first."""
    return await rows(
        db,
        f"""SELECT {_ALL} FROM mailbox_move v JOIN mailbox m ON m.id = v.mailbox_id
            WHERE (%(before)s::bigint IS NULL OR v.id < %(before)s) ORDER BY v.id DESC LIMIT %(limit)s""",  # noqa: S608
        {"before": before, "limit": limit},
    )


async def count_moves(db: Connection) -> int:
    """How many the workspace has."""
    return int((await one(db, "SELECT count(*) AS n FROM mailbox_move"))["n"])


async def problems(db: Connection, number: int, *, after: int = 0, limit: int = 100) -> list[Row]:
    """What could not be moved and why, in the order it was met."""
    return await rows(
        db,
        """SELECT id, folder, uid, size, dated, reason FROM mailbox_move_problem
           WHERE move_id = %s AND id > %s ORDER BY id LIMIT %s""",
        [number, after, limit],
    )


async def cancel(db: Connection, number: int) -> None:
    """Stop for good; what is here by then stays. `Conflict` when it has ended already."""
    await get(db, number)
    changed = await db.execute(
        """UPDATE mailbox_move SET state = 'cancelled', reason = '', password = NULL, finished_at = now(),
             updated_at = now() WHERE id = %s AND state IN ('waiting', 'running', 'paused')""",
        [number],
    )
    if not changed.rowcount:
        raise Conflict("This move has ended already.")


async def resume(db: Connection, number: int) -> None:
    """Let a paused one go on, or a waiting one at once. `Conflict` for any other."""
    await get(db, number)
    changed = await db.execute(
        """UPDATE mailbox_move SET state = 'waiting', reason = '', next_try_at = NULL, updated_at = now()
           WHERE id = %s AND state IN ('paused', 'waiting')""",
        [number],
    )
    if not changed.rowcount:
        raise Conflict("Only a move that is paused can go on. Start an ended one again, with its password.")


def _line(field: str, text: str) -> str:
    if not text:
        raise Invalid(field, "Needed to sign in to the other server.")
    if len(text) > _LONGEST or not text.isprintable():
        raise Invalid(field, f"One line of at most {_LONGEST} letters.")
    return text
