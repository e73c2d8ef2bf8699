"""Connections to PostgreSQL, per role, and the two ways to hold a transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from thurn.secrets import Secrets
from thurn.settings import Settings

Role = Literal["owner", "app", "system", "postfix", "dovecot", "webmail"]
Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]

DATABASE = "thurn"


def conninfo(settings: Settings, role: Role) -> str:
    """A libpq connection string for `role`: the private cluster's socket, or the operator's own server."""
    if settings.joined:
        return _of_node(settings)
    login = {"user": f"thurn_{role}", "password": Secrets(settings.state).ensure(f"db-{role}")}
    if settings.database_url:
        return make_conninfo(settings.database_url, **login)
    return make_conninfo(host=str(settings.state / "db" / "run"), port=settings.database_port, dbname=DATABASE, **login)


def login_of(node: str) -> str:
    """The role in the database of a further sending machine."""
    return f"thurn_node_{node.replace('-', '_')}"


def _of_node(settings: Settings) -> str:
    """A further machine has one role for everything, and knows the server by its certificate."""
    login = {"user": login_of(settings.node), "password": Secrets(settings.state).read("db-node")}
    root = settings.state / "secrets" / "database-ca.pem"  # wherever the state directory lies today
    # `sslcert`: else libpq looks into the home of who started us, where our roles may not.
    none = str(root.with_name("none"))
    known = {"sslmode": "verify-ca", "sslrootcert": str(root), "sslcert": none, "sslkey": none, "sslcrl": none}
    known = known if root.exists() else {}
    # A cable that is cut is noticed within half a minute, also in the middle of a conversation.
    cut = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "20000"}
    return make_conninfo(settings.database_url, **login, **known, **cut)


async def connect(settings: Settings, role: Role, *, autocommit: bool = False, repeatable: bool = False) -> Connection:
    """One connection that gives rows as dicts.

    `repeatable`: each commit says how far it has come, and so need not wait for the disk. If the server crashes, the
    last half second may be undone, whole commits from the end; it is done again from where the database then stands.
    """
    db: Connection = await psycopg.AsyncConnection.connect(
        conninfo(settings, role), row_factory=dict_row, autocommit=autocommit
    )
    if repeatable:
        await db.execute("SET synchronous_commit = off")
        await db.commit()
    return db


def make_pool(settings: Settings, role: Role, *, size: int = 8, patience: float = 30.0) -> Pool:
    """A pool that gives rows as dicts; open it with `async with` or `await pool.open()`.

    `patience`: seconds that one who asks waits for a connection, then PoolTimeout is raised.
    """
    return AsyncConnectionPool(
        conninfo(settings, role),
        connection_class=psycopg.AsyncConnection[Row],
        kwargs={"row_factory": dict_row},
        min_size=1,
        max_size=size,
        timeout=patience,
        # The pool tries again after ever longer pauses. So that it has a connection soon after the server is back, it
        # gives up early, and begins anew for who waits already or asks next.
        reconnect_timeout=min(patience, 10) / 2,
        reconnect_failed=_begin_anew,
        check=AsyncConnectionPool.check_connection,  # one that died with the server is replaced, not handed out
        open=False,
    )


async def _begin_anew(pool: Pool) -> None:
    if pool.get_stats().get("requests_waiting"):
        await pool.check()


@asynccontextmanager
async def in_workspace(pool: Pool, workspace: int) -> AsyncIterator[Connection]:
    """A transaction as `thurn_app` that sees one workspace; commits at the end, rolls back on an exception."""
    async with pool.connection() as db, db.transaction():
        await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(workspace)])
        yield db
