"""Mailboxes: who gets mail here, how much of it, and with which password they fetch it."""

from thurn.db.connect import Connection, Row
from thurn.mailhost import passwords, removed, sending
from thurn.mailhost.aliases import own
from thurn.mailhost.names import one_line, split_address
from thurn.problems import Conflict, Invalid, NotFound

GIB = 1024**3
LARGEST_LIMIT = 1_000_000  # recipients in 24 hours
STATES = ("Active", "Nearly full", "Full", "Receives only", "Disabled")
LONGEST_NAME = 100
# Full: hardly a mail fits any more. Dovecot counts what it refuses, and notes it here after each change.
_STATE = """CASE WHEN NOT m.enabled THEN 'Disabled'
  WHEN m.bytes_used >= m.quota_bytes * 0.99 THEN 'Full' WHEN m.bytes_used >= m.quota_bytes * 0.9 THEN 'Nearly full'
  WHEN NOT m.may_send THEN 'Receives only' ELSE 'Active' END"""
_COLUMNS = f"""m.id, m.workspace_id, m.address, m.name, m.quota_bytes, m.enabled, m.created_at, m.may_send,
  m.send_limit, m.bytes_used, m.messages_used, m.used_at, m.forward_to, m.forward_keep, d.name AS domain,
  {_STATE} AS state"""
_SMALLEST_QUOTA, _LARGEST_QUOTA = 10 * 1024**2, 100 * 1024 * GIB


async def add_mailbox(
    db: Connection, workspace: int, *, address: str, password: str | None = None, name: str = "",
    quota_bytes: int = 5 * GIB,
) -> str:  # fmt: skip
    """Make a mailbox and return its password: the given one, or one made here that nobody can read again.

    Raises `Invalid` (field `address`, `password`, `name` or `quota`) and `Conflict` when the address is taken.
    """
    address, domain = await own(db, address)
    if address.startswith("@"):
        raise Invalid("address", "Before the @ stands the name of the mailbox, for example anna.")
    secret = passwords.generate() if password is None else password
    passwords.check(secret, address)
    if await _exists(db, "SELECT 1 FROM alias WHERE address = %s", address):
        raise Conflict(f"{address} is an alias already. Remove the alias first.")
    row = await (
        await db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, name, password_hash, quota_bytes)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id""",
            [
                workspace,
                domain["id"],
                address,
                _display(name),
                await passwords.encode(secret),
                check_quota(quota_bytes),
            ],
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


async def update_mailbox(
    db: Connection, address: str, *, name: str | None = None, quota_bytes: int | None = None,
    send_limit: int | None = None, may_send: bool | None = None,
) -> None:  # fmt: skip
    """Change what a mailbox is called, how much it holds, to how many recipients it may write in 24 hours, and whether
    it may send at all. None: stays as it is. `Invalid` (field `name`, `quota` or `limit`)."""
    row = await get_mailbox(db, address)
    if send_limit is not None and not 0 <= send_limit <= LARGEST_LIMIT:
        raise Invalid("limit", f"Give a number of recipients from 0 to {LARGEST_LIMIT:,}.")
    await db.execute(
        """UPDATE mailbox SET name = coalesce(%s, name), quota_bytes = coalesce(%s, quota_bytes),
             send_limit = coalesce(%s, send_limit), may_send = coalesce(%s, may_send) WHERE id = %s""",
        [
            None if name is None else _display(name),
            None if quota_bytes is None else check_quota(quota_bytes),
            send_limit,
            may_send,
            row["id"],
        ],
    )
    if send_limit is not None and send_limit > row["send_limit"]:
        await sending.raised(db, row, send_limit)


async def remove_mailbox(db: Connection, address: str, *, destroy: bool = False) -> None:
    """Close a mailbox; aliases that lead to it go too. Its mail stays for 30 days, in which it can be restored
    (removed.py), or is destroyed now."""
    await removed.remove(db, [(await get_mailbox(db, address))["id"]], destroy=destroy)


async def get_mailbox(db: Connection, address: str) -> Row:
    """One mailbox with the `aliases` that lead to it, without the password's hash. `NotFound` if it is not ours."""
    row = await (
        await db.execute(
            f"""SELECT {_COLUMNS}, m.domain_id, m.password_changed_at, m.totp_confirmed_at,
                 ARRAY(SELECT a.address FROM alias a WHERE a.target = m.address ORDER BY a.address) AS aliases
               FROM mailbox m JOIN domain d ON d.id = m.domain_id WHERE m.address = %s""",  # noqa: S608 - a constant
            [stored(address)],
        )
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no mailbox {one_line(address)}.")
    return row


async def mailbox_page(
    db: Connection, *, after: str | None = None, before: str | None = None, query: str = "", domain: str = "",
    state: str = "", limit: int = 25,
) -> list[Row]:  # fmt: skip
    """Mailboxes by address: those behind `after` or just before `before`; `query` is part of address or name.

    `state` is one of `STATES`, each row has its own as `state`.
    """
    back = before is not None and after is None
    rows = await (
        await db.execute(
            f"""SELECT {_COLUMNS}
                FROM mailbox m JOIN domain d ON d.id = m.domain_id
                WHERE (%(after)s::text IS NULL OR m.address > %(after)s)
                  AND (%(before)s::text IS NULL OR m.address < %(before)s)
                  AND (strpos(m.address, lower(%(query)s)) > 0 OR strpos(lower(m.name), lower(%(query)s)) > 0)
                  AND %(domain)s IN ('', d.name) AND %(state)s IN ('', {_STATE})
                ORDER BY m.address {"DESC" if back else "ASC"} LIMIT %(limit)s""",  # noqa: S608 - two constants
            {
                "after": after,
                "before": before,
                "query": one_line(query),
                "limit": limit,
                "domain": one_line(domain),
                "state": one_line(state),
            },
        )
    ).fetchall()
    return rows[::-1] if back else rows


async def count_mailboxes(db: Connection) -> int:
    """How many mailboxes the workspace has."""
    row = await (await db.execute("SELECT count(*) AS n FROM mailbox")).fetchone()
    return int(row["n"]) if row else 0


def stored(address: str) -> str:
    """An address in the form it is looked up by; one that can't be ours stays as it is, printable."""
    try:
        return "@".join(split_address(address))
    except Invalid:
        return one_line(address).lower()


async def _exists(db: Connection, sql: str, value: str) -> bool:
    return await (await db.execute(sql, [value])).fetchone() is not None


def _display(name: str) -> str:
    """A person's name for a list and a header: one line of printable characters."""
    tidy = one_line(name)
    if len(tidy) > LONGEST_NAME:
        raise Invalid("name", f"This name is too long: {LONGEST_NAME} characters fit.")
    return tidy


def check_quota(quota_bytes: int) -> int:
    """The same, if a mailbox may hold so much; `Invalid` (field `quota`)."""
    if not _SMALLEST_QUOTA <= quota_bytes <= _LARGEST_QUOTA:
        raise Invalid("quota", "A mailbox holds at least 10 MB and at most 100 TB.")
    return quota_bytes
