"""Many mailboxes as people make them: look a list through, say yes, watch, stop, fetch the passwords.

A job makes them, some at a time: the rows that are made are noted in the transaction that makes the mailboxes, so a
worker that is killed repeats nothing and leaves nothing out. Passwords made here are sealed and forgotten after a day.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from thurn.db.connect import Connection, Row, connect
from thurn.db.fetch import maybe, one, rows
from thurn.jobs.app import defer
from thurn.mailhost import bulk
from thurn.problems import Conflict, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings

AT_A_TIME = 10  # mailboxes in one transaction: a second or two
KEPT = timedelta(days=1)  # passwords that were made, and a list that nobody said yes to
_FIGURES = """SELECT i.*, f.* FROM mailbox_import i CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(made_at) AS made, count(*) FILTER (WHERE problem <> '') AS refused,
           count(*) FILTER (WHERE made_at IS NULL AND problem = '') AS left_over,
           count(*) FILTER (WHERE given AND problem = '') AS given,
           count(*) FILTER (WHERE made_at IS NOT NULL AND password IS NOT NULL) AS passwords
    FROM mailbox_import_row r WHERE r.import_id = i.id) f"""


async def create(
    db: Connection, workspace: int, settings: Settings, *, filename: str, wanted: Sequence[bulk.Wanted]
) -> int:
    """Keep a list that was read, each row looked through (`bulk.look_through`); returns its id. Nothing is made yet."""
    row = await one(
        db,
        "INSERT INTO mailbox_import (workspace_id, filename) VALUES (%s, %s) RETURNING id",
        [workspace, "".join(filter(str.isprintable, filename))[-255:]],
    )
    number, secrets = int(row["id"]), Secrets(settings.state)
    async with db.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO mailbox_import_row
                 (import_id, line, workspace_id, address, name, quota_bytes, given, password, problem)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(number, each.line, workspace, _printable(each.address), _printable(each.name), each.quota_bytes),
                    each.password is not None,
                    secrets.seal(each.password.encode(), _label(number, each.line))
                    if each.password is not None and not each.problem
                    else None,
                    each.problem,
                )
                for each in wanted
            ],
        )
    return number


def _printable(text: str) -> str:
    """What PostgreSQL can hold, of a row that may be refused for just that."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


async def start(db: Connection, workspace: int, number: int) -> None:
    """Say yes: it begins when this transaction commits. `Conflict` when it had begun, or there is nothing to make."""
    row = await get(db, number)
    if row["state"] != "checked":
        raise Conflict("These mailboxes are being made already.")
    if not row["left_over"]:
        raise Conflict("There is nothing to make: every row has a problem.")
    await db.execute("UPDATE mailbox_import SET state = 'waiting' WHERE id = %s", [number])
    await defer(db, "thurn:make_mailboxes", import_id=number, workspace=workspace)


async def get(db: Connection, number: int) -> Row:
    """One, with figures: total, made, refused, left_over, given, passwords (how many are to be fetched). `NotFound`."""
    row = await maybe(db, f"{_FIGURES} WHERE i.id = %s", [number])
    if row is None:
        raise NotFound("There is no such list of mailboxes. One that nobody said yes to is forgotten after a day.")
    return row


async def latest(db: Connection, limit: int = 5) -> list[Row]:
    """Those begun last, newest first, with figures."""
    return await rows(db, f"{_FIGURES} WHERE i.state <> 'checked' ORDER BY i.id DESC LIMIT %s", [limit])


async def cancel(db: Connection, number: int) -> None:
    """Stop; what is made stays. Again does nothing; `Conflict` when it had ended by itself."""
    done = await db.execute(
        """UPDATE mailbox_import SET state = 'cancelled', finished_at = now()
           WHERE id = %s AND state IN ('checked', 'waiting', 'running')""",
        [number],
    )
    if not done.rowcount and (await get(db, number))["state"] != "cancelled":
        raise Conflict("All mailboxes are made already.")


async def forget(db: Connection, number: int) -> None:
    """Forget the passwords now."""
    await get(db, number)
    await db.execute(
        "UPDATE mailbox_import_row SET password = NULL WHERE import_id = %s AND made_at IS NOT NULL", [number]
    )
    await db.execute("UPDATE mailbox_import SET forgotten_at = now() WHERE id = %s", [number])


