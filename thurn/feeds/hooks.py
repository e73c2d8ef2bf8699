"""Where sending services call us: `POST /hooks/<token>`. What is proven is kept and answered 200; `worker` reads it.

The token names the feed and is hard to guess; it proves nothing. Forged calls are refused and counted. What was here
before is answered 200 and changes nothing, so a service may repeat itself.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from thurn.db.connect import Connection
from thurn.feeds import proof, service
from thurn.feeds.proof import Forged
from thurn.problems import Problem
from thurn.settings import Settings
from thurn.web.edge import AppSettings, Unscoped

log = structlog.get_logger()
router = APIRouter()

Fetch = Callable[[str], bytes]
LONGEST = 2 * 1024 * 1024  # bytes of a call; the guard of the web refuses more anyway
_CERTIFICATE = 64 * 1024
_certificates: dict[str, bytes] = {}


def fetch(url: str) -> bytes:
    """GET an address of Amazon's, once it has been looked at: over HTTPS, to no other host, at most 64 KiB."""
    with httpx.stream("GET", proof.amazon(url), timeout=10, follow_redirects=False, trust_env=False) as answer:
        answer.raise_for_status()
        taken = b""
        for chunk in answer.iter_bytes():
            taken += chunk
            if len(taken) > _CERTIFICATE:
                raise Forged("Amazon's answer is too long.")
        return taken


def _nowhere(url: str) -> bytes:
    raise Forged(f"A simulation asks nobody outside, so not {url} either.")


@router.post("/hooks/{token}", include_in_schema=False)
async def called(request: Request, db: Unscoped, settings: AppSettings, token: str) -> Response:
    """Take a call."""
    found = await db.execute(
        """SELECT feed_id, workspace_id, set_config('thurn.workspace', workspace_id::text, true) AS entered
           FROM feed_of_hook(%s)""",
        [token[:100].replace("\0", "")],
    )
    row = await found.fetchone()
    if row is None:
        return PlainTextResponse("Nobody listens here.\n", 404)
    body = await request.body()
    try:
        key, kept = await _proven(request, db, settings, row["feed_id"], body)
    except Problem as trouble:  # ours: the service may call again
        return PlainTextResponse(f"{trouble}\n", 503)
    except Forged as refused:
        await db.execute("UPDATE feed SET refused = refused + 1, refused_at = now() WHERE id = %s", [row["feed_id"]])
        log.warning("a call of a webhook was refused", feed=row["feed_id"], why=str(refused))
        return PlainTextResponse(f"{refused}\n", 403)
    except httpx.HTTPError as error:
        log.warning("Amazon did not answer", feed=row["feed_id"], error=str(error))
        return PlainTextResponse("Amazon's certificate cannot be fetched. Try again later.\n", 503)
    if kept is not None:
        await db.execute(
            """INSERT INTO feed_item (feed_id, workspace_id, key, body) VALUES (%s, %s, %s, %s)
               ON CONFLICT (feed_id, key) DO NOTHING""",
            [row["feed_id"], row["workspace_id"], hashlib.sha256(key).digest(), kept],
        )
    await db.execute(
        "UPDATE feed SET state = 'ok', reason = '', failures = 0, read_at = now() WHERE id = %s", [row["feed_id"]]
    )
    return PlainTextResponse("Taken.\n")


async def _proven(
    request: Request, db: Connection, settings: Settings, number: int, body: bytes
) -> tuple[bytes, bytes | None]:
    """(what tells this call from others, what is to be read), or `Forged`."""
    feed = await service.get(db, number)
    secret = await service.secret_of(db, number, settings)
    match feed["kind"]:
        case "sendgrid":
            proof.sendgrid(request.headers, body, secret)
        case "mailgun":
            return proof.mailgun(body, secret), body
        case "ses":
            amazon = getattr(request.app.state, "fetch_amazon", _nowhere if settings.simulate else fetch)
            return await _sns(amazon, body, secret)
        case _:
            proof.basic(request.headers, secret)
    return body, body


async def _sns(amazon: Fetch, body: bytes, topic: str) -> tuple[bytes, bytes | None]:
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Forged("The call is no message of Amazon SNS.") from error
    if not isinstance(message, dict):
        raise Forged("The call is no message of Amazon SNS.")

    def certificate(url: str) -> bytes:
        if url not in _certificates:
            if len(_certificates) > 50:
                _certificates.clear()
            _certificates[url] = amazon(url)
        return _certificates[url]

    await asyncio.to_thread(proof.sns, message, topic, certificate)
    if message.get("Type") == "SubscriptionConfirmation":
        await asyncio.to_thread(amazon, proof.amazon(str(message["SubscribeURL"])))
        log.info("subscribed at Amazon SNS", topic=topic)
    if message.get("Type") != "Notification":
        return b"", None
    return str(message["MessageId"]).encode("utf-8", "replace"), str(message["Message"]).encode("utf-8", "replace")
