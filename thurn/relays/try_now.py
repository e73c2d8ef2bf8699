"""Trying a relay for somebody who waits for the answer: no transaction is open meanwhile."""

from starlette.requests import Request

from thurn.db.connect import Connection
from thurn.relays.probe import Found
from thurn.relays.watch import ask, door_of, write_down
from thurn.web.edge import in_workspace, pool_of, settings_of, settle


async def try_now(request: Request, db: Connection, workspace: int, number: int) -> Found:
    """Commit what the request has done, connect and sign in, write down what came of it. `NotFound`."""
    settings = settings_of(request)
    door = await door_of(db, settings, number)
    await settle(request)
    found = await ask(settings, door)
    async with in_workspace(pool_of(request), workspace) as later:
        await write_down(later, number, found, host=door.host if door else "")
    return found
