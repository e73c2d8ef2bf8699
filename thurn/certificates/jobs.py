"""Background jobs of certificates."""

from procrastinate import JobContext

from thurn.certificates.watch import look
from thurn.jobs.app import jobs, settings_of


@jobs.periodic(cron="4,34 * * * *")
@jobs.task(name="look_at_certificates", pass_context=True, queueing_lock="look_at_certificates")
async def look_at_certificates(context: JobContext, timestamp: int) -> None:
    """See what every host shows. Twice an hour: an authority stands five failures an hour for a name."""
    await look(settings_of(context))
