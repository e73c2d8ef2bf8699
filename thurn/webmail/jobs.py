"""Background jobs of webmail."""

from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of
from thurn.webmail.schema import forget_the_gone
from thurn.webmail.service import sweep


@jobs.periodic(cron="*/10 * * * *")
@jobs.task(name="sweep_webmail", pass_context=True, queueing_lock="sweep_webmail")
async def sweep_webmail(context: JobContext, timestamp: int) -> None:
    """Take away tokens and passwords that are over, and what Roundcube keeps of mailboxes that are gone."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        await sweep(db)
        await forget_the_gone(settings, db)
