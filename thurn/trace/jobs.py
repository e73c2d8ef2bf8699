"""Background jobs of the trace."""

from procrastinate import JobContext

from thurn.db.connect import Connection, connect
from thurn.jobs.app import jobs, settings_of

_AT_A_TIME = 2_000


@jobs.periodic(cron="17 * * * *")
@jobs.task(name="forget_traces", pass_context=True, queueing_lock="forget_traces")
async def forget_traces(context: JobContext, timestamp: int) -> None:
    """Remove what is older than the setting `trace_days`."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        while await forget(db, days=settings.trace_days):
            pass


async def forget(db: Connection, *, days: int) -> int:
    """Remove some mails that came longer ago; returns how many. In small bites, so that nobody waits for locks."""
    gone = await db.execute(
        """DELETE FROM trace_message WHERE id IN (
             SELECT id FROM trace_message WHERE at < now() - make_interval(days => %s) ORDER BY at LIMIT %s)""",
        [days, _AT_A_TIME],
    )
    return gone.rowcount
