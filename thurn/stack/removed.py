"""Destroys the mail of removed mailboxes when their time is over (thurn/mailhost/removed.py): in `keeper`, as root.

The folder's name comes from the database, and the folders belong to Dovecot's user: nothing but a folder two levels
below `<state>/mail` is ever touched, and no link is followed on the way.
"""

import os
import shutil
from pathlib import Path

import psycopg
import structlog

from thurn.db.connect import conninfo
from thurn.settings import Settings
from thurn.stack.open_sessions import close

log = structlog.get_logger()
_AT_A_TIME = 20


def destroy_due(settings: Settings) -> int:
    """Destroy what is due; returns how many mailboxes' mail is gone. One that cannot go is tried again."""
    gone = 0
    with psycopg.connect(conninfo(settings, "system"), connect_timeout=5, autocommit=True) as db:
        due = db.execute(
            "SELECT mailbox_id FROM removed_mailbox WHERE destroy_at <= now() ORDER BY destroy_at LIMIT %s",
            [_AT_A_TIME],
        ).fetchall()
        for (number,) in due:
            try:
                with db.transaction():
                    gone += _one(settings, db, number)
            except OSError as error:
                log.warning("cannot destroy the mail of a removed mailbox", mailbox_id=number, error=str(error))
    return gone


def _one(settings: Settings, db: psycopg.Connection, number: int) -> int:
    # Locked until its mail is gone: whoever restores it meanwhile waits, and then does not find it any more.
    row = db.execute(
        """SELECT address, home FROM removed_mailbox r WHERE mailbox_id = %s AND destroy_at <= now()
             AND NOT EXISTS (SELECT FROM mailbox m WHERE m.id = r.mailbox_id) FOR UPDATE SKIP LOCKED""",
        [number],
    ).fetchone()
    if row is None:
        return 0
    address, home = row
    close(settings, address)  # whoever is still signed in would write into a folder that is going
    remove(settings.state / "mail", home)
    db.execute("DELETE FROM removed_mailbox WHERE mailbox_id = %s", [number])
    log.info("destroyed the mail of a removed mailbox", address=address, mailbox_id=number)
    return 1


def remove(mail: Path, home: str) -> None:
    """Remove the folder `home` (domain/name.id) below `mail`; nothing to do when it is not there. `OSError`."""
    domain, _, name = home.partition("/")
    if {domain, name} & {"", ".", ".."} or "/" in name or "\0" in home:
        raise OSError(f"not a mailbox's folder: {home!r}")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        outer = os.open(mail, flags)
    except FileNotFoundError:
        return
    try:
        inner = os.open(domain, flags, dir_fd=outer)
    except FileNotFoundError:
        return
    finally:
        os.close(outer)
    try:
        shutil.rmtree(name, dir_fd=inner)
    except FileNotFoundError:
        pass
    finally:
        os.close(inner)
