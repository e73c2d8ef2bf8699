"""Background jobs of audience."""

from procrastinate import JobContext

from thurn.audience import suppression
from thurn.audience.importer import run_import
from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of


@jobs.task(name="import_contacts", pass_context=True, retry=20)
async def import_contacts(context: JobContext, import_id: int, workspace: int) -> None:
    """Import an uploaded file; safe to run again at any time."""
    await run_import(settings_of(context), import_id=import_id, workspace=workspace)


@jobs.periodic(cron="23 * * * *")
@jobs.task(name="end_suppressions", pass_context=True, queueing_lock="end_suppressions")
async def end_suppressions(context: JobContext, timestamp: int) -> None:
    """Take off the list what has run out. It bars nobody from that moment on, whether or not this has run."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        while await suppression.let_go(db):
            pass
