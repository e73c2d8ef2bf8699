"""The role `worker`: runs jobs, folds outcomes, loads tracking hits, ends campaigns."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import structlog
import uvloop
from procrastinate.exceptions import ConnectorException

from thurn.campaigns import guard
from thurn.campaigns.snapshot import finish, sweep_cancelled
from thurn.db.connect import Connection, connect
from thurn.delivery.fold import AT_ONCE, fold
from thurn.feeds import runner as feeds
from thurn.heartbeat import beat
from thurn.jobs.app import make_app
from thurn.log import configure_logging
from thurn.moves.runner import Runner
from thurn.settings import Settings
from thurn.shaping import store as shaping
from thurn.tracking.loader import load_spool
from thurn.warmup import store as warmup

log = structlog.get_logger()


async def loop(
    settings: Settings,
    name: str,
    step: Callable[[Connection], Awaitable[int]],
    pause: float,
    *,
    least: int = 1,
    repeatable: bool = False,
) -> None:
    """Call `step` on a connection of its own for ever: at once while it finds `least`, else after `pause` seconds.

    `repeatable` as in `connect`.
    """
    while True:
        try:
            async with await connect(settings, "system", autocommit=True, repeatable=repeatable) as db:
                while True:
                    if await step(db) < least:
                        await asyncio.sleep(pause)
        except psycopg.Error as error:
            log.warning("database trouble, trying again", loop=name, error=str(error))
            await asyncio.sleep(1)


async def _jobs(settings: Settings) -> None:
    app = make_app(settings)
    while True:
        try:
            async with app.open_async():
                await _retry_orphans(settings)
                await app.run_worker_async(
                    install_signal_handlers=False, concurrency=4, listen_notify=True, fetch_job_polling_interval=5
                )
        except (psycopg.Error, ConnectorException, OSError) as error:
            log.warning("database trouble, trying again", loop="jobs", error=str(error))
        await asyncio.sleep(1)


async def _retry_orphans(settings: Settings) -> None:
    """Jobs of a worker that was killed start again: each of ours can."""
    async with await connect(settings, "system", autocommit=True) as db:
        await db.execute(
            """SELECT procrastinate_retry_job_v1(id, now(), priority, queue_name, lock) FROM procrastinate_jobs
               WHERE status = 'doing'"""
        )


async def _finish(db: Connection) -> int:
    for campaign in await finish(db):
        log.info("campaign sent", campaign=campaign)
    for campaign in await sweep_cancelled(db):
        log.info("cancelled campaign ended", campaign=campaign)
    return 0


async def _partitions(db: Connection) -> int:
    await db.execute(
        "SELECT make_event_partition(now()::date), make_event_partition((now() + interval '1 month')::date)"
    )
    return 0


async def _run(settings: Settings) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat(settings, "worker"))
        tasks.create_task(_jobs(settings))
        tasks.create_task(Runner(settings).run())
        for _ in range(2):  # a server that answers slowly keeps the other mailboxes waiting only behind one of them
            tasks.create_task(loop(settings, "feeds", lambda db: feeds.step(settings, db), 2.0))
        tasks.create_task(loop(settings, "feed-calls", lambda db: feeds.calls(settings, db), 1.0))
        tasks.create_task(loop(settings, "feed-tidy", feeds.tidy, 3600.0))
        tasks.create_task(loop(settings, "fold", fold, 0.3, least=AT_ONCE, repeatable=True))
        tasks.create_task(loop(settings, "hits", lambda db: load_spool(settings, db), 0.3))
        tasks.create_task(loop(settings, "finish", _finish, 1.0))
        tasks.create_task(loop(settings, "shaping", shaping.step, 1.0))
        tasks.create_task(loop(settings, "guard", guard.step, 1.0))
        tasks.create_task(loop(settings, "warmup", warmup.step, 1.0))
        tasks.create_task(loop(settings, "shaping-tidy", shaping.tidy, 600.0))
        tasks.create_task(loop(settings, "partitions", _partitions, 86_400))


def main(settings: Settings) -> None:
    """Run until killed."""
    configure_logging("worker")
    uvloop.run(_run(settings))
