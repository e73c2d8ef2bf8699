"""What stands in the database of open sessions, and the processes it is about."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack import open_sessions
from thurn.stack.open_sessions import Doorman


@pytest.fixture
def session(clean: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A connection as the owner; a session is open whose process lives. Every look sweeps."""
    monkeypatch.setattr(open_sessions, "EVERY", 0.0)
    monkeypatch.setattr(open_sessions, "_SWEEP", 0.0)
    program = shutil.copy("/bin/sleep", tmp_path / "smtpd")  # the name is what counts
    with (
        subprocess.Popen([program, "600"]) as process,
        psycopg.connect(conninfo(clean, "owner"), autocommit=True) as db,
    ):
        db.execute(
            """INSERT INTO mta.open_session (pid, address, opened_by, served_by)
               VALUES (%s, 'anna@brotzeit.example', 'own x', 'postfix')""",
            [process.pid],
        )
        yield db
        process.kill()
        db.execute("DELETE FROM mta.open_session")


def ages(db: psycopg.Connection) -> list[float]:
    query = "SELECT extract(epoch FROM clock_timestamp() - at)::float FROM mta.open_session"
    return [age for (age,) in db.execute(query).fetchall()]


def set_forward(db: psycopg.Connection, doorman: Doorman, seconds: float) -> None:
    """What it looks like afterwards: what was noted before seems that much older."""
    assert doorman.ahead is not None
    doorman.ahead -= seconds
    db.execute("UPDATE mta.open_session SET at = at - make_interval(secs => %s)", [seconds])


def test_a_session_that_was_open_before_the_clock_was_set_forward_is_not_taken_for_gone(
    clean: Settings, session: psycopg.Connection
) -> None:
    doorman = Doorman(clean)
    doorman.look()
    set_forward(session, doorman, 7200)
    doorman.look()
    (age,) = ages(session)
    assert 0 <= age < 60


def test_a_row_from_before_its_process_is_about_another_that_is_gone(
    clean: Settings, session: psycopg.Connection
) -> None:
    session.execute("UPDATE mta.open_session SET at = at - interval '2 hours'")
    Doorman(clean).look()
    assert ages(session) == []
