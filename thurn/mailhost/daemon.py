"""What Caddy asks before it gets a certificate for a host that stands in no configuration."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from thurn.mailhost import hosts


async def known_host(request: Request) -> PlainTextResponse:
    """200 for a host that is one of ours and leads here by DNS, 404 for any other."""
    settings, name = request.app.state.settings, request.query_params.get("domain", "")
    async with request.app.state.pool.connection() as db:
        host = await hosts.find(db, settings, name)
    if host is None or not await hosts.leads_here(host.name, settings):
        return PlainTextResponse("Not a host of ours\n", 404)
    return PlainTextResponse("Yes\n")


routes = [Route("/edge/known-host", known_host)]
