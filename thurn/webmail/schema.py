"""Roundcube's tables: made from the package's SQL in the schema `roundcube`, and brought up to date like that."""

from pathlib import Path

import psycopg

from thurn.db.connect import Connection, connect, conninfo
from thurn.settings import Settings

SQL = Path("/usr/share/roundcube/SQL")

# Roundcube's own 128 characters are too few for some addresses.
_LONGER = """
ALTER TABLE users ALTER username TYPE varchar(320);
ALTER TABLE identities ALTER email TYPE varchar(320), ALTER name TYPE varchar(320);
"""


def bring_up_to_date(settings: Settings, sql: Path = SQL) -> str:
    """Make the tables, or apply the package's updates that are missing; returns the version. Idempotent."""
    with psycopg.connect(conninfo(settings, "webmail")) as db:
        db.execute("SELECT pg_advisory_xact_lock(hashtext('thurn webmail'))")
        db.execute("ALTER ROLE CURRENT_USER SET search_path = roundcube")
        db.execute("SET LOCAL search_path = roundcube")
        if db.execute("SELECT to_regclass('roundcube.system')").fetchone() == (None,):
            db.execute((sql / "postgres.initial.sql").read_bytes())
            db.execute(_LONGER.encode())
        row = db.execute("SELECT value FROM system WHERE name = 'roundcube-version'").fetchone()
        version = str(row[0]) if row else "0"
        for update in sorted((sql / "postgres").glob("[0-9]*.sql")):
            if update.stem > version:
                if text := update.read_bytes().strip():
                    db.execute(text)
                version = update.stem
        db.execute("UPDATE system SET value = %s WHERE name = 'roundcube-version' AND value <> %s", [version, version])
    return version


async def forget_the_gone(settings: Settings, db: Connection) -> int:
    """Take away what Roundcube keeps (contacts, signatures) of mailboxes that are no more; returns how many."""
    async with await connect(settings, "webmail", autocommit=True) as own:
        if (await (await own.execute("SELECT to_regclass('roundcube.users') AS made")).fetchone() or {})[
            "made"
        ] is None:
            return 0
        # The older ones only: a mailbox may be made between the two questions.
        kept = await own.execute("SELECT username FROM roundcube.users WHERE created < now() - interval '1 hour'")
        names = [row["username"] for row in await kept.fetchall()]
        gone = await db.execute(
            """SELECT kept AS name FROM unnest(%s::text[]) AS kept
               WHERE NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.address = kept)""",
            [names],
        )
        lost = [row["name"] for row in await gone.fetchall()]
        await own.execute("DELETE FROM roundcube.users WHERE username = ANY (%s)", [lost])
    return len(lost)
