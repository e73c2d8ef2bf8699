"""Fixtures: a real PostgreSQL for the whole run, a clean database for each test that asks for one."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

import thurn.settings
from thurn.db.connect import Connection, Pool, connect, conninfo, make_pool
from thurn.db.migrate import migrate, prepare_database
from thurn.settings import BLOCKS, Settings, allocate_ports

# How long an example takes to make or to try says more about what else the machine does than about us. And a gate must
# not close by the luck of the draw: the suite tries the same examples each time; `--hypothesis-profile search` draws.
hypothesis_settings.register_profile(
    "search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000, print_blob=True
)
hypothesis_settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
hypothesis_settings.load_profile("suite")


def blocks() -> Iterator[int]:
    """Of ports: each installation of this process has its own, and no other process of this run has it.

    Those of an installation that listens at few of its ports would else be given to the next one at times.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    of_each = BLOCKS // workers
    for number in count(secrets.randbelow(of_each)):
        yield number % of_each * workers + worker


thurn.settings.first_block = partial(next, blocks())
os.environ.setdefault("AIOSMTPD_CONTROLLER_TIMEOUT", "60")  # seconds for a stand-in to listen; a met wait costs nothing

KEPT = "('alembic_version', 'workspace')"
# As the migration leaves them: every installation has one egress, in the pool `default`.
FIRST_EGRESS = """
WITH e AS (INSERT INTO egress (name) VALUES ('e1') RETURNING id),
     p AS (INSERT INTO pool (name) VALUES ('default') RETURNING id)
INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM p, e
"""


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """An installation of which only the database runs. Short path: a UNIX socket's name holds 107 bytes."""
    state = Path(tempfile.mkdtemp(prefix="thurn-", dir="/tmp"))
    state.chmod(0o755)
    bindir = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
    cluster, run = state / "db" / "cluster", state / "db" / "run"
    run.mkdir(parents=True)
    cluster.mkdir()
    shutil.chown(cluster, "postgres")
    shutil.chown(run, "postgres")

    def as_postgres(*command: str | Path) -> None:
        subprocess.run(
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *map(str, command)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    as_postgres(bindir / "initdb", "-D", cluster, "-A", "trust", "-U", "postgres", "--no-sync")
    options = f"-k {run} -c listen_addresses= -c fsync=off -c synchronous_commit=off -c max_connections=60"
    as_postgres(bindir / "pg_ctl", "-D", cluster, "-o", options, "-l", run / "log", "-w", "start")
    settings = Settings(state=state, simulate=True, hostname="mail.thurn.example")
    allocate_ports(settings)
    prepare_database(settings, f"host={run} user=postgres dbname=postgres")
    migrate(settings)
    yield settings
    as_postgres(bindir / "pg_ctl", "-D", cluster, "-m", "immediate", "stop")
    shutil.rmtree(state)


@pytest.fixture
def clean(settings: Settings) -> Settings:
    """The same installation with every table empty but the workspace `main` (id 1) and the egress `e1`."""
    with psycopg.connect(conninfo(settings, "owner"), autocommit=True) as db:
        db.execute("SET lock_timeout = '60s'")  # a transaction that a test left open is an error, not a wait for ever
        # Only what was used: to truncate two hundred tables takes longer than most tests.
        looks = db.execute(
            f"""SELECT string_agg(format('SELECT %L WHERE EXISTS (SELECT 1 FROM %I)', relname, relname), ' UNION ALL ')
                FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                AND NOT relispartition AND relname NOT IN {KEPT}"""  # noqa: S608
        ).fetchone()
        assert looks is not None
        tables = [name for (name,) in db.execute(looks[0])]
        if tables:
            db.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        numbers = db.execute(
            """SELECT string_agg(format('ALTER SEQUENCE %I RESTART', sequencename), '; ') FROM pg_sequences
               WHERE schemaname = 'public' AND last_value IS NOT NULL AND sequencename <> 'workspace_id_seq'"""
        ).fetchone()
        if numbers and numbers[0]:
            db.execute(numbers[0])
        db.execute("DELETE FROM workspace WHERE id <> 1")
        db.execute(FIRST_EGRESS)
    return settings


@pytest.fixture
async def system(clean: Settings) -> AsyncIterator[Connection]:
    """An autocommit connection as the machinery: sees all workspaces."""
    db = await connect(clean, "system", autocommit=True)
    yield db
    await db.close()


@pytest.fixture
def analyze(clean: Settings) -> Callable[[str], None]:
    """Statistics of a table as autovacuum makes them sooner or later; PostgreSQL lets its owner alone make them."""

    def make(table: str) -> None:
        with psycopg.connect(conninfo(clean, "owner"), autocommit=True) as db:
            db.execute(f"VACUUM ANALYZE {table}")

    return make


@pytest.fixture
async def app_pool(clean: Settings) -> AsyncIterator[Pool]:
    """A pool as the web application; use it with `in_workspace`."""
    async with make_pool(clean, "app", size=4) as pool:
        yield pool


assert os.geteuid() == 0, "The tests start real daemons, each under its own user: run them as root."
