"""Where a new machine joins: `POST /nodes/join`. It proves that it has a token, and gets what it needs, sealed."""

import json
import secrets
import time
from collections import OrderedDict, deque
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from thurn.db.connect import DATABASE, Connection, login_of
from thurn.db.fetch import maybe
from thurn.db.revision import newest
from thurn.nodes.token import Token
from thurn.secrets import Secrets
from thurn.settings import Settings
from thurn.stack.postfix import EVERYWHERE
from thurn.stack.postgres import CERTIFICATE
from thurn.web.edge import AppSettings, Unscoped, client_ip

log = structlog.get_logger()
router = APIRouter()

LABELS = ("verp", "tracking", "seal")  # of the keys that a sending machine derives
FIELDS = ("id", "nonce", "revision", "hostname", "proof")
_LONGEST = 4096  # bytes of a request
_TRIES, _WINDOW = 10, 60.0  # wrong ones a client may make in so many seconds
_UNKNOWN = "This token is not known here: it was mistyped, used already, replaced by a newer one, or is too old."


class Tries:
    """Wrong tokens by client; the oldest clients are forgotten."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def many(self, client: str) -> bool:
        """Whether it has tried too often lately."""
        found = self._wrong.get(client, deque())
        while found and time.monotonic() - found[0] > _WINDOW:
            found.popleft()
        return len(found) >= _TRIES

    def wrong(self, client: str) -> None:
        """Count one."""
        self._wrong.setdefault(client, deque(maxlen=_TRIES)).append(time.monotonic())
        self._wrong.move_to_end(client)
        while len(self._wrong) > 1000:
            self._wrong.popitem(last=False)


_tries = Tries()


@router.post("/nodes/join", include_in_schema=False)
async def join(request: Request, db: Unscoped, settings: AppSettings) -> Response:
    """Let a machine in. What it says no with is for the person who typed `thurn join`."""
    client = client_ip(request)
    if _tries.many(client):
        return _no(429, "Too many wrong tokens from this address. Wait a minute.")
    said = _read(await request.body())
    if said is None:
        return _no(400, "This is not what `thurn join` sends.")
    row = await maybe(
        db,
        """SELECT name, token_id, token FROM node WHERE token_id = %s AND token_until > now() AND token IS NOT NULL
           FOR UPDATE""",
        [said["id"]],
    )
    token = _token(settings, row)
    proof = said.pop("proof")
    if row is None or token is None or not secrets.compare_digest(token.proof(said), proof):
        _tries.wrong(client)
        log.warning("a machine was not let in", client=client)
        return _no(403, f"{_UNKNOWN} Run `thurn node add NAME` again and use what it prints.")
    if said["revision"] != newest():
        return _no(
            409,
            f"The versions differ: schema {said['revision'][:20]} there, {newest()} here. Bring both machines "
            "to the same version of Thurn and try again; the token is still good.",
        )
    answer = await _admit(db, settings, row["name"], said["hostname"])
    log.info("a machine has joined", node=row["name"], client=client)
    return JSONResponse({"sealed": token.seal(answer, said["nonce"])})


def _no(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _read(body: bytes) -> dict[str, str] | None:
    if len(body) > _LONGEST:
        return None
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or set(said) != set(FIELDS):
        return None
    if not all(isinstance(value, str) and len(value) < 300 and value.isprintable() for value in said.values()):
        return None
    return said if all(value.isascii() for value in said.values()) else None


def _token(settings: Settings, row: dict[str, Any] | None) -> Token | None:
    """The token of the row; None also if it was sealed with another master secret."""
    if row is None:
        return None
    sealed = bytes(row["token"])
    return Token(Secrets(settings.state).unseal(sealed, f"node-token:{_id(row)}").decode())


def _id(row: dict[str, Any]) -> str:
    return str(row["token_id"])


async def _admit(db: Connection, settings: Settings, name: str, hostname: str) -> dict[str, Any]:
    """Note that it has joined, and gather what it needs. `keeper` makes its role in the database within seconds."""
    login, password = login_of(name), secrets.token_urlsafe(32)
    verifier = db.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    await db.execute(
        """UPDATE node SET state = 'joined', login = %s, verifier = %s, hostname = %s, joined_at = now(), token = NULL,
                          token_id = NULL, token_until = NULL
           WHERE name = %s""",
        [login, verifier, hostname, name],
    )
    keys = Secrets(settings.state)
    return {
        "node": name,
        "password": password,
        "derived": {label: keys.derive(label).hex() for label in LABELS},
        "certificate": _certificate(settings),
        "ports": {key: settings.port[key] for key in ("http", "https", "sim_smtp", "sim_dns", "sim_http")},
        "settings": {
            "node": name,
            "database_url": database_of(settings),
            "base_url": settings.url,
            "https": settings.https,
            "retry_first": settings.retry_first,
            "retry_hours": settings.retry_hours,
            "retry_hours_other": settings.retry_hours_other,
            "node_patience": settings.node_patience,
            "dns": settings.dns,
            "simulate": settings.simulate,
            "simulate_at": settings.simulate_at,
        },
    }


def _certificate(settings: Settings) -> str:
    return "" if settings.database_url else (settings.state / CERTIFICATE).read_text()


def database_of(settings: Settings) -> str:
    """How another machine reaches the database; without user and password."""
    if settings.database_url:
        parts = conninfo_to_dict(settings.database_url)
        return make_conninfo("", **{key: value for key, value in parts.items() if key not in ("user", "password")})
    host = settings.database_listen
    if host in EVERYWHERE:
        host = settings.web_host or settings.hostname
    return make_conninfo("", host=host, port=settings.database_port, dbname=DATABASE)
