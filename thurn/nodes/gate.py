"""Whether a further sending machine may start: asked before its Postfix is, for a queue must not be sent twice."""

import time

import psycopg

from thurn.db.connect import conninfo
from thurn.db.revision import newest
from thurn.settings import Settings

_PATIENCE = 20.0  # seconds for the database to answer; it may be starting, too

GONE = (
    "This machine ({node}) no longer belongs to {main}: it was removed there, or declared lost. What it had taken was "
    "settled without it, so its queue must not be sent any more, and nothing was started. To send from this machine "
    "again, move {state} away and let it join under a new name: `thurn node add NAME` on the other machine says how."
)
_AWAY = (
    "The database of {main} cannot be reached: {error}\nNothing was started: while nobody can say whether this machine "
    "was declared lost, sending what it has could send it twice. Look at the network, the firewall and `thurn status` "
    "over there, then run `thurn up` again."
)
_OLDER = (
    "This machine has another version of Thurn than {main} (schema {ours} here, {theirs} there). Nothing was started. "
    "Bring both to the same version, the one with the database first."
)


def revoked(error: psycopg.Error) -> bool:
    """Whether the server said that this role may not sign in any more."""
    return "not permitted to log in" in str(error)


def refusal(settings: Settings) -> str:
    """Why it may not start; empty if it may."""
    said = {"node": settings.node, "main": settings.joined, "state": settings.state}
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with psycopg.connect(conninfo(settings, "system"), connect_timeout=5) as db:
                belongs = db.execute("SELECT node_belongs()").fetchone()
                theirs = db.execute("SELECT version_num FROM alembic_version").fetchone()
            break
        except psycopg.OperationalError as error:
            if revoked(error):
                return GONE.format(**said)
            if time.monotonic() > until:
                return _AWAY.format(error=str(error).strip().splitlines()[0], **said)
            time.sleep(0.5)
    if not (belongs and belongs[0]):
        return GONE.format(**said)
    if theirs is None or theirs[0] != newest():
        return _OLDER.format(ours=newest(), theirs=theirs[0] if theirs else "none", **said)
    return ""
