"""Bans of clients: made by the guard, by hand, and lifted; and the networks that are never banned."""

from datetime import timedelta

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.guard import limits
from thurn.guard.clients import Network, address_of, client_of, holds_ours, is_ours, network_of
from thurn.problems import Conflict, Invalid, NotFound

_WIDEST = {4: 16, 6: 32}  # the shortest prefix that may be banned by hand: not half the internet by a slip


async def of_client(db: Connection, ip: str) -> Row | None:
    """The ban an address is under (client, cause, `left` in seconds), or None."""
    found = address_of(ip)
    if found is None or is_ours(ip):
        return None
    return await maybe(
        db,
        """SELECT client::text, cause, extract(epoch FROM until - now())::float AS left FROM guard_ban b
           WHERE client >>= %(ip)s::inet AND until > now()
             AND NOT EXISTS (SELECT 1 FROM guard_allow WHERE network >>= %(ip)s::inet)
           ORDER BY until DESC LIMIT 1""",
        {"ip": str(found)},
    )


async def ban(db: Connection, ip: str, *, cause: str, detail: str) -> bool:
    """Ban the client behind an address, longer than the last time; False if it may not be, or is already."""
    client = client_of(ip)
    if is_ours(ip):
        return False
    first, second, third = limits.BANS
    done = await db.execute(
        """INSERT INTO guard_ban AS b (client, cause, detail, until)
           SELECT %(client)s::cidr, %(cause)s, %(detail)s, now() + %(first)s
           WHERE NOT EXISTS (SELECT 1 FROM guard_allow WHERE network >>= %(client)s::cidr)
           ON CONFLICT (client) DO UPDATE SET
             cause = excluded.cause, detail = excluded.detail, since = now(),
             level = CASE WHEN b.until < now() - %(forgiven)s THEN 1 ELSE least(b.level + 1, 3) END,
             until = now() + CASE WHEN b.until < now() - %(forgiven)s OR b.level = 0 THEN %(first)s::interval
                                  WHEN b.level = 1 THEN %(second)s::interval ELSE %(third)s::interval END
           WHERE b.until <= now()""",
        {"client": client, "cause": cause, "detail": detail[:500], "first": first, "second": second, "third": third,
         "forgiven": limits.FORGIVEN},
    )  # fmt: skip
    await db.execute("DELETE FROM guard_failure WHERE client = %s", [client])
    return bool(done.rowcount)


async def ban_by_hand(db: Connection, text: str, *, length: timedelta, detail: str = "") -> str:
    """Ban an address or a network for a while; returns the client as it is kept. `Invalid` says what is wrong."""
    network = _network(text)
    if network.prefixlen < _WIDEST[network.version]:
        raise Invalid("client", f"This network is too large: at least /{_WIDEST[network.version]}.")
    if not timedelta(minutes=1) <= length <= timedelta(days=366):
        raise Invalid("minutes", "A ban lasts a minute at least and a year at most.")
    if holds_ours(network):
        raise Conflict("This is the server's own address. Banning it would stop webmail and the server's own mail.")
    kept = await maybe(db, "SELECT network::text FROM guard_allow WHERE network && %s::cidr LIMIT 1", [str(network)])
    if kept:
        raise Conflict(f"{kept['network']} is on the list of those never banned. Take it off the list first.")
    await db.execute(
        """INSERT INTO guard_ban (client, cause, detail, level, until) VALUES (%s, 'by hand', %s, 3, now() + %s)
           ON CONFLICT (client) DO UPDATE SET cause = excluded.cause, detail = excluded.detail, since = now(),
             level = excluded.level, until = excluded.until""",
        [str(network), detail.strip()[:500], length],
    )
    return str(network)


async def lift(db: Connection, text: str) -> str:
    """Lift the ban of exactly this client, and forget its failures; the next ban is as short as a first one."""
    network = str(_network(text))
    done = await db.execute(
        "UPDATE guard_ban SET until = now(), level = 0 WHERE client = %s AND until > now()", [network]
    )
    if not done.rowcount:
        raise NotFound(f"{network} is not banned.")
    await db.execute("DELETE FROM guard_failure WHERE client <<= %s::cidr", [network])
    return network


async def listed(db: Connection, limit: int = 200) -> list[Row]:
    """Who is banned now, the latest first: client, cause, detail, level, since, until."""
    return await rows(
        db,
        """SELECT client::text, cause, detail, level, since, until FROM guard_ban WHERE until > now()
           ORDER BY since DESC, client LIMIT %s""",
        [limit],
    )


async def allow(db: Connection, text: str, *, note: str = "") -> str:
    """Put a network on the list of those never banned, which also ends its bans; returns it as it is kept."""
    network = _network(text)
    if network.prefixlen < _WIDEST[network.version]:
        raise Invalid("network", f"This network is too large: at least /{_WIDEST[network.version]}.")
    note = "".join(filter(str.isprintable, note)).strip()
    if len(note) > 200:
        raise Invalid("note", "A note has at most 200 characters.")
    await db.execute(
        """INSERT INTO guard_allow (network, note) VALUES (%s, %s)
           ON CONFLICT (network) DO UPDATE SET note = excluded.note""",
        [str(network), note],
    )
    await db.execute("UPDATE guard_ban SET until = now() WHERE client <<= %s::cidr AND until > now()", [str(network)])
    return str(network)


async def disallow(db: Connection, text: str) -> None:
    """Take a network off that list; those that follow from the settings stay (`Conflict`)."""
    network = str(_network(text))
    row = await maybe(db, "SELECT origin FROM guard_allow WHERE network = %s", [network])
    if row is None:
        raise NotFound(f"{network} is not on the list.")
    if row["origin"] == "settings":
        raise Conflict(f"{network} is on the list because of this server's settings, and stays as long as they say so.")
    await db.execute("DELETE FROM guard_allow WHERE network = %s", [network])


async def allowed(db: Connection) -> list[Row]:
    """The networks that are never banned: network, note, origin, at."""
    return await rows(db, "SELECT network::text, note, origin, at FROM guard_allow ORDER BY network LIMIT 500")


def _network(text: str) -> Network:
    try:
        return network_of(text)
    except ValueError as error:
        raise Invalid("client", "Give an address or a network, such as 198.51.100.7 or 198.51.100.0/24.") from error
