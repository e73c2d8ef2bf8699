"""What was last seen of certificates."""

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows

# State in the database -> the word of the interface.
WORDS = {
    "good": "Correct",
    "soon": "Runs out soon",
    "bad": "Broken",
    "self-signed": "Self-signed",
    "unused": "Not used",
}
PURPOSES = {
    "web": "Web interface",
    "webmail": "Webmail",
    "mail": "Mail services",
    "mta-sts": "MTA-STS policy",
    "autoconfig": "Set-up of Thunderbird",
    "autodiscover": "Set-up of Outlook",
    "tracking": "Links in campaigns",
}


async def certificates(db: Connection, *, after: str = "", limit: int = 100) -> list[Row]:
    """By host; those of the workspace that is open, or all for the machinery."""
    return await rows(
        db,
        """SELECT host, purpose, state, issuer, serial, not_after, used_by, problem, checked_at FROM certificate
           WHERE host > %s ORDER BY host LIMIT %s""",
        [after, limit],
    )


async def in_trouble(db: Connection) -> list[Row]:
    """Those that are not in order or will not be for long, the worst first."""
    return await rows(
        db,
        """SELECT host, state, not_after, problem FROM certificate WHERE state IN ('bad', 'soon')
           ORDER BY state, not_after NULLS FIRST, host LIMIT 50""",
    )
