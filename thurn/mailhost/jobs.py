"""Background jobs of mailhost."""

import asyncio

from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of
from thurn.mailhost.check import check_domain
from thurn.problems import NotFound
from thurn.settings import Settings

_AT_A_TIME = 10


@jobs.periodic(cron="*/10 * * * *")
@jobs.task(name="check_domains", pass_context=True, queueing_lock="check_domains")
async def check_domains(context: JobContext, timestamp: int) -> None:
    """Look at the DNS records of every domain."""
    await check_all(settings_of(context))


async def check_all(settings: Settings) -> int:
    """Check every domain of every workspace, longest unchecked first; returns how many there were."""
    # Autocommit: no transaction is held open while DNS takes its time.
    async with await connect(settings, "system", autocommit=True) as db:
        rows = await (await db.execute("SELECT id FROM domain ORDER BY checked_at NULLS FIRST, id")).fetchall()

        async def one(domain_id: int) -> None:
            try:
                await check_domain(db, domain_id, settings)
            except NotFound:
                pass  # removed meanwhile

        for start in range(0, len(rows), _AT_A_TIME):
            await asyncio.gather(*(one(row["id"]) for row in rows[start : start + _AT_A_TIME]))
    return len(rows)
