"""The role `feedback`: reads the mail log of the local `out`; where `mx` is, takes bounces and complaints over LMTP."""

import asyncio

import uvloop

from thurn.db.connect import make_pool
from thurn.feedback.lmtp import serve_lmtp
from thurn.feedback.log_reader import LogReader
from thurn.heartbeat import beat
from thurn.log import configure_logging
from thurn.settings import Settings
from thurn.trace.reader import TraceReader


async def _run(settings: Settings) -> None:
    async with make_pool(settings, "system", size=4) as pool, asyncio.TaskGroup() as tasks:
        if not settings.joined:
            await serve_lmtp(settings, pool)
            tasks.create_task(TraceReader(settings).run())
        tasks.create_task(LogReader(settings).run())
        tasks.create_task(beat(settings, "feedback"))


def main(settings: Settings) -> None:
    """Run until killed."""
    configure_logging("feedback")
    uvloop.run(_run(settings))
