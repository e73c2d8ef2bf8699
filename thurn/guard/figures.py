"""Failed sign-ins of the last day, for people to look at."""

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.guard import limits

DOORS = {
    "imap": "IMAP", "pop3": "POP3", "sieve": "ManageSieve", "smtp": "SMTP", "portal": "portal", "webmail": "webmail",
    "web": "web interface",
}  # fmt: skip


async def by_client(db: Connection, limit: int = 25) -> list[Row]:
    """Clients by their number of different failures: client, failures, tries, logins (a few), more, doors, at."""
    return await rows(
        db,
        """SELECT client::text, count(*) AS failures, sum(times)::bigint AS tries,
                  (array_agg(DISTINCT login))[1:3] AS logins, greatest(count(DISTINCT login) - 3, 0) AS more,
                  array_agg(DISTINCT door) AS doors, max(at) AS at
           FROM guard_failure WHERE at > now() - %s GROUP BY client ORDER BY failures DESC, at DESC LIMIT %s""",
        [limits.SHOWN, limit],
    )


async def by_login(db: Connection, limit: int = 25) -> list[Row]:
    """Logins by their number of different failures: login, failures, tries, clients, at."""
    return await rows(
        db,
        """SELECT f.login, count(*) AS failures, sum(f.times)::bigint AS tries, count(DISTINCT f.client) AS clients,
                  max(f.at) AS at
           FROM guard_failure f WHERE f.at > now() - %s
           GROUP BY f.login ORDER BY failures DESC, at DESC LIMIT %s""",
        [limits.SHOWN, limit],
    )
