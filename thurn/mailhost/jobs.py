"""Background jobs of mailhost."""

import asyncio

import structlog
from procrastinate import JobContext

from thurn.db.connect import Connection, connect, make_pool
from thurn.db.fetch import rows
from thurn.dns import publishing, tlsa
from thurn.dns.check import check_domain
from thurn.dns.verdicts import Check
from thurn.jobs.app import jobs, settings_of
from thurn.mailhost import box_import, sending, usage
from thurn.mailhost.service import get_domain_by_id
from thurn.problems import Conflict, NotFound
from thurn.settings import Settings

log = structlog.get_logger()
_AT_A_TIME = 6
_NEXT_KEYS = ("dkim-next", "tlsa")


@jobs.periodic(cron="*/10 * * * *")
@jobs.task(name="check_domains", pass_context=True, queueing_lock="check_domains")
async def check_domains(context: JobContext, timestamp: int) -> None:
    """Look at the DNS records of every domain."""
    await check_all(settings_of(context))


@jobs.periodic(cron="*/10 * * * *")
@jobs.task(name="close_limit_alerts", pass_context=True, queueing_lock="close_limit_alerts")
async def close_limit_alerts(context: JobContext, timestamp: int) -> None:
    """Take back alerts about sending limits that are over."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await sending.close_alerts(db)


@jobs.periodic(cron="*/5 * * * *")
@jobs.task(name="warn_of_full_mailboxes", pass_context=True, queueing_lock="warn_of_full_mailboxes")
async def warn_of_full_mailboxes(context: JobContext, timestamp: int) -> None:
    """Write to the owners of mailboxes that got nearly full."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        await usage.warn_due(db, settings)


@jobs.periodic(cron="27 2 * * *")
@jobs.task(name="note_mailbox_sizes", pass_context=True, queueing_lock="note_mailbox_sizes")
async def note_mailbox_sizes(context: JobContext, timestamp: int) -> None:
    """Keep what each mailbox holds today."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await usage.note_day(db)


@jobs.task(name="make_mailboxes", pass_context=True, retry=20)
async def make_mailboxes(context: JobContext, import_id: int, workspace: int) -> None:
    """Make the mailboxes of a list; safe to run again at any time."""
    await box_import.run(settings_of(context), import_id=import_id, workspace=workspace)


@jobs.periodic(cron="11 * * * *")
@jobs.task(name="forget_mailbox_imports", pass_context=True, queueing_lock="forget_mailbox_imports")
async def forget_mailbox_imports(context: JobContext, timestamp: int) -> None:
    """Forget passwords that were made a day ago."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await box_import.sweep(db)


async def check_all(settings: Settings) -> int:
    """Check every domain of every workspace, longest unchecked first; returns how many there were."""
    # Autocommit, and a connection for each: no transaction is held open while DNS takes its time.
    async with make_pool(settings, "system", size=_AT_A_TIME) as pool:
        async with pool.connection() as db:
            found = await rows(db, "SELECT id FROM domain ORDER BY checked_at NULLS FIRST, id")
        gate = asyncio.Semaphore(_AT_A_TIME)

        async def one(domain_id: int) -> None:
            async with gate, pool.connection() as db:
                await db.commit()
                await db.set_autocommit(True)
                try:
                    checks = await check_domain(db, domain_id, settings)
                    await tlsa.keep(db, checks)
                    await _publish_next_keys(db, domain_id, checks, settings)
                except NotFound:
                    pass  # removed meanwhile
                finally:
                    await db.set_autocommit(False)

        await asyncio.gather(*(one(row["id"]) for row in found))
    return len(found)


async def _publish_next_keys(db: Connection, domain_id: int, checks: list[Check], settings: Settings) -> None:
    """The records of new keys, where we may: a DKIM rotation, and a certificate under DANE, then need nobody."""
    if not any(check.record.kind in _NEXT_KEYS and check.publish and check.level != "unknown" for check in checks):
        return
    domain = await get_domain_by_id(db, domain_id)
    if await publishing.get(db, domain) is None:
        return
    try:
        await publishing.publish(db, domain, settings, kinds=_NEXT_KEYS)
    except Conflict as refused:
        log.warning("cannot publish new keys", domain=domain["name"], why=str(refused))
