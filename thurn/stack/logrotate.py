"""Rotation of the mail logs, which Postfix itself only appends to. A chore of `keeper`; the readers follow by inode.

A log is rotated when its first line is of another day, or when it has grown large. The new file is made here: Postfix
would make one that `feedback` may not read. Then Postfix is told to let go of the old one. Nothing is lost: the readers
stay with a rotated file until it has been quiet.
"""

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from thurn.settings import Settings
from thurn.stack.files import own

log = structlog.get_logger()

LARGE = 512 * 1024 * 1024  # bytes
_STAMP = "%Y%m%d-%H%M%S"


def rotate(settings: Settings, now: datetime | None = None, *, large: int = LARGE) -> list[Path]:
    """Rotate what is due and remove what is older than `log_days`; returns the files that logs were moved to."""
    now = now or datetime.now().astimezone()
    moved = []
    for instance in ("mx", "out"):
        path = settings.state / "log" / f"{instance}.mail.log"
        if path.exists() and _due(path, now, large) and (target := _move(path, now)):
            moved.append(target)
            # Postfix reads its configuration again, and with it opens its log anew; sessions under way come to their
            # end. One that does not run will open the new file when it does.
            command = ("postfix", "-c", f"{settings.state}/{instance}/etc", "reload")
            subprocess.run(command, cwd="/", capture_output=True, check=False)
            log.info("rotated", log=path.name)
        for old in path.parent.glob(f"{path.name}.*"):
            if old.name[len(path.name) + 1 :] < (now - timedelta(days=settings.log_days)).strftime(_STAMP):
                old.unlink()
    return moved


def _due(path: Path, now: datetime, large: int) -> bool:
    with path.open("rb") as file:
        first = file.read(6)  # `Nov 24`, `Nov  4`
    return bool(first) and (path.stat().st_size > large or first != f"{now:%b} {now.day:2}".encode())


def _move(path: Path, now: datetime) -> Path | None:
    """Swap an empty file in; there is no moment in which the name leads nowhere, for Postfix would fill that gap."""
    target = path.with_name(f"{path.name}.{now.strftime(_STAMP)}")
    if target.exists():  # twice within a second: the next look does it
        return None
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch()
    own(fresh, 0o640, "postfix:thurn")
    target.hardlink_to(path)
    fresh.replace(path)
    return target
