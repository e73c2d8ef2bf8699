"""Domains of a workspace, each with its DKIM keys. Mailboxes are in mailboxes.py, what DNS should say in thurn/dns."""

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.mailhost import removed
from thurn.mailhost.keys import SigningKey, make_keys, signing_keys
from thurn.mailhost.mailboxes import add_mailbox
from thurn.mailhost.names import bounce_host, domain_name
from thurn.problems import Conflict, NotFound
from thurn.settings import Settings

__all__ = [
    "SigningKey",
    "add_domain",
    "add_mailbox",
    "domain_page",
    "get_domain",
    "get_domain_by_id",
    "remove_domain",
    "signing_keys",
]

_DOMAIN = """SELECT d.*, (SELECT count(*) FROM mailbox m WHERE m.domain_id = d.id) AS mailboxes,
  (SELECT coalesce(sum(m.messages_used), 0)::bigint FROM mailbox m WHERE m.domain_id = d.id) AS messages,
  (SELECT coalesce(sum(m.bytes_used), 0)::bigint FROM mailbox m WHERE m.domain_id = d.id) AS bytes,
  coalesce((SELECT jsonb_agg(jsonb_build_object('selector', selector, 'algorithm', algorithm, 'public_key', public_key,
                                                'state', state)
                             ORDER BY algorithm DESC, id)
            FROM dkim_key k WHERE k.domain_id = d.id), '[]') AS keys,
  ARRAY(SELECT host(a) FROM egress e, unnest(ARRAY[e.bind4, e.bind6]) a
        WHERE e.kind = 'address' AND a IS NOT NULL AND EXISTS (
          SELECT FROM pool_egress m JOIN pool p ON p.id = m.pool_id WHERE m.egress_id = e.id AND (
            p.name = 'default' OR EXISTS (
              SELECT FROM pool_rule r WHERE r.pool_id = p.id
                AND coalesce(r.workspace_id, d.workspace_id) = d.workspace_id
                AND coalesce(r.domain_id, d.id) = d.id
                AND (r.campaign_id IS NULL OR EXISTS (SELECT FROM campaign c WHERE c.id = r.campaign_id
                                                      AND c.workspace_id = d.workspace_id)))))
        ORDER BY e.id, family(a)) AS sent_from
  FROM domain d"""


async def add_domain(db: Connection, workspace: int, *, name: str, settings: Settings) -> int:
    """Add a domain with its DKIM keys and return its id. `Invalid` for a bad name, `Conflict` when it is taken."""
    name = domain_name(name)
    row = await (
        await db.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host) VALUES (%s, %s, %s)
               ON CONFLICT DO NOTHING RETURNING id""",
            [workspace, name, bounce_host(name)],
        )
    ).fetchone()
    if row is None:
        mine = await (
            await db.execute("SELECT 1 FROM domain WHERE workspace_id = %s AND name = %s", [workspace, name])
        ).fetchone()
        if mine:
            raise Conflict(f"{name} is one of your domains already.")
        raise Conflict(f"{name} belongs to another workspace on this server. A domain can be in one workspace only.")
    domain_id = int(row["id"])
    await make_keys(db, workspace, domain_id=domain_id, domain=name, settings=settings)
    return domain_id


async def get_domain(db: Connection, name: str) -> Row:
    """One domain with its `keys` (selector, algorithm, public_key) and `mailboxes` (a count).

    `sent_from`: addresses by which its mail may leave, beside the one of the server's name.

    `NotFound` if it is not one of the workspace's.
    """
    if not name.isprintable():  # PostgreSQL could not even be asked
        raise NotFound("This is not one of your domains.")
    row = await (await db.execute(f"{_DOMAIN} WHERE d.name = %s", [name.lower().removesuffix(".")])).fetchone()
    if row is None:
        raise NotFound(f"{name} is not one of your domains.")
    return row


async def get_domain_by_id(db: Connection, domain_id: int) -> Row:
    """The same by its id."""
    row = await (await db.execute(f"{_DOMAIN} WHERE d.id = %s", [domain_id])).fetchone()
    if row is None:
        raise NotFound("This is not one of your domains.")
    return row


async def domain_page(db: Connection, *, after: str = "", limit: int = 100) -> list[Row]:
    """Domains by name, those after `after`, each with the number of its `mailboxes`."""
    return await (
        await db.execute(
            """SELECT d.*, (SELECT count(*) FROM mailbox m WHERE m.domain_id = d.id) AS mailboxes
               FROM domain d WHERE d.name > %s ORDER BY d.name LIMIT %s""",
            [after, limit],
        )
    ).fetchall()


async def remove_domain(db: Connection, name: str, *, destroy: bool = False) -> None:
    """Remove a domain with its keys, mailboxes and aliases. `Conflict` while a campaign is being sent from it.

    The mailboxes can be restored for 30 days once the domain is added again (removed.py), unless their mail is to be
    destroyed now.
    """
    row = await get_domain(db, name)
    busy = await (
        await db.execute(
            """SELECT name FROM campaign WHERE state IN ('launching', 'sending', 'paused')
               AND lower(split_part(from_address, '@', 2)) = %s LIMIT 1""",
            [row["name"]],
        )
    ).fetchone()
    if busy:
        raise Conflict(
            f"The campaign “{busy['name']}” is being sent from {row['name']}. Cancel it or let it finish first."
        )
    boxes = await rows(db, "SELECT id FROM mailbox WHERE domain_id = %s ORDER BY id", [row["id"]])
    await removed.remove(db, [box["id"] for box in boxes], destroy=destroy)
    await db.execute("DELETE FROM domain WHERE id = %s", [row["id"]])
