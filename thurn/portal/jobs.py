"""Background jobs of the portal: what the mail server could not take at once."""

import structlog
from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.db.fetch import rows
from thurn.jobs.app import jobs, settings_of
from thurn.portal import filters
from thurn.settings import Settings

log = structlog.get_logger()
_AT_A_TIME = 200


@jobs.periodic(cron="* * * * *")
@jobs.task(name="publish_filters", pass_context=True, queueing_lock="publish_filters")
async def publish_filters(context: JobContext, timestamp: int) -> None:
    """Give Dovecot the scripts it did not take."""
    await publish_pending(settings_of(context))


@jobs.periodic(cron="17 3 * * *")
@jobs.task(name="renew_absences", pass_context=True, queueing_lock="renew_absences")
async def renew_absences(context: JobContext, timestamp: int) -> None:
    """Write absence replies anew, once a day: aliases may have come and gone, and only own addresses are answered."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await db.execute(
            """INSERT INTO mailbox_filter_pending (mailbox_id, workspace_id)
               SELECT mailbox_id, workspace_id FROM mailbox_absence
               WHERE active AND coalesce(last_day >= current_date, true) ON CONFLICT DO NOTHING"""
        )


async def publish_pending(settings: Settings) -> int:
    """Try each that waits, the longest first; returns how many it took."""
    async with await connect(settings, "system", autocommit=True) as db:
        waiting = await rows(
            db,
            """SELECT p.mailbox_id FROM mailbox_filter_pending p JOIN mailbox m ON m.id = p.mailbox_id
               WHERE m.enabled ORDER BY p.since LIMIT %s""",
            [_AT_A_TIME],
        )
        taken = 0
        for row in waiting:
            async with db.transaction():
                took = await filters.publish(db, settings, row["mailbox_id"])
            if not took:
                log.warning("script not taken", mailbox_id=row["mailbox_id"])  # the reason is in its row
            taken += took
    return taken
