"""Background jobs of campaigns."""

from procrastinate import JobContext

from thurn.campaigns.snapshot import cancel_rest, snapshot
from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of


@jobs.task(name="launch_campaign", pass_context=True, retry=20)
async def launch_campaign(context: JobContext, campaign: int) -> None:
    """Freeze the audience; safe to run again at any time."""
    settings = settings_of(context)
    async with await connect(settings, "system") as db:
        await snapshot(db, campaign, settings)


@jobs.task(name="cancel_campaign", pass_context=True, retry=20)
async def cancel_campaign(context: JobContext, campaign: int) -> None:
    """Mark everybody who will not get the mail now."""
    async with await connect(settings_of(context), "system") as db:
        await cancel_rest(db, campaign)
