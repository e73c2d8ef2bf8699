"""What Rspamd asks and tells (thurn/stack/rspamd.lua), through `guard`."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thurn.db.connect import Connection, Pool
from thurn.db.fetch import one
from thurn.feedback import replies
from thurn.feedback.matching import Tokens
from thurn.spam import judged, quarantine
from thurn.spam.wishes import NEVER, answer, clean, wishes_of

_REPORT = 512 * 1024  # octets
_LET_IN = frozenset({"no action", "add header", "rewrite subject"})
_NOT_JSON = JSONResponse({"error": "not a JSON object"}, 400)


async def ask(request: Request) -> Response:
    """Before a mail is judged: what its recipients want."""
    try:
        question = judged.parse(await _body(request, _REPORT))
    except ValueError:
        return _NOT_JSON
    said = judged.verdict(question)
    pool: Pool = request.app.state.pool
    async with pool.connection() as db:
        if await _only_machines(db, said.rcpts):
            never = {"greylist": NEVER, "add header": NEVER, "reject": NEVER}
            return JSONResponse({"actions": never, "allowed": False, "blocked": False, "junk_for": [], "machine": True})
        wishes = await wishes_of(db, said.rcpts, header_from=clean(said.header_from), mail_from=said.mail_from)
    return JSONResponse(answer(wishes))


async def tell(request: Request) -> Response:
    """After it was judged: the verdict, for the trace."""
    try:
        said = judged.verdict(judged.parse(await _body(request, _REPORT)))
    except ValueError:
        return _NOT_JSON
    pool: Pool = request.app.state.pool
    async with pool.connection() as db:
        await judged.store(db, said)
        if said.answered and said.action in _LET_IN:
            await replies.count(db, Tokens.of(request.app.state.settings), said.answered)
    return Response(status_code=204)


async def hold(request: Request) -> Response:
    """A mail that is about to be refused: the report in one line, then the mail. Says for how many it is held now.

    One at a time: a mail of the largest size is in memory more than once meanwhile.
    """
    async with _turn(request):
        try:
            body = await _body(request, _REPORT + quarantine.LARGEST)
            end = body.find(b"\n")
            said = judged.verdict(judged.parse(body[: end if end >= 0 else None]))
        except ValueError:
            return _NOT_JSON
        pool: Pool = request.app.state.pool
        async with pool.connection() as db:
            message = memoryview(body)[end + 1 if end >= 0 else len(body) :]
            return JSONResponse({"held": await quarantine.hold(db, said, message)})


def _turn(request: Request) -> asyncio.Lock:
    state = request.app.state
    if not hasattr(state, "holding"):
        state.holding = asyncio.Lock()
    lock: asyncio.Lock = state.holding
    return lock


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError("too large")
    return b"".join(parts)


async def _only_machines(db: Connection, rcpts: list[str]) -> bool:
    """Whether all of it goes to a bounce host: bounces and complaints quote spam, and must never be lost."""
    domains = {each.rpartition("@")[2] for each in rcpts}
    row = await one(db, "SELECT count(*) AS n FROM mta.bounce_domain WHERE name = ANY(%s)", [list(domains)])
    return bool(domains) and row["n"] == len(domains)


routes = [
    Route("/spam/ask", ask, methods=["POST"]),
    Route("/spam/tell", tell, methods=["POST"]),
    Route("/spam/hold", hold, methods=["POST"]),
]
