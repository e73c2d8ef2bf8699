"""Mailboxes and aliases: who gets mail here, and with which password they fetch it."""

from thurn.db.connect import Connection, Row
from thurn.mailhost import passwords
from thurn.mailhost.names import one_line, split_address
from thurn.problems import Conflict, Invalid, NotFound

GIB = 1024**3
LONGEST_NAME = 100
_SMALLEST_QUOTA, _LARGEST_QUOTA = 10 * 1024**2, 100 * 1024 * GIB


async def add_mailbox(
    db: Connection, workspace: int, *, address: str, password: str | None = None, name: str = "",
    quota_bytes: int = 5 * GIB,
) -> str:  # fmt: skip
    """Make a mailbox and return its password: the given one, or one made here that nobody can read again.

    Raises `Invalid` (field `address`, `password`, `name` or `quota`) and `Conflict` when the address is taken.
    """
    address, domain_id = await _own(db, address)
    secret = passwords.generate() if password is None else password
    passwords.check(secret, address)
    if await _exists(db, "SELECT 1 FROM alias WHERE address = %s", address):
        raise Conflict(f"{address} is an alias already. Remove the alias first.")
    row = await (
        await db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, name, password_hash, quota_bytes)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id""",
            [workspace, domain_id, address, _display(name), await passwords.encode(secret), _quota(quota_bytes)],
        )
    ).fetchone()
    if row is None:
        raise Conflict(f"There is a mailbox {address} already.")
    return secret


async def set_password(db: Connection, address: str, password: str | None = None) -> str:
    """Replace a mailbox's password, by a new one made here if none is given; returns it."""
    row = await get_mailbox(db, address)
    secret = passwords.generate() if password is None else password
    passwords.check(secret, row["address"])
    await db.execute("UPDATE mailbox SET password_hash = %s WHERE id = %s", [await passwords.encode(secret), row["id"]])
    return secret


async def set_enabled(db: Connection, address: str, *, enabled: bool) -> None:
    """Disabled: nobody signs in and new mail is refused; what is there stays."""
    row = await get_mailbox(db, address)
    await db.execute("UPDATE mailbox SET enabled = %s WHERE id = %s", [enabled, row["id"]])


async def update_mailbox(db: Connection, address: str, *, name: str, quota_bytes: int) -> None:
    """Change what a mailbox is called and how much it holds."""
    row = await get_mailbox(db, address)
    await db.execute(
        "UPDATE mailbox SET name = %s, quota_bytes = %s WHERE id = %s", [_display(name), _quota(quota_bytes), row["id"]]
    )


async def remove_mailbox(db: Connection, address: str) -> None:
    """Close a mailbox for good; aliases that lead to it go too. The mail on disk stays."""
    row = await get_mailbox(db, address)
    await db.execute("DELETE FROM alias WHERE target = %s", [row["address"]])
    await db.execute("DELETE FROM mailbox WHERE id = %s", [row["id"]])


async def get_mailbox(db: Connection, address: str) -> Row:
    """One mailbox with the `aliases` that lead to it, without the password's hash. `NotFound` if it is not ours."""
    row = await (
        await db.execute(
            """SELECT m.id, m.domain_id, m.address, m.name, m.quota_bytes, m.enabled, m.created_at, d.name AS domain,
                 ARRAY(SELECT a.address FROM alias a WHERE a.target = m.address ORDER BY a.address) AS aliases
               FROM mailbox m JOIN domain d ON d.id = m.domain_id WHERE m.address = %s""",
            [stored(address)],
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no mailbox {one_line(address)}.")
    return row


async def mailbox_page(
    db: Connection, *, after: str | None = None, before: str | None = None, query: str = "", limit: int = 25
) -> list[Row]:
    """Mailboxes by address: those behind `after` or just before `before`; `query` is part of address or name."""
    back = before is not None and after is None
    rows = await (
        await db.execute(
            f"""SELECT m.id, m.address, m.name, m.quota_bytes, m.enabled, m.created_at, d.name AS domain
                FROM mailbox m JOIN domain d ON d.id = m.domain_id
                WHERE (%(after)s::text IS NULL OR m.address > %(after)s)
                  AND (%(before)s::text IS NULL OR m.address < %(before)s)
                  AND (strpos(m.address, lower(%(query)s)) > 0 OR strpos(lower(m.name), lower(%(query)s)) > 0)
                ORDER BY m.address {"DESC" if back else "ASC"} LIMIT %(limit)s""",  # noqa: S608 - two constants
            {"after": after, "before": before, "query": one_line(query), "limit": limit},
        )
    ).fetchall()
    return rows[::-1] if back else rows


async def count_mailboxes(db: Connection) -> int:
    """How many mailboxes the workspace has."""
    row = await (await db.execute("SELECT count(*) AS n FROM mailbox")).fetchone()
    return int(row["n"]) if row else 0


async def add_alias(db: Connection, workspace: int, *, address: str, target: str) -> None:
    """Let mail to `address` arrive at the mailbox `target`, which must be one of ours."""
    address, domain_id = await _own(db, address)
    mailbox = await get_mailbox(db, target)
    if await _exists(db, "SELECT 1 FROM mailbox WHERE address = %s", address):
        raise Conflict(f"{address} is a mailbox; an alias needs an address of its own.")
    added = await db.execute(
        """INSERT INTO alias (workspace_id, domain_id, address, target) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        [workspace, domain_id, address, mailbox["address"]],
    )
    if not added.rowcount:
        raise Conflict(f"{address} leads to {target} already.")


async def remove_alias(db: Connection, *, address: str, target: str) -> None:
    """Undo `add_alias`; `NotFound` if there is no such alias."""
    gone = await db.execute(
        "DELETE FROM alias WHERE address = %s AND target = %s",
        [stored(address), stored(target)],
    )
    if not gone.rowcount:
        raise NotFound(f"{address} does not lead to {target}.")


def stored(address: str) -> str:
    """An address in the form it is looked up by; one that can't be ours stays as it is, printable."""
    try:
        return "@".join(split_address(address))
    except Invalid:
        return one_line(address).lower()


async def _own(db: Connection, text: str) -> tuple[str, int]:
    """The address in stored form and the id of its domain, which must be the workspace's."""
    local, name = split_address(text)
    row = await (await db.execute("SELECT id FROM domain WHERE name = %s", [name])).fetchone()
    if row is None:
        raise Invalid("address", f"{name} is not one of your domains. Add it under Domains first.")
    return f"{local}@{name}", int(row["id"])


async def _exists(db: Connection, sql: str, value: str) -> bool:
    return await (await db.execute(sql, [value])).fetchone() is not None


def _display(name: str) -> str:
    """A person's name for a list and a header: one line of printable characters."""
    tidy = one_line(name)
    if len(tidy) > LONGEST_NAME:
        raise Invalid("name", f"This name is too long: {LONGEST_NAME} characters fit.")
    return tidy


def _quota(quota_bytes: int) -> int:
    if not _SMALLEST_QUOTA <= quota_bytes <= _LARGEST_QUOTA:
        raise Invalid("quota", "A mailbox holds at least 10 MB and at most 100 TB.")
    return quota_bytes
