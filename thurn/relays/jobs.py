"""Background jobs of relays."""

from procrastinate import JobContext

from thurn.jobs.app import jobs, settings_of
from thurn.relays import port25
from thurn.relays.watch import look


@jobs.periodic(cron="* * * * *")
@jobs.task(name="look_at_relays", pass_context=True, queueing_lock="look_at_relays")
async def look_at_relays(context: JobContext, timestamp: int) -> None:
    """Try the relays that are due."""
    await look(settings_of(context))


@jobs.periodic(cron="7 */6 * * *")
@jobs.task(name="look_at_port_25", pass_context=True, queueing_lock="look_at_port_25")
async def look_at_port_25(context: JobContext, timestamp: int) -> None:
    """See whether mail can leave."""
    settings = settings_of(context)
    if not settings.simulate:
        await port25.look(settings)
