"""Other names for mail: aliases to people here or anywhere, catch-alls, and whole domains that are another's name.

An alias `@brotzeit.example` is the catch-all of its domain: it takes what no mailbox and no alias has.
"""

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.mailhost.forwards import outward
from thurn.mailhost.names import one_line, split_address
from thurn.problems import Conflict, Invalid, NotFound

MOST = 100  # targets of one alias


async def add(db: Connection, workspace: int, *, address: str, target: str) -> None:
    """Let mail to `address` (or `@domain`: to everything else there) arrive at `target`.

    A target in a domain of ours must be a mailbox. `Invalid` (field `address` or `target`), `Conflict`, `NotFound`.
    """
    address, domain = await own(db, address)
    target = await _target(db, target)
    if await maybe(db, "SELECT 1 FROM mailbox WHERE address = %s", [address]):
        raise Conflict(
            f"{address} is a mailbox; an alias needs an address of its own. To send its mail on, forward it."
        )
    have = await one(db, "SELECT count(*) AS n FROM alias WHERE address = %s", [address])
    if have["n"] >= MOST:
        raise Conflict(
            f"{address} leads to {MOST} addresses already, and more do not fit. A list of contacts has no end."
        )
    added = await db.execute(
        """INSERT INTO alias (workspace_id, domain_id, address, target) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        [workspace, domain["id"], address, target],
    )
    if not added.rowcount:
        raise Conflict(f"{address} leads to {target} already.")


async def remove(db: Connection, *, address: str, target: str) -> None:
    """Undo `add`; `NotFound` if there is no such alias."""
    gone = await db.execute(
        "DELETE FROM alias WHERE address = %s AND lower(target) = lower(%s)", [stored(address), one_line(target)]
    )
    if not gone.rowcount:
        raise NotFound(f"{one_line(address)} does not lead to {one_line(target)}.")


async def page(
    db: Connection, *, after: str | None = None, before: str | None = None, query: str = "", limit: int = 25
) -> list[Row]:
    """Aliases by address, each with its `targets` and `domain`; `query` is part of the address or of a target."""
    back = before is not None and after is None
    found = await rows(
        db,
        f"""SELECT a.address, d.name AS domain, array_agg(a.target ORDER BY a.id) AS targets
            FROM alias a JOIN domain d ON d.id = a.domain_id
            WHERE (%(after)s::text IS NULL OR a.address > %(after)s)
              AND (%(before)s::text IS NULL OR a.address < %(before)s)
            GROUP BY a.address, d.name
            HAVING %(query)s = '' OR strpos(a.address, lower(%(query)s)) > 0
              OR bool_or(strpos(lower(a.target), lower(%(query)s)) > 0)
            ORDER BY a.address {"DESC" if back else "ASC"} LIMIT %(limit)s""",  # noqa: S608 - two constants
        {"after": after, "before": before, "query": one_line(query), "limit": limit},
    )
    return found[::-1] if back else found


async def count(db: Connection) -> int:
    """How many addresses are aliases."""
    return int((await one(db, "SELECT count(DISTINCT address) AS n FROM alias"))["n"])


# ---------------------------------------------------------------- alias domains


async def lead_domain(db: Connection, name: str, target: str | None) -> None:
    """Make every address at `name` the same address at `target`; None: an ordinary domain again.

    Both are domains of the workspace; `name` has no mailboxes and aliases of its own. `Invalid` (field `target`),
    `Conflict`, `NotFound`.
    """
    domain = await _domain(db, name)
    if target is None:
        await db.execute("UPDATE domain SET alias_of = NULL WHERE id = %s", [domain["id"]])
        return
    to = await _domain(db, target)
    if to["id"] == domain["id"]:
        raise Invalid("target", "A domain cannot be another name for itself.")
    if to["alias_of"] is not None:
        raise Conflict(f"{to['name']} is another domain's name itself. Choose the domain that has the mailboxes.")
    if await maybe(db, "SELECT 1 FROM domain WHERE alias_of = %s", [domain["id"]]):
        raise Conflict(f"Other domains lead to {domain['name']}. Let them lead to {to['name']} first.")
    for kind, text in (
        ("mailbox", "mailboxes"),
        ("alias", "aliases"),
        ("send_as", "rights to send"),
        ("bcc_rule", "copies"),
    ):
        taken = await maybe(db, f"SELECT 1 FROM {kind} WHERE domain_id = %s LIMIT 1", [domain["id"]])  # noqa: S608 - of a list
        if taken:
            raise Conflict(f"{domain['name']} has {text} of its own. Remove them first.")
    await db.execute("UPDATE domain SET alias_of = %s WHERE id = %s", [to["id"], domain["id"]])


async def alias_domains(db: Connection) -> list[Row]:
    """Domains that are another's name: `name`, `target`."""
    return await rows(
        db,
        "SELECT d.name, t.name AS target FROM domain d JOIN domain t ON t.id = d.alias_of ORDER BY d.name LIMIT 1000",
    )


# ---------------------------------------------------------------- what others share


async def own(db: Connection, text: str, *, field: str = "address") -> tuple[str, Row]:
    """An address of a domain of ours, or `@domain` for all of it, as it is stored, and the domain's row."""
    text = text.strip()
    try:
        local, name = split_address(f"x{text}" if text.startswith("@") else text)
    except Invalid as error:
        raise Invalid(field, error.message) from error
    row = await maybe(db, "SELECT id, name, alias_of FROM domain WHERE name = %s", [name])
    if row is None:
        raise Invalid(field, f"{name} is not one of your domains. Add it under Domains first.")
    if row["alias_of"] is not None:
        raise Invalid(field, f"{name} is another name for a domain of yours. Use the domain it leads to.")
    return f"@{name}" if text.startswith("@") else f"{local}@{name}", row


def stored(address: str) -> str:
    """An alias in the form it is looked up by; one that can't be ours stays as it is, printable."""
    text = address.strip()
    try:
        local, name = split_address(f"x{text}" if text.startswith("@") else text)
    except Invalid:
        return one_line(address).lower()
    return f"@{name}" if text.startswith("@") else f"{local}@{name}"


async def _domain(db: Connection, name: str) -> Row:
    tidy = one_line(name).lower().removesuffix(".")
    row = await maybe(db, "SELECT id, name, alias_of FROM domain WHERE name = %s", [tidy])
    if row is None:
        raise NotFound(f"{tidy} is not one of your domains.")
    return row


async def _target(db: Connection, text: str) -> str:
    """Where an alias leads: a mailbox of ours in stored form, or an address somewhere else."""
    try:
        address = outward(text)
    except Invalid as error:
        raise Invalid("target", error.message) from error
    domain = address.rpartition("@")[2]
    if await maybe(db, "SELECT 1 FROM domain WHERE name = %s", [domain]) is None:
        return address
    address = address.lower()
    if await maybe(db, "SELECT 1 FROM mailbox WHERE address = %s", [address]) is None:
        raise NotFound(f"There is no mailbox {address}.")
    return address
