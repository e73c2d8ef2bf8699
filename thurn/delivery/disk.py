"""No mail is handed over while the disk is nearly full: Postfix's log would lose lines, and with them outcomes."""

import shutil
import time
from pathlib import Path

import structlog

from thurn.alerts.service import mended, notify
from thurn.db.connect import Connection
from thurn.db.fetch import maybe

log = structlog.get_logger()

ROOM = 256 * 1024 * 1024  # bytes that must be free
_EVERY = 0.5  # seconds between looks
_KEY = "disk"


class Disk:
    """The file system of a state directory. The first look counts as a change: an alert of a former life is closed.

    Without `tell` operators hear of it another way (thurn/nodes).
    """

    def __init__(self, state: Path, room: int = ROOM, *, tell: bool = True) -> None:
        self._state, self._room, self._tells = state, room, tell
        self._at = -_EVERY
        self._enough = True
        self._told: bool | None = None

    async def has_room(self, db: Connection) -> bool:
        """Whether mail may be handed over. Operators are told when that changes; `db` in autocommit."""
        now = time.monotonic()
        if now - self._at > _EVERY:
            self._at = now
            self._enough = shutil.disk_usage(self._state).free >= self._room
            if self._tells and self._enough != self._told:
                await self._tell(db)
        return self._enough

    async def _tell(self, db: Connection) -> None:
        if not self._enough:
            log.warning("disk nearly full: nothing is handed over", state=str(self._state))
        async with db.transaction():  # if this fails, as it may on a full disk, it is tried at the next look
            house = await maybe(db, "SELECT id FROM workspace WHERE slug = 'main'", [])
            if house is not None and self._enough:
                await mended(
                    db, house["id"], _KEY, subject="The disk has room again", text="Campaigns are being sent again."
                )
            elif house is not None:
                await notify(
                    db,
                    house["id"],
                    "The disk is nearly full: campaigns wait",
                    f"Less than {self._room // 2**20} MB are free where {self._state} lies. Nothing is lost: campaigns "
                    "wait in the queue and go on by themselves when there is room. Delete what it need not hold, "
                    "or make it larger; look at logs and backups first.",
                    _KEY,
                )
        self._told = self._enough
