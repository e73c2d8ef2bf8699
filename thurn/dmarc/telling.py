"""Telling owners of senders that are new and of which nothing passes: each once, several together."""

from thurn.alerts import mail_owners, mended, notify
from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.dmarc.service import sources_of
from thurn.dmarc.sources import Source
from thurn.web.words import count

_LEAST = 2  # mails: one alone is a mistake of somebody's more often than a sender


async def tell(db: Connection, domain: Row) -> list[Source]:
    """Tell of what is new on a domain, and take the alert back when everything is decided; returns what was told."""
    waiting = [source for source in await sources_of(db, domain["id"]) if source.undecided and source.mails >= _LEAST]
    key, shown = f"dmarc:{domain['name']}", domain["name"]
    if not waiting:
        await mended(db, domain["workspace_id"], key, mail=False)
        return []
    known = {
        row["source"]
        for row in await rows(
            db, "SELECT source FROM dmarc_source WHERE domain_id = %s AND told_at IS NOT NULL", [domain["id"]]
        )
    }
    new = [source for source in waiting if source.key not in known]
    if not new:
        return []
    async with db.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO dmarc_source (workspace_id, domain_id, source, told_at) VALUES (%s, %s, %s, now())
               ON CONFLICT (domain_id, source) DO UPDATE SET told_at = now()""",
            [(domain["workspace_id"], domain["id"], source.key) for source in new],
        )
    subject, text = words(shown, new)
    raised = await notify(
        db, domain["workspace_id"], subject, text, key, level="warn", link=f"domains/{shown}/dmarc", act="Look at them"
    )
    if not raised:  # one of before is still open: it now speaks of these, too
        await db.execute(
            """UPDATE alert SET subject = %s, text = %s
               WHERE workspace_id = %s AND key = %s AND cleared_at IS NULL""",
            [*words(shown, waiting), domain["workspace_id"], key],
        )
        await mail_owners(db, domain["workspace_id"], subject, text)
    return new


def words(domain: str, new: list[Source]) -> tuple[str, str]:
    """Subject and text."""
    names = [f"{source.name} ({count(source.mails, 'mail', 'mails')})" for source in new[:10]]
    more = [f"and {len(new) - 10} more"] if len(new) > 10 else []
    one = len(new) == 1
    subject = f"{'A new sender' if one else f'{len(new)} new senders'} as {domain}, of which nothing passes"
    text = (
        f"Receivers report mail from {', '.join([*names, *more])} in the name of {domain}, and neither SPF nor DKIM "
        f"shows that it may be. Either {'it is' if one else 'they are'} a service of yours that was never set up for "
        "the domain, then set it up; or somebody forges your name, then a stricter DMARC policy stops it. Say which on "
        "the domain's page. Thurn tells of each sender once."
    )
    return subject, text
