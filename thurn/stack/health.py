"""Whether a role does its work: each probe asks the daemon itself and says in words what is wrong."""

import http.client
import socket
from collections.abc import Callable

import psycopg

from thurn.heartbeat import alive
from thurn.secrets import Secrets
from thurn.settings import LOOPBACK, Settings
from thurn.stack import webmail
from thurn.stack.postfix import EVERYWHERE
from thurn.stack.postgres import admin_conninfo
from thurn.stack.roles import PYTHON

_PATIENCE = 3.0  # seconds a probe waits for an answer


def probe(role: str, settings: Settings) -> str:
    """Empty if the role is healthy, else why it is not."""
    try:
        if role in PYTHON:
            return _ours(role, settings)
        return _PROBES[role](settings)
    except (OSError, psycopg.Error, http.client.HTTPException) as problem:
        return str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__


def _ours(role: str, settings: Settings) -> str:
    if not alive(settings, role):
        return "gives no sign of life"
    if role == "web":
        return _http(LOOPBACK, settings.port["web"], "/healthz")
    if role == "guard":  # a sign of life may be left of one that was killed; the daemons wait for this one's answers
        for door in ("guard", "guard_policy", "guard_maps"):
            with socket.create_connection((LOOPBACK, settings.port[door]), _PATIENCE):
                pass
    return ""


def _db(settings: Settings) -> str:
    with psycopg.connect(admin_conninfo(settings.state, settings.database_port), connect_timeout=int(_PATIENCE)) as db:
        db.execute("SELECT 1")
    return ""


def _redis(settings: Settings) -> str:
    password = Secrets(settings.state).ensure("redis")
    with socket.create_connection(("127.0.0.1", settings.port["redis"]), _PATIENCE) as link:
        link.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\n") < 2:
            if not (part := link.recv(200)):
                break
            answer += part
    return "" if answer.endswith(b"+PONG\r\n") else f"answers {answer!r}"


def _spam(settings: Settings) -> str:
    with socket.create_connection(("127.0.0.1", settings.port["milter"]), _PATIENCE):
        pass
    return _http("127.0.0.1", settings.port["rspamd"], "/ping")


def _imap(settings: Settings) -> str:
    return _greeting(settings.listen, settings.port["imap"], b"* OK")


def _mx(settings: Settings) -> str:
    return _greeting(settings.listen, settings.port["smtp"], b"220")


def _out(settings: Settings) -> str:
    return _greeting("127.0.0.1", settings.port["out"], b"220")


def _webmail(settings: Settings) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_PATIENCE)
        link.connect(str(settings.state / webmail.SOCKET))
    return ""


def _edge(settings: Settings) -> str:
    with socket.create_connection((_reachable(settings.listen), settings.port["http"]), _PATIENCE):
        return ""


def _greeting(host: str, port: int, expected: bytes) -> str:
    with socket.create_connection((_reachable(host), port), _PATIENCE) as link:
        line = link.recv(200)
    return "" if line.startswith(expected) else f"greets with {line!r}"


def _http(host: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    return "" if status == http.HTTPStatus.OK else f"answers {path} with status {status}"


def _reachable(host: str) -> str:
    """An address to connect to, given the one that is listened on."""
    return "127.0.0.1" if host in EVERYWHERE else host


_PROBES: dict[str, Callable[[Settings], str]] = {
    "db": _db,
    "redis": _redis,
    "spam": _spam,
    "imap": _imap,
    "mx": _mx,
    "out": _out,
    "webmail": _webmail,
    "edge": _edge,
}
