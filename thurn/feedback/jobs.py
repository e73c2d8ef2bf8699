"""Background jobs of feedback."""

from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.feedback.returned import forget
from thurn.jobs.app import jobs, settings_of


@jobs.periodic(cron="41 * * * *")
@jobs.task(name="forget_returned", pass_context=True, queueing_lock="forget_returned")
async def forget_returned(context: JobContext, timestamp: int) -> None:
    """Forget what came back long ago: the mails after 90 days, the lines about them after 400."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        while await forget(db):
            pass
