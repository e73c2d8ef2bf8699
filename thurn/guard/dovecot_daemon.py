"""Dovecot's authentication policy: it asks before each password and tells afterwards. IMAP, POP3, ManageSieve, SMTP.

Postfix has Dovecot check its passwords, so it is asked here too. Whatever goes wrong, the answer is yes: without a
count people still sign in.
"""

from typing import Any

import orjson
import psycopg
import structlog
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thurn.db.connect import Connection, Pool
from thurn.guard import bans, limits, sign_ins
from thurn.guard.clients import is_ours

log = structlog.get_logger()

_LONGEST = 64 * 1024  # octets of a question
_PATIENCE = 1.5  # seconds for a connection; Dovecot itself waits two
_PROTOCOLS = frozenset({"imap", "pop3", "sieve", "smtp"})
_YES, _NO = 0, -1  # a number above 0: wait for so many seconds, then check the password


async def policy(request: Request) -> Response:
    """One question or report. `status` is the answer; of a report Dovecot ignores it."""
    status = _YES
    try:
        told = await _told(request)
        pool: Pool = request.app.state.pool
        async with pool.connection(timeout=_PATIENCE) as db:
            if request.query_params.get("command") == "report":
                await _report(db, told)
            else:
                status = await _ask(db, told)
    except ValueError:
        pass  # no JSON object: nobody to count
    except (psycopg.Error, PoolTimeout) as error:
        log.warning("cannot count sign-ins", error=str(error))
    return JSONResponse({"status": status, "msg": ""})


async def _told(request: Request) -> dict[str, Any]:
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > _LONGEST:
            raise ValueError("too long")
    told = orjson.loads(text.decode("utf-8", "replace"))
    if not isinstance(told, dict):
        raise ValueError("no object")
    return told


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


async def _ask(db: Connection, told: dict[str, Any]) -> int:
    ip = _text(told, "remote")
    if is_ours(ip):
        return _YES
    verdict = await sign_ins.weigh(db, login=_text(told, "login"), ip=ip)
    if verdict.ok:
        return _YES
    return _NO if verdict.banned or verdict.wait > limits.LONGEST_TARPIT else verdict.wait


async def _report(db: Connection, told: dict[str, Any]) -> None:
    ip, protocol = _text(told, "remote"), _text(told, "protocol")
    if protocol not in _PROTOCOLS:
        return
    succeeded, refused = told.get("success") is True, told.get("policy_reject") is True
    if (is_ours(ip) and not succeeded) or (refused and await bans.of_client(db, ip)):
        return
    number = _text(told, "app_password")
    await sign_ins.record(
        db, login=_text(told, "login"), protocol=protocol, ip=ip, succeeded=succeeded, mark=_text(told, "pwhash"),
        checked=not refused, client=client_name(_text(told, "device_id")),
        app_password_id=int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None,
    )  # fmt: skip


def client_name(said: str) -> str:
    """What a program calls itself, from the list of an IMAP ID command (RFC 2971): `("name" "Mail" "version" "3")`."""
    words = said.strip().strip("()").split('"')[1::2]
    known = {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
    return " ".join(known[name] for name in ("name", "version") if known.get(name))


routes = [Route("/sign-in", policy, methods=["POST"])]
