"""Background jobs of the guard."""

from procrastinate import JobContext

from thurn.db.connect import Connection, connect
from thurn.guard import attacks, limits
from thurn.jobs.app import jobs, settings_of


@jobs.periodic(cron="*/5 * * * *")
@jobs.task(name="look_for_attacks", pass_context=True, queueing_lock="look_for_attacks")
async def look_for_attacks(context: JobContext, timestamp: int) -> None:
    """Tell people of what needs them."""
    async with await connect(settings_of(context), "system") as db, db.transaction():
        await attacks.look(db)


@jobs.periodic(cron="17 * * * *")
@jobs.task(name="forget_sign_ins", pass_context=True, queueing_lock="forget_sign_ins")
async def forget_sign_ins(context: JobContext, timestamp: int) -> None:
    """Remove what is no longer counted."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await forget(db)


async def forget(db: Connection) -> None:
    """Failures after a day, bans a week after they are over, known networks and sign-ins when they are old."""
    await db.execute("DELETE FROM guard_failure WHERE at < now() - %s", [limits.SHOWN])
    await db.execute("DELETE FROM guard_ban WHERE until < now() - %s", [limits.FORGIVEN])
    await db.execute("DELETE FROM guard_known WHERE at < now() - %s", [limits.KNOWN])
    while True:  # in parts, so that nobody waits behind a large one
        gone = await db.execute(
            """DELETE FROM mailbox_sign_in WHERE id IN (
                 SELECT id FROM mailbox_sign_in WHERE at < now() - %s ORDER BY id LIMIT 5000)""",
            [limits.SIGN_INS_KEPT],
        )
        if gone.rowcount < 5000:
            return
