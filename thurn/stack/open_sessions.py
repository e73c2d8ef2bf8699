"""Ends sessions whose password is no longer good: Dovecot asks at the sign-in, and a phone stays for days.

Dovecot writes down which password opened a session (`mta.note_session`), and `keeper` looks for those whose password
was changed or revoked, has expired, or belongs to a mailbox that was disabled or removed. It looks at what is open, not
at what was changed: so it holds for whatever way that went, and whether `keeper` ran at that moment or not.

Sessions in which mail is handed in are ended by Postfix itself, at `guard`'s word (thurn/guard/own_mail.py): its
process may serve another a moment later. Here only the rows of those that are gone are swept.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import structlog

from thurn.db.connect import conninfo
from thurn.settings import Settings

log = structlog.get_logger()

EVERY = 3.0  # seconds between looks
_SWEEP = 60.0  # seconds between looks for rows of sessions that ended by themselves
_PATIENCE = 20.0
# By who wrote the row. Each process of Dovecot's serves one session.
_SERVICES = {"dovecot": frozenset({"imap", "pop3", "managesieve"}), "postfix": frozenset({"smtpd"})}
_SLACK = 2.0  # seconds by which the clocks of PostgreSQL and of the kernel may differ
_STEP = 1.0  # seconds between two looks by which they may, and more than that was a step

# Those that are unwelcome, or with `all` every one.
_ROWS = """
SELECT * FROM (
  SELECT pid, address, at, served_by, extract(epoch FROM clock_timestamp() - at)::float,
         served_by = 'dovecot'
         AND NOT EXISTS (SELECT FROM mta.good_password g WHERE g.address = s.address AND g.opened_by = s.opened_by)
  FROM mta.open_session s
) o (pid, address, at, served_by, age, unwelcome) WHERE unwelcome OR %(all)s ORDER BY pid
"""

# Rows that were written before PostgreSQL's clock was set forward. What was written since is too young to be.
_STEPPED = """
UPDATE mta.open_session SET at = at + make_interval(secs => %(step)s)
WHERE at + make_interval(secs => %(step)s) <= clock_timestamp()
"""


class Doorman:
    """One life of `keeper`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Seconds of PostgreSQL's time of day before the time since this machine started.
        self.ahead: float | None = None
        self._looked = -EVERY
        self._swept = -_SWEEP

    def look(self) -> list[str]:
        """End what is unwelcome if it is time for a look; returns whose sessions were ended, one for each of them."""
        now = time.monotonic()
        if now - self._looked < EVERY:
            return []
        self._looked = now
        sweep = now - self._swept >= _SWEEP
        if sweep:
            self._swept = now
        ended: list[str] = []
        with psycopg.connect(conninfo(self._settings, "system"), connect_timeout=3, autocommit=True) as db:
            self._follow_the_clock(db)
            for pid, address, at, served_by, age, unwelcome in db.execute(_ROWS, {"all": sweep}).fetchall():
                if not _end(pid, _SERVICES[served_by], age, kill=unwelcome):
                    db.execute("DELETE FROM mta.open_session WHERE pid = %s AND at = %s", [pid, at])
                elif unwelcome:  # its row goes when it is seen to be gone
                    ended.append(address)
                    log.info("ended a session whose password is no longer good", address=address)
        return ended

    def _follow_the_clock(self, db: psycopg.Connection) -> None:
        """Let what was open before the clock was set forward not seem to have begun before its process."""
        (now,) = db.execute("SELECT extract(epoch FROM clock_timestamp())::float").fetchone() or (0.0,)
        before, self.ahead = self.ahead, now - time.clock_gettime(time.CLOCK_BOOTTIME)
        if before is not None and self.ahead - before > _STEP:
            db.execute(_STEPPED, {"step": self.ahead - before})


def lingers(settings: Settings, address: str) -> bool:
    """Whether a session of a mailbox goes on whose password is no longer good: it may be storing what it was sent."""
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=3, autocommit=True) as db:
        rows = db.execute(_ROWS, {"all": False}).fetchall()
    return any(
        whose == address and _end(pid, _SERVICES[served_by], age, kill=False)
        for pid, whose, _, served_by, age, unwelcome in rows
        if unwelcome
    )


def close(settings: Settings, address: str) -> None:
    """End every session of a mailbox; nothing to do where Dovecot does not run."""
    config = settings.state / "dovecot" / "etc" / "dovecot.conf"
    if config.exists():
        command = ("doveadm", "-c", str(config), "kick", address)
        subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)


def _end(pid: int, services: frozenset[str], age: float, *, kill: bool) -> bool:
    """Whether the process is still the session that began `age` seconds ago; with `kill` it is told to end."""
    try:
        handle = os.pidfd_open(pid)  # whoever gets this number later is not meant by it
    except ProcessLookupError:
        return False
    try:
        if not _is_session(pid, services, age):
            return False
        if kill:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGTERM)
        return True
    finally:
        os.close(handle)


def _is_session(pid: int, services: frozenset[str], age: float) -> bool:
    """Whether this is a process of these services that was there when the session began: numbers are given again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    name, _, rest = stat.partition("(")[2].rpartition(")")
    state, started = rest.split()[0], int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")
    lives = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    return name in services and state != "Z" and lives >= age - _SLACK
