"""What `keeper` does about machines: each tells how it is; the first one lets the others in and out of the database.

A further machine that cannot reach the database stops its Postfix after `node_patience` seconds, and starts it when it
can again (fence.py). So one that was silent for longer sends nothing any more, and may be given up (service.lose).
"""

import errno
import shutil
import socket
import time

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from thurn.db.connect import conninfo
from thurn.delivery.disk import ROOM
from thurn.heartbeat import alive
from thurn.nodes.fence import Fence
from thurn.nodes.gate import revoked
from thurn.settings import Settings
from thurn.stack.postgres import admin_conninfo
from thurn.stack.supervision import Supervisor

log = structlog.get_logger()

_GONE = "this machine was removed, or declared lost"
_LEAVE = 10.0  # seconds between looks whether a machine that leaves may go

_OWN = """
UPDATE node SET seen_at = now(), hostname = %(hostname)s, roles = %(roles)s, able = %(able)s, trouble = %(trouble)s,
                missing = %(missing)s
WHERE login = session_user RETURNING state
"""
_FIRST = """
INSERT INTO node (name, state, joined_at, seen_at, hostname, roles, able, trouble, missing)
VALUES (%(name)s, 'joined', now(), now(), %(hostname)s, %(roles)s, %(able)s, %(trouble)s, %(missing)s)
ON CONFLICT (name) DO UPDATE
SET seen_at = now(), hostname = excluded.hostname, roles = excluded.roles, able = excluded.able,
    trouble = excluded.trouble, missing = excluded.missing
WHERE node.login IS NULL
"""
_ADDRESSES = """
SELECT host(a) FROM egress e, unnest(ARRAY[e.bind4, e.bind6]) a
WHERE e.node = %s AND a IS NOT NULL AND e.removed_at IS NULL
"""


class Watch:
    """One life of `keeper`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor = Supervisor(settings.state)
        self._fence = Fence(settings.state, settings.node_patience) if settings.joined else None
        self._logins: dict[str, tuple[str, str]] = {}
        self._looked = -_LEAVE

    def watch(self) -> None:
        """Have a further machine's Postfix stopped in time, whatever keeps `look` waiting."""
        if self._fence is not None:
            self._fence.watch()

    def look(self) -> None:
        """Once. Raises psycopg.Error or OSError; the next look does it again."""
        if self._fence is not None:
            self._look_as_node(self._fence)
            return
        with psycopg.connect(conninfo(self._settings, "system"), connect_timeout=3, autocommit=True) as db:
            db.execute(_FIRST, self._told(db))
            self._let_in_and_out(db)
            if time.monotonic() - self._looked > _LEAVE:
                self._looked = time.monotonic()
                let_go(db)

    # ---- a further machine

    def _look_as_node(self, fence: Fence) -> None:
        asked = fence.asked()
        try:
            with psycopg.connect(conninfo(self._settings, "system"), connect_timeout=3, autocommit=True) as db:
                row = db.execute(_OWN, self._told(db)).fetchone()
        except psycopg.OperationalError as error:
            if revoked(error):
                fence.shut(_GONE)
            raise
        if row is None or row[0] not in ("joined", "leaving"):
            fence.shut(_GONE)
        else:
            fence.reached(asked)

    # ---- every machine

    def _told(self, db: psycopg.Connection) -> dict[str, object]:
        roles = {name: process.state for name, process in self._supervisor.processes().items()}
        trouble = _trouble(self._settings, roles)
        addresses = [row[0] for row in db.execute(_ADDRESSES, [self._settings.node])]
        return {
            "name": self._settings.node,
            "hostname": self._settings.hostname,
            "roles": Jsonb(roles),
            "able": not trouble,
            "trouble": trouble,
            "missing": [address for address in addresses if not _has(address)],
        }

    # ---- the first machine

    def _let_in_and_out(self, db: psycopg.Connection) -> None:
        """Roles in the database as the table has them."""
        found = db.execute("SELECT login, state, verifier FROM node WHERE login IS NOT NULL").fetchall()
        due = [row for row in found if self._logins.get(row[0]) != (row[1], row[2])]
        if not due:
            return
        own = self._settings.database_url
        with psycopg.connect(
            own or admin_conninfo(self._settings.state, self._settings.database_port), autocommit=True
        ) as admin:
            for login, state, verifier in due:
                _role(admin, login, verifier, may=state in ("joined", "leaving"))
                self._logins[login] = (state, verifier)


def _role(admin: psycopg.Connection, login: str, verifier: str, *, may: bool) -> None:
    name = sql.Identifier(login)
    known = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is not None
    if may:
        verb = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}" if known else "CREATE ROLE {} LOGIN PASSWORD {}")
        admin.execute(verb.format(name, sql.Literal(verifier)))
        admin.execute(sql.SQL("GRANT thurn_node TO {}").format(name))
        log.info("a machine may use the database", login=login)
    elif known:
        # The password stays, so that the machine is told why it may not come in.
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login])
        log.info("a machine may no longer use the database", login=login)


def let_go(db: psycopg.Connection) -> list[str]:
    """Machines that leave and have nothing on its way any more; returns their names."""
    ready = db.execute(
        """SELECT n.name FROM node n
           WHERE n.state = 'leaving' AND NOT EXISTS (SELECT FROM egress e WHERE e.node = n.name)
             AND NOT EXISTS (SELECT FROM queue_entry q WHERE q.node = n.name)"""
    ).fetchall()
    gone = []
    for (name,) in ready:
        done = db.execute(  # asked last, for it reads much
            """UPDATE node SET state = 'left', ended_at = now(), able = false
               WHERE name = %(name)s AND state = 'leaving' AND NOT EXISTS (SELECT FROM node_people(%(name)s))""",
            {"name": name},
        )
        if done.rowcount:
            gone.append(name)
            log.info("a machine has left", node=name)
    return gone


def _trouble(settings: Settings, roles: dict[str, str]) -> str:
    """Why this machine takes no mail now; empty if it does."""
    for role in ("out", "sender"):
        if roles.get(role) != "running":
            return f"The role {role} does not run."
    if not alive(settings, "sender"):
        return "The role sender gives no sign of life."
    if shutil.disk_usage(settings.state).free < ROOM:
        return f"Its disk is nearly full: less than {ROOM // 2**20} MB are free where {settings.state} lies."
    return ""


def _has(address: str) -> bool:
    """Whether this machine has the address; also if that cannot be told."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
