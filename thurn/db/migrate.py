"""Roles, database and schema: everything between a running PostgreSQL and a usable one. Idempotent."""

from pathlib import Path

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from thurn.db.connect import DATABASE, conninfo
from thurn.secrets import Secrets
from thurn.settings import Settings

ROLES = ("owner", "app", "system", "postfix", "dovecot", "webmail")
_SCRIPTS = Path(__file__).parent / "migrations"


def prepare_database(settings: Settings, admin: str) -> None:
    """Create roles, their passwords and the database, as the administrator whose connection string is `admin`."""
    with psycopg.connect(admin, autocommit=True) as db:
        secrets = Secrets(settings.state)
        for role in ROLES:
            name = f"thurn_{role}"
            if not db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
                db.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
            password = sql.Literal(secrets.ensure(f"db-{role}"))
            db.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), password))
        if not db.execute("SELECT 1 FROM pg_roles WHERE rolname = 'thurn_node'").fetchone():
            db.execute("CREATE ROLE thurn_node NOLOGIN")  # what the roles of further sending machines have in common
        if settings.database_url:
            database = conninfo_to_dict(settings.database_url).get("dbname", DATABASE)
        else:
            database = DATABASE
        if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            db.execute(
                sql.SQL(
                    "CREATE DATABASE {} OWNER thurn_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
                ).format(sql.Identifier(str(database)))
            )
        db.execute(sql.SQL("REVOKE CREATE ON DATABASE {} FROM PUBLIC").format(sql.Identifier(str(database))))
    with psycopg.connect(conninfo_with_database(admin, str(database)), autocommit=True) as db:
        db.execute("ALTER SCHEMA public OWNER TO thurn_owner")


def conninfo_with_database(admin: str, database: str) -> str:
    """`admin` with another database name."""
    return psycopg.conninfo.make_conninfo(admin, dbname=database)


def _engine_url(settings: Settings) -> URL:
    parts = conninfo_to_dict(conninfo(settings, "owner"))
    query = {"host": str(parts["host"])} if str(parts.get("host", "")).startswith("/") else {}
    return URL.create(
        "postgresql+psycopg",
        username=str(parts["user"]),
        password=str(parts["password"]),
        host=None if query else str(parts.get("host", "localhost")),
        port=int(parts.get("port") or 5432),
        database=str(parts["dbname"]),
        query=query,
    )


def migrate(settings: Settings, target: str = "head") -> str:
    """Bring the schema to a revision, the newest if none is named, and return its name."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    engine = create_engine(_engine_url(settings))
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('thurn migrate'))")
        config.attributes["connection"] = connection
        command.upgrade(config, target)
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return revision or ""


def run_sql(revision: str) -> None:
    """Run the SQL file that stands beside a revision's Python file: what its `upgrade` calls with `__file__`."""
    op.get_bind().exec_driver_sql(Path(revision).with_suffix(".sql").read_text().replace("%", "%%"))


def newest_revision() -> str:
    """The revision this code expects."""
    return ScriptDirectory(str(_SCRIPTS)).get_current_head() or ""
