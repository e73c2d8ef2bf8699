"""Background jobs of campaigns."""

from procrastinate import JobContext, RetryStrategy

from thurn.campaigns.snapshot import cancel_rest, snapshot
from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of

# Waits longer each time, half an hour in all: twenty tries at once would be over before a database is back.
_RETRY = RetryStrategy(max_attempts=20, linear_wait=10)


@jobs.task(name="launch_campaign", pass_context=True, retry=_RETRY)
async def launch_campaign(context: JobContext, campaign: int) -> None:
    """Freeze the audience; safe to run again at any time."""
    settings = settings_of(context)
    async with await connect(settings, "system") as db:
        await snapshot(db, campaign, settings)


@jobs.task(name="cancel_campaign", pass_context=True, retry=_RETRY)
async def cancel_campaign(context: JobContext, campaign: int) -> None:
    """Mark everybody who will not get the mail now."""
    async with await connect(settings_of(context), "system") as db:
        await cancel_rest(db, campaign)
