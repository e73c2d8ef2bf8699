"""`thurn join`: what the new machine does. Nothing is written before everything is there."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg

from thurn.db.connect import conninfo
from thurn.db.revision import newest
from thurn.nodes.token import Token
from thurn.settings import load_settings
from thurn.stack.files import ids

_PATIENCE = 30.0  # seconds until the other machine's keeper has made our role


class Refused(Exception):
    """Why it did not work; for people."""


def join(state: Path, url: str, token: str, hostname: str) -> str:
    """Become a sending machine of the installation at `url`; returns the name it has there. `Refused`."""
    if state.exists() and any(state.iterdir()):
        raise Refused(
            f"There is something in {state} already. A machine joins with an empty state directory: choose another one "
            "by --state, or move that one away if nobody needs what is in it."
        )
    try:
        known = Token(token)
    except ValueError:
        raise Refused("This is not a token. Copy the whole command that `thurn node add` has printed.") from None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"“{url[:100]}” is not an address. Copy the whole command that `thurn node add` has printed.")
    answer = _ask(url.rstrip("/"), known, hostname)
    try:
        _write(state, answer, url.rstrip("/"), hostname)
    except (OSError, KeyError) as error:
        raise Refused(f"Could not write to {state}: {error}. The token is used up: make a new one.") from error
    _try_database(state)
    return str(answer["node"])


def _ask(url: str, token: Token, hostname: str) -> dict[str, Any]:
    said = {"id": token.id, "nonce": secrets.token_urlsafe(24), "revision": newest(), "hostname": hostname}
    try:
        reply = httpx.post(
            f"{url}/nodes/join", json={**said, "proof": token.proof(said)}, timeout=30, follow_redirects=False
        )
    except httpx.HTTPError as error:
        raise Refused(
            f"{url} cannot be reached: {error}\nLook at the address, the network and the certificate, then try again; "
            "the token is still good."
        ) from error
    try:
        found = reply.json()
        if reply.status_code == httpx.codes.OK:
            return token.unseal(found["sealed"], said["nonce"])
        why = str(found["error"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{url} gives an answer that is not Thurn's (status {reply.status_code}). Is it the address of its pages?"
        ) from error
    raise Refused(f"{url} says no: {why}")


def _write(state: Path, answer: dict[str, Any], url: str, hostname: str) -> None:
    """thurn.toml comes last: without it nothing would start."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = state / "secrets"
    folder.mkdir(mode=0o750, exist_ok=True)
    group = ids("root:thurn")[1]
    os.chown(folder, 0, group)
    kept = {
        "secrets/db-node": answer["password"] + "\n",
        "secrets/derived": json.dumps(answer["derived"]) + "\n",
        "secrets/database-ca.pem": answer["certificate"],
        "ports.json": json.dumps(answer["ports"]) + "\n",
        "thurn.toml": _toml({**answer["settings"], "joined": url, "hostname": hostname}),
    }
    for name, text in kept.items():
        if not text:
            continue
        path = state / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chown(path, 0, group)
    (state / "ports.json").chmod(0o644)


def _toml(values: dict[str, Any]) -> str:
    """Strings, numbers, booleans and lists look the same in JSON."""
    head = "# Written by `thurn join`. What is said here has to be the same on the machine that was joined.\n"
    return head + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _try_database(state: Path) -> None:
    settings = load_settings(state)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with psycopg.connect(conninfo(settings, "system"), connect_timeout=5):
                return
        except psycopg.OperationalError as error:
            if time.monotonic() > until:
                raise Refused(
                    f"This machine has joined, but cannot reach the database: {str(error).strip().splitlines()[0]}\n"
                    "Look at the firewall, and at `thurn status` over there: its keeper has to run. Then run "
                    "`thurn up` here."
                ) from error
            time.sleep(0.5)
