"""Signs of life: a role of ours touches `<state>/run/<role>.alive` while its loop turns; `thurn status` looks at it."""

import asyncio
import time

from thurn.settings import Settings

EVERY = 2.0  # seconds
STALE = 10.0  # seconds without a beat, and a role counts as stuck


async def beat(settings: Settings, role: str) -> None:
    """Touch the role's file for ever; run it as a task beside the role's work."""
    path = settings.state / "run" / f"{role}.alive"
    while True:
        path.touch()
        await asyncio.sleep(EVERY)


def alive(settings: Settings, role: str) -> bool:
    """Whether the role has beaten lately."""
    try:
        return time.time() - (settings.state / "run" / f"{role}.alive").stat().st_mtime < STALE
    except FileNotFoundError:
        return False
