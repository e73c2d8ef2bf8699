"""Somebody who signed in to the portal and opens webmail."""

from dataclasses import dataclass

from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.portal import sessions
from thurn.webmail import service

NUMBER = "n" * 43  # what webmail gave the browser


@dataclass(frozen=True)
class Guest:
    """Somebody who signed in to the portal."""

    db: Connection
    mailbox: int
    address: str
    session: bytes

    async def token(self) -> str:
        """As the button on /mailbox makes it."""
        return await service.invite(
            self.db,
            1,
            self.mailbox,
            portal_session=self.session,
            bound=service.hashed(NUMBER),
            ip="192.0.2.7",
            user_agent="B",
        )

    async def alive(self, secret: str) -> bool:
        """Whether Roundcube may go on with this password."""
        return await service.alive(self.db, secret)


async def make_guest(db: Connection, address: str) -> Guest:
    """A mailbox whose owner signed in."""
    domain = await one(
        db,
        """INSERT INTO domain (workspace_id, name, bounce_host, proven_at) VALUES (1, %s, %s, now())
           ON CONFLICT (name) DO UPDATE SET proven_at = now() RETURNING id""",
        ["brotzeit.example", "bounce.brotzeit.example"],
    )
    mailbox = await one(
        db,
        """INSERT INTO mailbox (workspace_id, domain_id, address, name, password_hash)
           VALUES (1, %s, %s, 'Resi Huber', 'x') RETURNING id""",
        [domain["id"], address],
    )
    started = await sessions.start(db, 1, mailbox["id"])
    return Guest(db, mailbox["id"], address, sessions.hash_token(started.token))
