"""Has `mx` ask a database again that was away.

Postfix leaves a database that failed alone for a minute (RETRY_CONN_INTV of its pgsql client, no setting in 3.7), and
puts off every mail meanwhile. Reloaded, it asks anew; sessions that are open go on.
"""

import subprocess

import psycopg

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.files import File
from thurn.stack.keeper import Kept

MARK = "mx/etc/database-started"


def started(settings: Settings) -> list[File]:
    """Since when the database runs."""
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3) as db:
        row = db.execute("SELECT pg_postmaster_start_time()::text").fetchone()
    return [File(MARK, f"{row[0] if row else ''}\n")]


def reload(settings: Settings, changed: set[str]) -> None:
    """Postfix that does not run asks when it starts."""
    subprocess.run(["postfix", "-c", f"{settings.state}/mx/etc", "reload"], cwd="/", capture_output=True, check=False)


KEPT = {"database of mx": Kept(started, reload)}
