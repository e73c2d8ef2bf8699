"""App passwords: one for each program on each device, so that one can be taken away without the others noticing.

The secret is shown once. Dovecot hashes what it is given and looks the hash up (thurn/stack/dovecot.py), so it is kept
as SHA-256 of the UTF-8 text exactly as it is typed, hyphens included.
"""

import hashlib
import secrets
from datetime import datetime
from typing import Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import one, rows
from thurn.mailhost.names import one_line
from thurn.problems import Conflict, Invalid, NotFound

Scope = Literal["programs", "webmail", "import"]

LONGEST_NAME = 100
MOST = 50  # of one mailbox: a person with more devices has lost count of them
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 letters, 5 bits each; no l, o, 0, 1


def generate() -> str:
    """Four groups of five letters: 100 bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


async def create(
    db: Connection, workspace: int, mailbox_id: int, *, name: str, scope: Scope = "programs",
    expires_at: datetime | None = None,
) -> tuple[int, str]:  # fmt: skip
    """Make one and return its id and the secret, which nobody can read again. `Invalid` (field `name`), `Conflict`."""
    name = one_line(name)
    if not name:
        raise Invalid("name", "Say what it is for, for example “Phone”, so that you know later which one to revoke.")
    if len(name) > LONGEST_NAME:
        raise Invalid("name", f"This name is too long: {LONGEST_NAME} characters fit.")
    if scope == "programs":
        have = await one(
            db,
            "SELECT count(*) AS n FROM app_password WHERE mailbox_id = %s AND scope = 'programs'",
            [mailbox_id],
        )
        if have["n"] >= MOST:
            raise Conflict(f"There are {MOST} app passwords already. Revoke those that are no longer used first.")
    secret = generate()
    row = await one(
        db,
        """INSERT INTO app_password (workspace_id, mailbox_id, name, scope, secret_hash, expires_at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING id""",
        [workspace, mailbox_id, name, scope, digest(secret), expires_at],
    )
    return int(row["id"]), secret


async def of_mailbox(db: Connection, mailbox_id: int) -> list[Row]:
    """Those for programs, oldest first: `id`, `name`, `created_at`, `expires_at`, `last_used_at`, `last_used_ip`."""
    return await rows(
        db,
        """SELECT id, name, created_at, expires_at, last_used_at, last_used_ip FROM app_password
           WHERE mailbox_id = %s AND scope = 'programs' ORDER BY id""",
        [mailbox_id],
    )


async def revoke(db: Connection, mailbox_id: int, number: int) -> None:
    """Take one away; `keeper` ends what it has opened. `NotFound` if the mailbox has no such one."""
    gone = await db.execute("DELETE FROM app_password WHERE id = %s AND mailbox_id = %s", [number, mailbox_id])
    if not gone.rowcount:
        raise NotFound("There is no such app password; perhaps it is revoked already.")
