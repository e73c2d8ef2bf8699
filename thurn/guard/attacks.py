"""What a person has to know: somebody guesses the password of a mailbox, or seems to have it."""

from collections import defaultdict

from thurn.alerts import mended, notify
from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.guard import limits
from thurn.guard.clients import address_of

_GUESSERS = 30  # different clients that fail with one mailbox within limits.REMEMBERED
_PLACES = 5  # networks (/16, /32) that one mailbox was signed in from within an hour


async def look(db: Connection) -> None:
    """Raise what goes on, take back what is over. Home shows it; nobody is written to for a guess that fails."""
    await _guessed(db)
    await _stolen(db)


async def _guessed(db: Connection) -> None:
    found = await rows(
        db,
        """SELECT f.login, m.workspace_id, count(DISTINCT f.client) AS clients
           FROM guard_failure f JOIN mailbox m ON m.address = f.login WHERE f.at > now() - %s
           GROUP BY f.login, m.workspace_id HAVING count(DISTINCT f.client) >= %s ORDER BY clients DESC LIMIT 50""",
        [limits.REMEMBERED, _GUESSERS],
    )
    for row in found:
        await notify(
            db, row["workspace_id"],
            f"The password of {row['login']} is being guessed from {row['clients']} addresses",
            "Thurn slows them down and bans those that go on. Whoever signed in before from where they are does not "
            "notice. With a long password, or two-factor and app passwords, guessing leads nowhere.",
            f"guessing:{row['login']}", level="warn", link=f"mailboxes/{row['login']}", act="See the mailbox",
            mail=False,
        )  # fmt: skip
    await _over(db, "guessing:", [row["login"] for row in found])


async def _stolen(db: Connection) -> None:
    places: dict[tuple[int, str], set[str]] = defaultdict(set)
    for row in await rows(
        db,
        """SELECT DISTINCT s.workspace_id, m.address, s.ip FROM mailbox_sign_in s JOIN mailbox m ON m.id = s.mailbox_id
           WHERE s.succeeded AND s.at > now() - interval '1 hour' AND s.workspace_id IS NOT NULL LIMIT 20000""",
    ):
        if found := address_of(row["ip"]):
            places[row["workspace_id"], row["address"]].add(_region(found.exploded))
    many = {key: len(where) for key, where in places.items() if len(where) >= _PLACES}
    for (workspace, address), count in many.items():
        await notify(
            db, workspace, f"Somebody else may have the password of {address}",
            f"Within an hour it was signed in to from {count} networks far apart.\n\nLook at its sign-ins. If they are "
            "not its owner's, set a new password and revoke its app passwords.",
            f"stolen:{address}", link=f"mailboxes/{address}", act="See the mailbox",
        )  # fmt: skip


def _region(address: str) -> str:
    """The /16 or /32: a telephone and an office are two places."""
    return address[:9] if ":" in address else ".".join(address.split(".")[:2])


async def _over(db: Connection, prefix: str, still: list[str]) -> None:
    for row in await rows(
        db,
        """SELECT workspace_id, key FROM alert
           WHERE cleared_at IS NULL AND starts_with(key, %s) AND NOT (substr(key, length(%s) + 1) = ANY(%s))""",
        [prefix, prefix, still],
    ):
        await mended(db, row["workspace_id"], row["key"], mail=False)
