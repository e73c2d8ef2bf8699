"""Files that mail servers and mail programs fetch from the hosts of domains, without anybody signing in.

`mta-sts.<domain>` (RFC 8461), `autoconfig.<domain>` (Thunderbird and others), `autodiscover.<domain>` (Outlook). What
is said depends on the domain alone: addresses that exist and addresses that do not get the same answer.
"""

from urllib.parse import unquote

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from thurn.db.connect import Row
from thurn.db.fetch import maybe
from thurn.dns import mta_sts
from thurn.mailhost import clientsetup, hosts
from thurn.mailhost.names import LONGEST_ADDRESS, domain_name
from thurn.problems import Invalid
from thurn.settings import Settings

_POLICY = "/.well-known/mta-sts.txt"
_AUTOCONFIG = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
_POX = "/autodiscover/autodiscover.xml"
_JSON = "/autodiscover/autodiscover.json"  # also followed by /v1.0/<address>
_BODY = 16 * 1024  # bytes of a request to autodiscover.xml; Outlook's has 400
_XML = "text/xml; charset=utf-8"
_DATABASE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, TooManyRequests)


def is_ours(path: str) -> bool:
    """Whether this module answers; Outlook writes its paths in any case."""
    small = path.lower()
    return small in (_POLICY, *_AUTOCONFIG, _POX) or small == _JSON or small.startswith(f"{_JSON}/")


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; `scope["app"].state` has `settings` and `pool`."""
    request = Request(scope, receive)
    response: Response
    try:
        response = await _answer(request)
    except _DATABASE:
        response = PlainTextResponse("Not available right now\n", 503, {"retry-after": "30"})
    await response(scope, receive, send)


async def _answer(request: Request) -> Response:
    path = request.url.path.lower()
    method = "POST" if path == _POX else "GET"
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        return PlainTextResponse("This address does not work that way\n", 405, {"allow": method})
    if path == _POLICY:
        return await _policy(request)
    if path in _AUTOCONFIG:
        return await _autoconfig(request)
    return await (_pox(request) if path == _POX else _json(request))


async def _policy(request: Request) -> Response:
    """The MTA-STS policy; also one that says `none`, so that a policy that was withdrawn is believed to be."""
    label, _, domain = _host(request).partition(".")
    found = await _domain(request, domain) if label == "mta-sts" else None
    if found is None:
        return _nowhere()
    mode = found["mta_sts_mode"]
    servers = [] if mode == "none" else [_settings(request).hostname.lower()]
    return PlainTextResponse(mta_sts.policy(mode, servers))


async def _autoconfig(request: Request) -> Response:
    host = _host(request)
    address = request.query_params.get("emailaddress", "")
    domain = await _domain(request, host.removeprefix("autoconfig."), _domain_of(address))
    if domain is None:
        return _nowhere()
    settings = _settings(request)
    text = clientsetup.autoconfig(settings.hostname, settings.port, domain["name"])
    return Response(text, media_type=_XML)


async def _pox(request: Request) -> Response:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            return PlainTextResponse("That is too much\n", 413)
    address = clientsetup.requested_address(body)
    if not _plausible(address) or await _domain(request, _domain_of(address)) is None:
        return Response(clientsetup.autodiscover_refusal(), media_type=_XML)
    settings = _settings(request)
    return Response(clientsetup.autodiscover(settings.hostname, settings.port, address), media_type=_XML)


async def _json(request: Request) -> Response:
    """Outlook's newer way to find autodiscover.xml. There is no other protocol here."""
    query = {name.lower(): value for name, value in request.query_params.items()}
    last = unquote(request.url.path).rpartition("/")[2]
    domain = await _domain(request, _domain_of(query.get("email") or (last if "@" in last else "")))
    if domain is None:
        return _nowhere()
    if query.get("protocol", "").lower() != "autodiscoverv1":
        problem = {"ErrorCode": "InvalidProtocol", "ErrorMessage": "Only AutodiscoverV1 is spoken here."}
        return JSONResponse(problem, 400)
    return JSONResponse({"Protocol": "AutodiscoverV1", "Url": f"https://autodiscover.{domain['name']}{_POX}"})


async def _domain(request: Request, *wanted: str) -> Row | None:
    """The first of these that is a proven domain here."""
    async with request.app.state.pool.connection() as db:
        for name in wanted:
            if name and (row := await maybe(db, "SELECT * FROM hosted_domain(%s)", [name])):
                return row
    return None


def _host(request: Request) -> str:
    return hosts.tidy(request.headers.get("host", "").partition(":")[0])


def _domain_of(address: str) -> str:
    """The domain of an address as it is stored; empty for what is no address."""
    try:
        return domain_name(address.rpartition("@")[2]) if "@" in address and _plausible(address) else ""
    except Invalid:
        return ""


def _plausible(address: str) -> bool:
    return address.isprintable() and 3 <= len(address) <= LONGEST_ADDRESS


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _nowhere() -> Response:
    return PlainTextResponse("Not found\n", 404)
