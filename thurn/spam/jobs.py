"""Background jobs of spam."""

from datetime import UTC, datetime

from procrastinate import JobContext

from thurn.db.connect import Connection, connect
from thurn.jobs.app import jobs, settings_of
from thurn.spam import quarantine
from thurn.spam.digest import send_due

VERDICT_DAYS = 30


@jobs.periodic(cron="3 * * * *")
@jobs.task(name="list_held_mail", pass_context=True, queueing_lock="list_held_mail")
async def list_held_mail(context: JobContext, timestamp: int) -> None:
    """Tell the owners of mailboxes what is newly held."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        await send_due(db, settings, datetime.now(UTC))


@jobs.periodic(cron="41 * * * *")
@jobs.task(name="forget_spam", pass_context=True, queueing_lock="forget_spam")
async def forget_spam(context: JobContext, timestamp: int) -> None:
    """Delete what is older than 30 days."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await forget(db)


async def forget(db: Connection) -> None:
    """In portions, on an autocommit connection: nobody waits for a lock."""
    for table, days in (("held_mail", quarantine.DAYS), ("spam_verdict", VERDICT_DAYS)):
        gone = 1
        while gone:
            cursor = await db.execute(
                f"""DELETE FROM {table} WHERE id IN (
                      SELECT id FROM {table} WHERE at < now() - make_interval(days => %s) LIMIT 5000)""",  # noqa: S608
                [days],
            )
            gone = cursor.rowcount
