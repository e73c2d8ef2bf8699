"""What Roundcube asks the guard: who is behind a token, does a session go on, a session ends."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thurn.webmail import service

_LARGEST = 4096  # octets of a question


async def exchange(request: Request) -> Response:
    """`{token, number}`: 200 with the ticket, 404 for one that is void. `number`: from a cookie, or empty."""
    asked = await _asked(request)
    token, number = asked.get("token"), asked.get("number", "")
    if not isinstance(token, str) or not isinstance(number, str):
        return Response(status_code=400)
    async with request.app.state.pool.connection() as db, db.transaction():
        ticket = await service.exchange(db, token, number)
    if ticket is None:
        return Response(status_code=404)
    return JSONResponse(
        {
            "address": ticket.address,
            "name": ticket.name,
            "secret": ticket.secret,
            "created_at": ticket.created_at.isoformat(),
            "senders": ticket.senders,
        },
        headers={"Cache-Control": "no-store"},
    )


async def alive(request: Request) -> Response:
    """`{secret}`: 204, or 404 when the session is over."""
    secret = await _secret(request)
    async with request.app.state.pool.connection() as db, db.transaction():
        going = await service.alive(db, secret)
    return Response(status_code=204 if going else 404)


async def end(request: Request) -> Response:
    """`{secret}`: the session is over."""
    return await _end(request, portal=False)


async def sign_out(request: Request) -> Response:
    """`{secret}`: the session is over, and the portal's that it was opened from."""
    return await _end(request, portal=True)


async def _end(request: Request, *, portal: bool) -> Response:
    secret = await _secret(request)
    async with request.app.state.pool.connection() as db, db.transaction():
        await service.end(db, secret, portal=portal)
    return Response(status_code=204)


async def _secret(request: Request) -> str:
    secret = (await _asked(request)).get("secret")
    return secret if isinstance(secret, str) else ""


async def _asked(request: Request) -> dict[str, Any]:
    """The question; an empty one for whatever is none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            return {}
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return asked if isinstance(asked, dict) else {}


routes = [
    Route("/webmail/exchange", exchange, methods=["POST"]),
    Route("/webmail/alive", alive, methods=["POST"]),
    Route("/webmail/end", end, methods=["POST"]),
    Route("/webmail/sign-out", sign_out, methods=["POST"]),
]
