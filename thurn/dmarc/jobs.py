"""Background jobs of DMARC and TLS reports."""

import dns.resolver
import structlog
from procrastinate import JobContext

from thurn.db.connect import connect
from thurn.db.fetch import rows
from thurn.dmarc.names import look_up
from thurn.dmarc.telling import tell
from thurn.jobs.app import jobs, settings_of
from thurn.mail.dns import make_resolver
from thurn.settings import Settings

log = structlog.get_logger()


@jobs.periodic(cron="*/5 * * * *")
@jobs.task(name="watch_reports", pass_context=True, queueing_lock="watch_reports")
async def watch_reports(context: JobContext, timestamp: int) -> None:
    """Name the senders that reports brought, and tell owners of new ones."""
    await watch(settings_of(context))


@jobs.periodic(cron="17 3 * * *")
@jobs.task(name="forget_reports", pass_context=True, queueing_lock="forget_reports")
async def forget_reports(context: JobContext, timestamp: int) -> None:
    """Delete what is older than 400 days: a year can be compared with the one before."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await db.execute("DELETE FROM auth_report WHERE begins < now() - interval '400 days'")
        await db.execute("DELETE FROM dmarc_failure WHERE received_at < now() - interval '90 days'")
        await db.execute("DELETE FROM source_name WHERE looked_at < now() - interval '400 days'")


async def watch(settings: Settings) -> int:
    """One look; returns how many senders were told of."""
    told = 0
    async with await connect(settings, "system", autocommit=True) as db:
        try:
            await look_up(db, make_resolver(settings.nameservers))
        except dns.resolver.NoResolverConfiguration:
            log.warning("no resolver, senders in reports stay without names")
        fresh = await rows(
            db,
            """SELECT id, workspace_id, name FROM domain d WHERE EXISTS (
                 SELECT FROM auth_report r WHERE r.domain_id = d.id AND kind = 'dmarc' AND counted
                 AND begins > now() - interval '31 days')""",
        )
        for domain in fresh:
            async with db.transaction():
                told += len(await tell(db, domain))
    return told
