"""Background jobs of reputation."""

from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of
from thurn.reputation import access, watch


@jobs.periodic(cron="23 */4 * * *")
@jobs.task(name="look_at_block_lists", pass_context=True, queueing_lock="look_at_block_lists")
async def look_at_block_lists(context: JobContext, timestamp: int) -> None:
    """Ask the block lists about our addresses and domains."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        await watch.look(db, settings)


@jobs.task(name="look_at_block_lists_now", pass_context=True)
async def look_at_block_lists_now(context: JobContext) -> None:
    """The same, because somebody wants to know."""
    await look_at_block_lists(context, 0)


@jobs.periodic(cron="41 */6 * * *")
@jobs.task(name="ask_providers", pass_context=True, queueing_lock="ask_providers")
async def ask_providers(context: JobContext, timestamp: int) -> None:
    """Fetch what providers tell us about ourselves."""
    settings = settings_of(context)
    async with await connect(settings, "system", autocommit=True) as db:
        await access.ask_all(db, settings)


@jobs.task(name="ask_providers_now", pass_context=True)
async def ask_providers_now(context: JobContext) -> None:
    """The same, for access that was just given."""
    await ask_providers(context, 0)
