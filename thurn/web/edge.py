"""Who asks, and the transaction the answer is made in: dependencies of every page and API route.

A request holds one connection and one transaction, opened when the first dependency needs it, committed after the
handler has returned and before the answer is sent (or by `settle`). It sees one workspace, by row-level security.
"""

import hmac
import ipaddress
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from thurn.accounts.service import hash_key
from thurn.accounts.sessions import LASTS, open_workspace
from thurn.db.connect import Connection, Pool, in_workspace
from thurn.secrets import Secrets
from thurn.settings import Settings

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOPS = 20  # proxies in a row that are followed


class SignInNeeded(Exception):
    """The page is for people who signed in; errors.py sends the browser to /sign-in and back."""


class CsrfRefused(Exception):
    """An unsafe request that does not prove that it came from one of our pages."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who signed in, in the workspace the page belongs to."""

    account_id: int
    email: str
    name: str
    workspace_id: int
    workspace_slug: str
    workspace_name: str
    role: str  # owner | editor | viewer
    csrf: str
    operator: bool = False  # runs this installation: an owner of the workspace that came with it, `main`


@dataclass(frozen=True, slots=True)
class Key:
    """An API key and the workspace it opens."""

    key_id: int
    workspace_id: int


# ---------------------------------------------------------------- the transaction


async def transaction(request: Request) -> AsyncIterator[Connection]:
    """One transaction of the request; an exception in the handler rolls it back."""
    pool: Pool = request.app.state.pool
    async with AsyncExitStack() as held:
        db = await held.enter_async_context(pool.connection())
        await held.enter_async_context(db.transaction())
        request.state.held = held
        yield db


async def settle(request: Request) -> None:
    """Commit the request's transaction now and give its connection back: for a handler that goes on to wait for others.

    What it does in the database afterwards, it does by `in_workspace` of `pool_of(request)`.
    """
    held: AsyncExitStack = request.state.held
    await held.aclose()


def pool_of(request: Request) -> Pool:
    """The connections of this process."""
    pool: Pool = request.app.state.pool
    return pool


Unscoped = Annotated[Connection, Depends(transaction, scope="function")]
"""A transaction that sees no workspace yet: for signing in and out."""


# ---------------------------------------------------------------- people


async def maybe_viewer(request: Request, db: Unscoped) -> Viewer | None:
    """The one who signed in; None for anybody else and in the portal. 404 for a workspace that is not theirs."""
    token = session_token(request)
    if not token or in_portal(request):
        return None
    slug: str | None = request.path_params.get("workspace")
    row = await open_workspace(db, token, slug)
    if row is None:
        return None
    if row["workspace_id"] is None:
        raise HTTPException(404)
    del row["entered"]
    return Viewer(**row)


MaybeViewer = Annotated[Viewer | None, Depends(maybe_viewer)]


async def signed_in(request: Request, viewer: MaybeViewer) -> Viewer:
    """The viewer. Anonymous: sent to sign in. Who may only look (role `viewer`) cannot change anything."""
    if viewer is None:
        raise SignInNeeded
    if viewer.role == "viewer" and request.method not in SAFE and "workspace" in request.path_params:
        raise HTTPException(403, "You may look at this workspace, not change it. An owner can make you an editor.")
    return viewer


SignedIn = Annotated[Viewer, Depends(signed_in)]


async def owner(viewer: SignedIn) -> Viewer:
    """The viewer, who must be an owner of the workspace."""
    if viewer.role != "owner":
        raise HTTPException(403, "Only an owner of this workspace may do that.")
    return viewer


Owner = Annotated[Viewer, Depends(owner)]


async def operator(viewer: SignedIn) -> Viewer:
    """The viewer, who must run this installation."""
    if not viewer.operator:
        raise HTTPException(403, "Only those who run this installation may do that.")
    return viewer


Operator = Annotated[Viewer, Depends(operator)]


async def viewer_db(db: Unscoped, viewer: SignedIn) -> Connection:
    """The request's transaction, which sees the viewer's workspace."""
    del viewer  # looking for the viewer has opened the workspace
    return db


Db = Annotated[Connection, Depends(viewer_db)]


# ---------------------------------------------------------------- programs

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`thurn api-key create` makes one.")


async def keyed(db: Unscoped, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None) -> Key:
    """The API key of the request; 401 without one that is valid."""
    row = None
    if given is not None:
        cursor = await db.execute(
            """SELECT key_id, workspace_id, set_config('thurn.workspace', workspace_id::text, true) AS entered
               FROM api_key_workspace(%s)""",
            [hash_key(given.credentials)],
        )
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(
            401, "Send an API key of the workspace: Authorization: Bearer thurn_…", {"WWW-Authenticate": "Bearer"}
        )
    await db.execute(
        # Once a minute is enough; a key in use elsewhere is not waited for.
        """UPDATE api_key SET last_used_at = now() WHERE id = (
             SELECT id FROM api_key WHERE id = %s AND coalesce(last_used_at < now() - interval '1 minute', true)
             FOR UPDATE SKIP LOCKED)""",
        [row["key_id"]],
    )
    return Key(row["key_id"], row["workspace_id"])


Keyed = Annotated[Key, Depends(keyed)]