async def page(
    db: Connection, settings: Settings, number: int, *, after: int = 0, limit: int = 25, problems: bool | None = None,
    passwords: bool = False,
) -> list[Row]:  # fmt: skip
    """Rows in the order of the file, behind line `after`; with or without a problem, or all.

    Each has line, address, name, quota_bytes, given, problem, made; `password` (while it is known) only if asked.
    """
    found = await rows(
        db,
        """SELECT line, address, name, quota_bytes, given, problem, made_at IS NOT NULL AS made, password
           FROM mailbox_import_row WHERE import_id = %(id)s AND line > %(after)s
             AND (%(problems)s::bool IS NULL OR (problem <> '') = %(problems)s)
           ORDER BY line LIMIT %(limit)s""",
        {"id": number, "after": after, "limit": limit, "problems": problems},
    )
    secrets = Secrets(settings.state)
    for row in found:
        sealed = row.pop("password")
        shown = passwords and sealed is not None and row["made"]
        row["password"] = secrets.unseal(sealed, _label(number, row["line"])).decode() if shown else ""
    return found


async def as_csv(db: Connection, settings: Settings, number: int) -> AsyncIterator[str]:
    """What became of each row, with the passwords that were made, as a CSV file piece by piece."""
    yield "\ufeff" + bulk.line("line", "address", "password", "result")
    after = 0
    while found := await page(db, settings, number, after=after, limit=500, passwords=True):
        for row in found:
            result = "made" if row["made"] else row["problem"] or "not made: it was stopped before"
            yield bulk.line(str(row["line"]), row["address"], row["password"], result)
        after = found[-1]["line"]


# ---------------------------------------------------------------- the job


async def run(settings: Settings, *, import_id: int, workspace: int) -> None:
    """Make what is left, some at a time; safe to run again at any time, and twice at once."""
    async with await connect(settings, "app") as db:
        while True:
            async with db.transaction():
                await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(workspace)])
                if not await _some(db, settings, import_id, workspace):
                    return


async def _some(db: Connection, settings: Settings, number: int, workspace: int) -> bool:
    """Make some; False when there is nothing more to do."""
    locked = await maybe(
        db, "SELECT state FROM mailbox_import WHERE id = %s AND state IN ('waiting', 'running') FOR UPDATE", [number]
    )
    if locked is None:  # stopped, ended, or gone with its workspace
        return False
    await db.execute(
        "UPDATE mailbox_import SET state = 'running', started_at = coalesce(started_at, now()) WHERE id = %s", [number]
    )
    found = await rows(
        db,
        """SELECT line, address, name, quota_bytes, given, password FROM mailbox_import_row
           WHERE import_id = %s AND made_at IS NULL AND problem = '' ORDER BY line LIMIT %s""",
        [number, AT_A_TIME],
    )
    if not found:
        await db.execute("UPDATE mailbox_import SET state = 'done', finished_at = now() WHERE id = %s", [number])
        return False
    secrets = Secrets(settings.state)

    def given(row: Row) -> str | None:
        sealed = row["password"]
        return None if sealed is None else secrets.unseal(sealed, _label(number, row["line"])).decode()

    wanted = [bulk.Wanted(r["line"], r["address"], r["name"], given(r), r["quota_bytes"]) for r in found]
    async for made in bulk.make(db, workspace, await bulk.look_through(db, wanted)):
        kept = secrets.seal(made.password.encode(), _label(number, made.line)) if made.password else None
        await db.execute(
            """UPDATE mailbox_import_row SET password = %s, problem = %s, made_at = CASE WHEN %s = '' THEN now() END
               WHERE import_id = %s AND line = %s""",
            [kept, made.problem, made.problem, number, made.line],
        )
    return True


async def sweep(db: Connection) -> None:
    """Forget passwords after a day, and lists that nobody said yes to."""
    await db.execute(
        "DELETE FROM mailbox_import WHERE state = 'checked' AND created_at < now() - %s", [KEPT]
    )  # fmt: skip
    old = await rows(
        db,
        """UPDATE mailbox_import SET forgotten_at = now()
           WHERE finished_at < now() - %s AND forgotten_at IS NULL RETURNING id""",
        [KEPT],
    )
    await db.execute(
        "UPDATE mailbox_import_row SET password = NULL WHERE import_id = ANY(%s)", [[row["id"] for row in old]]
    )


def _label(number: int, line: int) -> str:
    return f"mailbox import {number} {line}"
