"""Doing something at the mail server as the mailbox, by its inner doors on loopback and a password of minutes.

The password must be there for Dovecot to see before it is used, so it has a connection and a commit of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from thurn.db.connect import connect
from thurn.mailhost import app_passwords
from thurn.portal.sessions import enter_workspace
from thurn.settings import Settings

LASTS = timedelta(minutes=2)  # if nobody comes to take it away


@asynccontextmanager
async def door_key(settings: Settings, workspace: int, mailbox_id: int) -> AsyncIterator[str]:
    """A password that opens the inner doors as this mailbox, for as long as the block runs."""
    async with await connect(settings, "app", autocommit=True) as db:
        async with db.transaction():
            await enter_workspace(db, workspace)
            number, secret = await app_passwords.create(
                db, workspace, mailbox_id, name="Portal", scope="webmail", expires_at=datetime.now(UTC) + LASTS
            )
        try:
            yield secret
        finally:
            async with db.transaction():
                await enter_workspace(db, workspace)
                await app_passwords.revoke(db, mailbox_id, number)
