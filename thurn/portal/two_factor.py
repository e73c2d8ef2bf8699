"""The second step of signing in to the portal: on, checked, off.

While it is on, the password alone opens no mail program (view mta.dovecot_user): those need app passwords.
"""

import time
from dataclasses import dataclass

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one
from thurn.portal import changes, totp
from thurn.problems import Conflict, Invalid, NotFound
from thurn.secrets import Secrets
from thurn.settings import Settings

WRONG_CODES = 5  # then the password is asked for again


@dataclass(frozen=True, slots=True)
class TwoFactor:
    """How it stands with a mailbox. `begun`: a secret is there, no code was given yet."""

    on: bool
    begun: bool
    recovery_codes: int  # that are left


async def status(db: Connection, mailbox_id: int) -> TwoFactor:
    """How it stands."""
    row = await one(
        db,
        """SELECT totp_confirmed_at IS NOT NULL AS on, totp_secret IS NOT NULL AS begun,
                  (SELECT count(*) FROM mailbox_recovery_code c WHERE c.mailbox_id = m.id AND used_at IS NULL) AS codes
           FROM mailbox m WHERE id = %s""",
        [mailbox_id],
    )
    return TwoFactor(row["on"], row["begun"] and not row["on"], row["codes"])


async def begin(db: Connection, settings: Settings, mailbox_id: int) -> None:
    """A new secret, which counts once a code made with it was given."""
    sealed = Secrets(settings.state).seal(totp.new_secret().encode(), _label(mailbox_id))
    changed = await db.execute(
        """UPDATE mailbox SET totp_secret = %s, totp_last_step = NULL WHERE id = %s AND totp_confirmed_at IS NULL""",
        [sealed, mailbox_id],
    )
    if not changed.rowcount:
        raise Conflict("Two-factor is on already.")


async def secret_to_show(db: Connection, settings: Settings, mailbox_id: int) -> str:
    """The secret, while it is being set up; `NotFound` at any other time."""
    row = await _row(db, mailbox_id)
    if row["totp_secret"] is None or row["totp_confirmed_at"] is not None:
        raise NotFound("Two-factor is not being set up.")
    return _unsealed(settings, row)


async def confirm(db: Connection, settings: Settings, workspace: int, mailbox_id: int, code: str) -> list[str]:
    """Turn it on with a first code; returns the recovery codes, which nobody can see again."""
    await secret_to_show(db, settings, mailbox_id)
    if not await _take_totp(db, settings, mailbox_id, code):
        raise Invalid("code", "This code is not the one. Is the clock of your phone right? Take the next code.")
    await db.execute("UPDATE mailbox SET totp_confirmed_at = now() WHERE id = %s", [mailbox_id])
    await changes.note(db, workspace, mailbox_id, "Two-factor was turned on")
    return await _recovery_codes(db, settings, workspace, mailbox_id)


async def renew_recovery_codes(
    db: Connection, settings: Settings, workspace: int, mailbox_id: int, code: str
) -> list[str]:
    """Ten new recovery codes for a right code; the old ones count no more."""
    if not await check(db, settings, workspace, mailbox_id, code):
        raise Invalid("code", "This code is not the one, or was used already. Take the next code.")
    await changes.note(db, workspace, mailbox_id, "New recovery codes were made")
    return await _recovery_codes(db, settings, workspace, mailbox_id)


async def check(db: Connection, settings: Settings, workspace: int, mailbox_id: int, code: str) -> bool:
    """Whether a code of the app or a recovery code is right; either is used up by this."""
    if await _take_totp(db, settings, mailbox_id, code):
        return True
    used = await db.execute(
        """UPDATE mailbox_recovery_code SET used_at = now()
           WHERE mailbox_id = %s AND code_hash = %s AND used_at IS NULL""",
        [mailbox_id, totp.hash_recovery_code(_key(settings), code)],
    )
    if used.rowcount:
        await changes.note(db, workspace, mailbox_id, "A recovery code was used")
    return bool(used.rowcount)


async def turn_off(db: Connection, workspace: int, mailbox_id: int, *, by_admin: bool = False) -> None:
    """The password alone is enough again, also in mail programs. Ask for proof before; `Conflict` if it is off."""
    off = await db.execute(
        """UPDATE mailbox SET totp_secret = NULL, totp_confirmed_at = NULL, totp_last_step = NULL
           WHERE id = %s AND totp_secret IS NOT NULL""",
        [mailbox_id],
    )
    if not off.rowcount:
        raise Conflict("Two-factor is off already.")
    await db.execute("DELETE FROM mailbox_recovery_code WHERE mailbox_id = %s", [mailbox_id])
    await changes.note(db, workspace, mailbox_id, "Two-factor was turned off", by_admin=by_admin)


async def _take_totp(db: Connection, settings: Settings, mailbox_id: int, code: str) -> bool:
    row = await _row(db, mailbox_id)
    if row["totp_secret"] is None:
        return False
    step = totp.matching_step(_unsealed(settings, row), code, time.time(), row["totp_last_step"])
    if step is None:
        return False
    # Of two requests with the same code one comes first.
    taken = await db.execute(
        "UPDATE mailbox SET totp_last_step = %s WHERE id = %s AND coalesce(totp_last_step, 0) < %s",
        [step, mailbox_id, step],
    )
    return bool(taken.rowcount)


async def _recovery_codes(db: Connection, settings: Settings, workspace: int, mailbox_id: int) -> list[str]:
    codes = totp.new_recovery_codes()
    hashes = [totp.hash_recovery_code(_key(settings), code) for code in codes]
    await db.execute("DELETE FROM mailbox_recovery_code WHERE mailbox_id = %s", [mailbox_id])
    await db.execute(
        """INSERT INTO mailbox_recovery_code (mailbox_id, workspace_id, code_hash)
           SELECT %s, %s, unnest(%s::bytea[])""",
        [mailbox_id, workspace, hashes],
    )
    return codes


async def _row(db: Connection, mailbox_id: int) -> Row:
    row = await maybe(
        db, "SELECT id, totp_secret, totp_confirmed_at, totp_last_step FROM mailbox WHERE id = %s", [mailbox_id]
    )
    if row is None:
        raise NotFound("There is no such mailbox.")
    return row


def _label(mailbox_id: int) -> str:
    return f"totp:{mailbox_id}"


def _unsealed(settings: Settings, row: Row) -> str:
    return Secrets(settings.state).unseal(bytes(row["totp_secret"]), _label(row["id"])).decode()


def _key(settings: Settings) -> bytes:
    return Secrets(settings.state).derive("recovery-codes")
