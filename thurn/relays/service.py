"""Relays as operators ask for them: add, change, use, remove, look. A relay is an egress of kind `relay`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.moves.hosts import checked_fingerprint, checked_host
from thurn.problems import Conflict, Invalid, NotFound
from thurn.relays.circuit import Circuit, tried
from thurn.relays.presets import presets
from thurn.relays.probe import Door, Found
from thurn.secrets import Secrets
from thurn.settings import Settings

Use = Literal["first", "fallback", "domain", "none"]
SECURITIES = ("starttls", "tls", "none")
USES: dict[str, str] = {
    "fallback": "When our own addresses cannot send",
    "first": "For everything, before our own addresses",
    "domain": "For the mail of one domain",
    "none": "Not yet",
}
RANKS = {"first": 1, "fallback": 3}  # in the pool `default`; our own addresses have 2
_MOST = 50  # relays
_LONGEST = 500  # characters of a user name or password
_ALL = """r.egress_id AS id, e.name, r.preset, r.host, r.port, r.security, r.fingerprint, r.username,
  r.password IS NOT NULL AS has_password, r.connections, r.rate_per_minute, r.checked_at, r.works, r.says, r.failures,
  r.broken_until, r.created_at, e.enabled"""


@dataclass(frozen=True, slots=True)
class Relay:
    """What an operator enters. `password` None: as it is."""

    host: str
    port: int = 587
    security: str = "starttls"
    username: str = ""
    password: str | None = None
    fingerprint: str = ""
    preset: str = "other"
    connections: int = 5
    rate_per_minute: int | None = None


def label(relay: Mapping[str, Any]) -> str:
    """What a sealed password is bound to: it opens nothing at another host or for another user."""
    return f"relay {relay['host']} {relay['username']}"


async def add(
    db: Connection, relay: Relay, *, settings: Settings, use: Use = "none", domain: str = ""
) -> int:  # fmt: skip
    """Add a relay; its number, which is that of its egress. `Invalid` by field, `Conflict`."""
    values = _checked(relay)
    if values["username"] and not relay.password:
        raise Invalid("password", "Enter the password, too.")
    found = await one(db, "SELECT count(*) AS n FROM relay")
    if found["n"] >= _MOST:
        raise Conflict(f"There are {_MOST} relays already. Remove one first.")
    name = await _free_name(db)
    egress = await one(
        db,
        "INSERT INTO egress (name, kind, node) VALUES (%s, 'relay', %s) RETURNING id",
        [name, settings.node],
    )
    await db.execute(
        """INSERT INTO relay (egress_id, preset, host, port, security, fingerprint, username, password, connections,
                              rate_per_minute)
           VALUES (%(id)s, %(preset)s, %(host)s, %(port)s, %(security)s, %(fingerprint)s, %(username)s, %(password)s,
                   %(connections)s, %(rate_per_minute)s)""",
        values | {"id": egress["id"], "password": _sealed(settings, values, relay.password)},
    )
    await put_to_use(db, int(egress["id"]), use=use, domain=domain)
    return int(egress["id"])


async def change(db: Connection, number: int, relay: Relay, *, settings: Settings) -> None:
    """Change one. A new host or user name needs its password again: the old one is not sent to another server."""
    before = await maybe(db, "SELECT * FROM relay WHERE egress_id = %s FOR UPDATE", [number])
    if before is None:
        raise NotFound("There is no such relay.")
    values = _checked(relay)
    password = before["password"]
    if relay.password is not None and values["username"]:
        password = _sealed(settings, values, relay.password)
    elif not values["username"]:
        password = None
    elif label(values) != label(before):
        raise Invalid("password", "Enter the password again: the old one is not sent to another server or user name.")
    await db.execute(
        """UPDATE relay SET preset = %(preset)s, host = %(host)s, port = %(port)s, security = %(security)s,
             fingerprint = %(fingerprint)s, username = %(username)s, password = %(password)s,
             connections = %(connections)s, rate_per_minute = %(rate_per_minute)s, failures = 0, broken_until = NULL,
             works = NULL, says = '', checked_at = NULL
           WHERE egress_id = %(id)s""",
        values | {"id": number, "password": password},
    )


async def put_to_use(db: Connection, number: int, *, use: Use, domain: str = "") -> None:
    """Say which mail goes by it, in place of what was said before. `Invalid` (field `domain`)."""
    relay = await get(db, number)
    await db.execute("DELETE FROM pool_egress WHERE egress_id = %s", [number])
    await db.execute("DELETE FROM pool WHERE name = %s", [_own_pool(relay)])
    if use in RANKS:
        await db.execute(
            """INSERT INTO pool_egress (pool_id, egress_id, rank) SELECT id, %s, %s FROM pool WHERE name = 'default'""",
            [number, RANKS[use]],
        )
    elif use == "domain":
        owner = await maybe(db, "SELECT id FROM domain WHERE name = %s", [domain.strip().lower()])
        if owner is None:
            raise Invalid("domain", "Choose one of this installation's domains.")
        pool = await one(db, "INSERT INTO pool (name) VALUES (%s) RETURNING id", [_own_pool(relay)])
        await db.execute("INSERT INTO pool_egress (pool_id, egress_id) VALUES (%s, %s)", [pool["id"], number])
        await db.execute("DELETE FROM pool_rule WHERE domain_id = %s", [owner["id"]])
        for stream in ("marketing", "transactional"):
            await db.execute(
                "INSERT INTO pool_rule (stream, domain_id, pool_id) VALUES (%s, %s, %s)",
                [stream, owner["id"], pool["id"]],
            )


async def remove(db: Connection, number: int) -> None:
    """Take it out of use; it goes for good once nothing is on its way there."""
    relay = await get(db, number)
    await put_to_use(db, number, use="none")
    await db.execute("UPDATE egress SET removed_at = now() WHERE id = %s AND removed_at IS NULL", [relay["id"]])


async def get(db: Connection, number: int) -> Row:
    """One relay, without its password. `NotFound`."""
    found = await maybe(
        db,
        f"""SELECT {_ALL} FROM relay r JOIN egress e ON e.id = r.egress_id
            WHERE r.egress_id = %s AND e.removed_at IS NULL""",  # noqa: S608 - a constant
        [number],
    )
    if found is None:
        raise NotFound("There is no such relay.")
    return found


async def listed(db: Connection) -> list[Row]:
    """All relays, with what they are used for."""
    return await rows(
        db,
        f"""SELECT {_ALL},
              (SELECT string_agg(DISTINCT d.name, ', ') FROM pool_egress pe JOIN pool_rule pr USING (pool_id)
               JOIN domain d ON d.id = pr.domain_id WHERE pe.egress_id = e.id) AS domains,
              (SELECT pe.rank FROM pool_egress pe JOIN pool p ON p.id = pe.pool_id
               WHERE pe.egress_id = e.id AND p.name = 'default') AS rank
            FROM relay r JOIN egress e ON e.id = r.egress_id WHERE e.removed_at IS NULL ORDER BY r.egress_id""",  # noqa: S608
    )


async def by_one_machine(db: Connection, settings: Settings) -> str:
    """What an operator has to know of relays where several machines send; empty where one does."""
    several = await maybe(db, "SELECT FROM node WHERE login IS NOT NULL AND state IN ('joined', 'leaving') LIMIT 1")
    if several is None:
        return ""
    return (
        f"Relays send by the machine {settings.node} only: no other gets their passwords. While {settings.node} is "
        "down, our own addresses on other machines carry the mail; that of a domain with a relay of its own waits."
    )


def used_as(relay: Mapping[str, Any]) -> Use:
    """What a row of `listed` is used for."""
    if relay["domains"]:
        return "domain"
    found: dict[int | None, Use] = {1: "first", 3: "fallback"}
    return found.get(relay["rank"], "none")


async def door(db: Connection, number: int, *, settings: Settings) -> Door:
    """Where it is and how to get in. `NotFound`; `InvalidTag` when the master secret is another."""
    found = await maybe(db, "SELECT * FROM relay WHERE egress_id = %s", [number])
    if found is None:
        raise NotFound("There is no such relay.")
    return door_of(found, settings)


def door_of(relay: Mapping[str, Any], settings: Settings) -> Door:
    """The same of a row of table `relay`."""
    password = ""
    if relay["password"] is not None:
        password = Secrets(settings.state).unseal(bytes(relay["password"]), label(relay)).decode()
    return Door(
        relay["host"], relay["port"], relay["security"], relay["username"], password, relay["fingerprint"]
    )  # fmt: skip


async def record(db: Connection, number: int, found: Found) -> Circuit | None:
    """Write down what came of a try; the circuit after it, None if the relay is gone."""
    before = await maybe(
        db, "SELECT failures, broken_until, now() AS now FROM relay WHERE egress_id = %s FOR UPDATE", [number]
    )
    if before is None:
        return None
    circuit = tried(
        Circuit(before["failures"], before["broken_until"]),
        works=found.works, lasting=found.trouble in ("password", "certificate"), now=before["now"],
    )  # fmt: skip
    await db.execute(
        """UPDATE relay SET checked_at = now(), works = %s, says = %s, failures = %s, broken_until = %s,
             deferred_seen = coalesce((SELECT sum(n) FROM lane_tally WHERE egress_id = %s AND measure = 'deferred'), 0)
           WHERE egress_id = %s""",
        [found.works, found.says, circuit.failures, circuit.broken_until, number, number],
    )
    return circuit


def _checked(relay: Relay) -> dict[str, Any]:
    """The values as they are kept. `Invalid` by field."""
    host = checked_host(relay.host)
    if relay.security not in SECURITIES:
        raise Invalid("security", "Choose STARTTLS, TLS or none.")
    if not 0 < relay.port < 2**16:
        raise Invalid("port", "A port is a number from 1 to 65535; relays mostly use 587 or 465.")
    username = _line("username", relay.username)
    if relay.password:
        _line("password", relay.password)
    if relay.password and not username:
        raise Invalid("username", "A password needs a user name.")
    if relay.security == "none" and username:
        raise Invalid("security", "A password is only sent over TLS. Choose STARTTLS or TLS.")
    if not 1 <= relay.connections <= 100:
        raise Invalid("connections", "From 1 to 100 connections at once.")
    if relay.rate_per_minute is not None and not 1 <= relay.rate_per_minute <= 1_000_000:
        raise Invalid("rate_per_minute", "From 1 to 1,000,000 mails a minute, or empty for no limit.")
    return {
        "preset": relay.preset if relay.preset in presets() else "other", "host": host, "port": relay.port,
        "security": relay.security, "fingerprint": checked_fingerprint(relay.fingerprint), "username": username,
        "connections": relay.connections, "rate_per_minute": relay.rate_per_minute,
    }  # fmt: skip


def _line(field: str, text: str) -> str:
    """Postfix reads `user:password` from a line: no line ends, and no colon in the user name."""
    text = text.strip()
    if len(text) > _LONGEST or not text.isprintable():
        raise Invalid(field, f"At most {_LONGEST} characters, all of them printable.")
    if field == "username" and ":" in text:
        raise Invalid(field, "A user name cannot hold a colon.")
    return text


def _sealed(settings: Settings, values: Mapping[str, Any], password: str | None) -> bytes | None:
    if not values["username"] or password is None:
        return None
    return Secrets(settings.state).seal(password.strip().encode(), label(values))


async def _free_name(db: Connection) -> str:
    taken = {row["name"] for row in await rows(db, "SELECT name FROM egress WHERE name ~ '^r[0-9]+$'")}
    return next(name for n in range(1, len(taken) + 2) if (name := f"r{n}") not in taken)


def _own_pool(relay: Mapping[str, Any]) -> str:
    return f"relay-{relay['name']}"
