"""Mail that was refused as spam and is held for the one it was for, who can let it through or delete it."""

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import NotFound
from thurn.spam.judged import Verdict
from thurn.spam.wishes import mailboxes_of

DAYS = 30
LARGEST = 51 * 1024 * 1024  # of one mail: whatever mx takes (message_size_limit), and what is put in front of it
_MOST = 500  # of one mailbox and one size
# Mail up to so large has so much room in each mailbox. When none is left the oldest of that size goes: a few large ones
# push out no small one, and many small ones no large one.
_MB = 1024 * 1024
_SIZES = ((1 * _MB, 16 * _MB), (10 * _MB, 32 * _MB), (LARGEST, 52 * _MB))

_SHOWN = """h.id, h.at, h.mail_from, h.header_from, h.subject, h.score, h.required, h.symbols, h.size, h.mailbox_id,
  m.address"""


async def hold(db: Connection, said: Verdict, message: bytes | memoryview) -> int:
    """Keep a refused mail for every mailbox it was for; returns for how many. As the machinery (`system`)."""
    if len(message) > LARGEST:
        return 0
    boxes = await mailboxes_of(db, said.rcpts)
    for mailbox_id, workspace in boxes.items():
        await db.execute(
            """INSERT INTO held_mail (workspace_id, mailbox_id, queue_id, mail_from, header_from, subject, score,
                 required, symbols, size, message)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                *(workspace, mailbox_id, said.queue_id, said.mail_from, said.header_from, said.subject, said.score),
                *(said.required, Jsonb(said.symbols), len(message), message),
            ],
        )
        await db.execute(
            """DELETE FROM held_mail WHERE id IN (
                 SELECT id FROM (
                   SELECT id, room, row_number() OVER newest AS n, sum(size) OVER newest AS octets
                   FROM held_mail
                   CROSS JOIN LATERAL (SELECT min(room) FROM unnest(%s::bigint[], %s::bigint[]) each (up_to, room)
                                       WHERE size <= up_to) share (room)
                   WHERE mailbox_id = %s WINDOW newest AS (PARTITION BY room ORDER BY id DESC)) kept
                 WHERE n > %s OR octets > room)""",
            [[up_to for up_to, _ in _SIZES], [room for _, room in _SIZES], mailbox_id, _MOST],
        )
    return len(boxes)


async def held(
    db: Connection,
    mailbox_id: int | None = None,
    *,
    before: int | None = None,
    after: int | None = None,
    query: str = "",
    limit: int = 25,
) -> list[Row]:
    """What is held, newest first: of one mailbox, or of the whole workspace. `query` is part of sender or subject."""
    back = after is not None and before is None
    found = await rows(
        db,
        f"""SELECT {_SHOWN} FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id
            WHERE (%(mailbox)s::int IS NULL OR h.mailbox_id = %(mailbox)s)
              AND (%(before)s::bigint IS NULL OR h.id < %(before)s) AND (%(after)s::bigint IS NULL OR h.id > %(after)s)
              AND (%(query)s = ''
                OR strpos(lower(h.header_from || ' ' || h.mail_from || ' ' || h.subject), %(query)s) > 0)
            ORDER BY h.id {"ASC" if back else "DESC"} LIMIT %(limit)s""",  # noqa: S608 - two constants
        {"mailbox": mailbox_id, "before": before, "after": after, "limit": limit,
         "query": "".join(filter(str.isprintable, query)).strip().lower()},
    )  # fmt: skip
    return found[::-1] if back else found


async def count(db: Connection, mailbox_id: int | None = None) -> int:
    """How many are held."""
    row = await one(
        db, "SELECT count(*) AS n FROM held_mail WHERE %(m)s::int IS NULL OR mailbox_id = %(m)s", {"m": mailbox_id}
    )
    return int(row["n"])


async def get(db: Connection, held_id: int, mailbox_id: int | None = None, *, message: bool = False) -> Row:
    """One of them, with its `message` if asked; `NotFound` when it is not there or not of this mailbox."""
    row = await maybe(
        db,
        f"""SELECT {_SHOWN}{", h.message" if message else ""} FROM held_mail h JOIN mailbox m ON m.id = h.mailbox_id
            WHERE h.id = %(id)s AND (%(mailbox)s::int IS NULL OR h.mailbox_id = %(mailbox)s)""",  # noqa: S608
        {"id": held_id, "mailbox": mailbox_id},
    )
    if row is None:
        raise NotFound("This mail is not held any more. Somebody let it through, deleted it, or its 30 days are over.")
    return row


async def take(db: Connection, held_id: int, mailbox_id: int | None = None) -> Row:
    """Remove it from the held ones and return it with its `message`: two who let it through at once give one mail."""
    row = await get(db, held_id, mailbox_id, message=True)
    if not (await db.execute("DELETE FROM held_mail WHERE id = %s", [held_id])).rowcount:
        raise NotFound("This mail is not held any more: somebody else was quicker.")
    return row


async def delete(db: Connection, held_ids: Sequence[int], mailbox_id: int | None = None) -> int:
    """Delete for good; returns how many were there."""
    gone = await db.execute(
        "DELETE FROM held_mail WHERE id = ANY(%(ids)s) AND (%(mailbox)s::int IS NULL OR mailbox_id = %(mailbox)s)",
        {"ids": list(held_ids), "mailbox": mailbox_id},
    )
    return gone.rowcount
