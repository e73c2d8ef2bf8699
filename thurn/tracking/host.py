"""Under which name a campaign's links go out: the sender's own tracking host, as soon as it works."""

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.settings import Settings


async def link_base(db: Connection, settings: Settings, workspace: int, domain: str) -> str:
    """Base of a mail's links, without a trailing slash. A link cannot be changed once it is sent.

    So the tracking host is taken only while its record leads here and, where certificates are ours to get, the last
    look at its certificate found it in order. Else, and without https, links carry the name of the web interface.
    """
    if not settings.base_url.startswith("https://"):
        return settings.url
    row = await maybe(
        db,
        """SELECT d.tracking_host FROM domain d LEFT JOIN certificate c ON c.host = d.tracking_host
           WHERE d.workspace_id = %s AND d.name = %s AND d.tracking_host <> '' AND d.tracking_right_at IS NOT NULL
             AND d.proven_at IS NOT NULL AND (NOT %s OR c.state IN ('good', 'soon'))""",
        [workspace, domain, settings.tls],
    )
    return settings.https_url(row["tracking_host"]) if row else settings.url
