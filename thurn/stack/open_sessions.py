"""Ends sessions of mailboxes that may no longer sign in: Dovecot asks at the sign-in, and a phone stays for days.

Looked up in what is open, not in what was changed: so it holds for whoever disables or removes a mailbox, by whatever
way, and whether `keeper` ran at that moment or not. What an app password has opened stays when that is taken back:
Dovecot does not know by which password somebody came.
"""

import subprocess
import time

import psycopg
import structlog

from thurn.db.connect import conninfo
from thurn.settings import Settings

log = structlog.get_logger()

EVERY = 10.0  # seconds between looks
_PATIENCE = 20.0

_UNWELCOME = """
SELECT u FROM unnest(%s::text[]) u WHERE NOT EXISTS (SELECT FROM mailbox m WHERE m.address = u AND m.enabled) ORDER BY u
"""


class Doorman:
    """One life of `keeper`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looked = -EVERY

    def look(self) -> list[str]:
        """End what is unwelcome if it is time for a look; returns whose sessions were ended."""
        if time.monotonic() - self._looked < EVERY:
            return []
        self._looked = time.monotonic()
        users = _present(self._settings)
        if not users:
            return []
        with psycopg.connect(conninfo(self._settings, "system"), connect_timeout=3, autocommit=True) as db:
            unwelcome = [str(row[0]) for row in db.execute(_UNWELCOME, [users])]
        for address in unwelcome:
            close(self._settings, address)
            log.info("ended the sessions of a mailbox that may not sign in any more", address=address)
        return unwelcome


def close(settings: Settings, address: str) -> None:
    """End every session of a mailbox; nothing to do where Dovecot does not run."""
    _doveadm(settings, "kick", address)


def _present(settings: Settings) -> list[str]:
    """Who is signed in."""
    lines = _doveadm(settings, "-f", "tab", "who").splitlines()
    return sorted({line.partition("\t")[0] for line in lines[1:]} - {""})


def _doveadm(settings: Settings, *arguments: str) -> str:
    config = settings.state / "dovecot" / "etc" / "dovecot.conf"
    if not config.exists():
        return ""
    command = ("doveadm", "-c", str(config), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False).stdout