async def key_db(db: Unscoped, key: Keyed) -> Connection:
    """The request's transaction, which sees the key's workspace."""
    del key  # looking for the key has opened the workspace
    return db


ApiDb = Annotated[Connection, Depends(key_db)]


async def house_db(db: ApiDb, key: Keyed) -> Connection:
    """The request's transaction, for a key of the workspace that came with the installation."""
    row = await (
        await db.execute("SELECT 1 FROM workspace WHERE id = %s AND slug = 'main'", [key.workspace_id])
    ).fetchone()
    if row is None:
        raise HTTPException(403, "This belongs to the installation. Use a key of the workspace “main”.")
    return db


HouseDb = Annotated[Connection, Depends(house_db)]
"""For the API of what belongs to the installation; describe the refusal with `schemas.HOUSE_ONLY`."""


# ---------------------------------------------------------------- cookies, CSRF, where a request comes from


def settings_of(request: Request) -> Settings:
    """The installation that answers."""
    settings: Settings = request.app.state.settings
    return settings


AppSettings = Annotated[Settings, Depends(settings_of)]


def is_secure(settings: Settings) -> bool:
    """Whether people reach us over HTTPS only."""
    return settings.base_url.startswith("https://")


def cookie_name(settings: Settings, what: str) -> str:
    """`__Host-` binds a cookie to this host, to https and to the path / (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-thurn-{what}" if is_secure(settings) else f"thurn-{what}"


def in_portal(request: Request) -> bool:
    """Whether the page is one for owners of mailboxes (thurn/portal/edge.py), where no account's session counts."""
    return request.url.path.startswith("/mailbox/") or request.url.path == "/mailbox"


def session_token(request: Request) -> str | None:
    """The token of the session the browser came with, valid or not."""
    return request.cookies.get(cookie_name(settings_of(request), "session"))


def set_session(request: Request, response: Response, token: str) -> None:
    """Give the browser its session."""
    settings = settings_of(request)
    set_cookie(settings, response, "session", token, int(LASTS.total_seconds()))


def clear_session(request: Request, response: Response) -> None:
    """Take the session from the browser."""
    set_cookie(settings_of(request), response, "session", "", 0)


def set_cookie(settings: Settings, response: Response, what: str, value: str, seconds: int) -> None:
    """Give the browser a cookie for `seconds`; 0 takes it away."""
    secure = is_secure(settings)
    name = cookie_name(settings, what)
    response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")


def visitor_csrf(request: Request, response: Response | None = None) -> str:
    """The CSRF token for somebody who did not sign in (the sign-in form): bound to a random cookie of the browser.

    Without `response` the cookie is set on whatever answer goes out, by security.py.
    """
    settings = settings_of(request)
    visitor: str | None = request.cookies.get(cookie_name(settings, "visitor")) or request.scope.get("thurn.visitor")
    if not visitor or len(visitor) > 100:
        visitor = secrets.token_urlsafe(24)
        request.scope["thurn.visitor"] = visitor
        baked = response or Response()
        set_cookie(settings, baked, "visitor", visitor, int(LASTS.total_seconds()))
        if response is None:
            cookies = [value for name, value in baked.raw_headers if name == b"set-cookie"]
            request.scope.setdefault("thurn.cookies", []).extend(cookies)
    key = Secrets(settings.state).derive("visitor-csrf")
    return hmac.new(key, visitor.encode(), "sha256").hexdigest()


def edge_secret(settings: Settings) -> str:
    """What Caddy shows with every request, so that nobody else on this machine is believed about who the client is."""
    return Secrets(settings.state).derive("edge").hex()


def client_ip(request: Request) -> str:
    """Who is asking: the peer, or whom Caddy in front tells of, without the proxies that settings trust."""
    peer = request.client.host if request.client else ""
    shown = request.headers.get("x-thurn-edge", "")
    settings = settings_of(request)
    if not shown or not hmac.compare_digest(shown.encode(), edge_secret(settings).encode()):
        return peer
    return forwarded_for(request.headers.get("x-forwarded-for", ""), settings.trusted_proxies) or peer


def forwarded_for(header: str, trusted: Iterable[str]) -> str:
    """The client in an X-Forwarded-For that Caddy has written: from the right, the first that is no trusted proxy.

    Whatever stands left of that one is a claim of the client's. Empty when the header names nobody.
    """
    networks = [ipaddress.ip_network(network) for network in trusted]
    found = ""
    for part in reversed(header.split(",")[-_HOPS:]):
        try:
            address = ipaddress.ip_address(part.strip())
        except ValueError:
            break  # a proxy that writes this is not to be followed any further
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        found = str(address)
        if not any(address in network for network in networks):
            break
    return found


__all__ = [
    "ApiDb", "AppSettings", "CsrfRefused", "Db", "HouseDb", "Key", "Keyed", "MaybeViewer", "Operator", "Owner",
    "SignInNeeded", "SignedIn", "Unscoped", "Viewer", "clear_session", "client_ip", "cookie_name", "edge_secret",
    "forwarded_for", "in_portal", "in_workspace", "pool_of", "session_token", "set_cookie", "set_session",
    "settings_of", "settle", "visitor_csrf",
]  # fmt: skip
