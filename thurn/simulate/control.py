"""The simulated internet's control, over HTTP on loopback: publish records, read truth, start over.

    GET    /status                        what is pending and how much is held
    GET    /truth?campaign=&dkim=&sample= the count (`truth.Truth`); POST with {"expected": [addresses]} for `missing`
    GET    /messages?recipient=           what a recipient holds, raw mails in base64
    GET    /zones                         what is published
    POST   /zones                         publish [{"name", "type", "value", "ttl"}, …]
    DELETE /zones?domain=                 withdraw a domain's records, or all
    POST   /moods                         a provider's mood: {"provider", "kind": rate|tempfail|block, "seconds",
                                          "per_minute", "share", "client"}; DELETE: all take everything again
    POST   /reset                         forget every mail

Use `client`. A thread per request, so that counting a campaign does not keep the receivers waiting.
"""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog

from thurn.simulate.dns import to_wire
from thurn.simulate.moods import REFUSALS, Mood, Moods
from thurn.simulate.store import read
from thurn.simulate.truth import count_truth
from thurn.simulate.zones import Record, Zones

log = structlog.get_logger()
_LARGEST_BODY = 64 * 1024 * 1024  # a million expected addresses fit
_MOST_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class Controls:
    """What the control reaches of the rest. `pending` and `reset` may be called from any thread."""

    store: Path
    zones: Zones
    dns_port: int
    pending: Callable[[], int]
    reset: Callable[[], None]
    moods: Moods


class BadRequest(ValueError):
    """The request makes no sense; says why."""


class ControlServer(ThreadingHTTPServer):
    """Listens on loopback; runs in a thread until `shutdown`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, controls: Controls, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.controls = controls
        self.changing = threading.Lock()

    def start(self) -> None:
        """Serve from a thread of its own."""
        threading.Thread(target=self.serve_forever, name="control", daemon=True).start()


def _records(body: Any) -> list[Record]:
    """Records from JSON; each is tried, so that nothing unanswerable is published."""
    if not isinstance(body, list):
        raise BadRequest("The body is to be a JSON list of records with name, type, value and perhaps ttl.")
    records = []
    for entry in body:
        try:
            record = Record.of(entry["name"], entry["type"], entry.get("value", ""), int(entry.get("ttl", 60)))
            if record.type not in ("SERVFAIL", "TIMEOUT"):
                to_wire(record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadRequest(f"{entry!r} is no record: {error}") from error
        records.append(record)
    return records


def _mood(body: Any) -> tuple[str, Mood]:
    """A provider and its mood, from JSON; says what cannot be."""
    try:
        kind, seconds = body["kind"], float(body.get("seconds", 3600))
        mood = Mood(
            kind, time.time() + seconds, float(body.get("per_minute", 0)), float(body.get("share", 1)),
            str(body.get("client", "")),
        )  # fmt: skip
        provider = str(body["provider"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadRequest(f"{body!r} is no mood: give provider and kind, and perhaps seconds: {error}") from error
    if kind not in REFUSALS:
        raise BadRequest(f"A mood is one of {', '.join(REFUSALS)}, not {kind!r}.")
    if not (0 < seconds < 1e7 and 0 <= mood.per_minute < 1e6 and 0 <= mood.share <= 1):
        raise BadRequest("seconds, per_minute or share is out of bounds.")
    return provider, mood


def _status(controls: Controls) -> dict[str, Any]:
    db = read(controls.store)
    (accepted,) = db.execute("SELECT count(*) FROM message").fetchone()
    refused = dict(tuple(row) for row in db.execute("SELECT kind, count(*) FROM refusal GROUP BY kind"))
    actions = dict(tuple(row) for row in db.execute("SELECT kind, count(*) FROM action GROUP BY kind"))
    db.close()
    return {"pending": controls.pending(), "accepted": accepted, "refusals": refused, "actions": actions}


def _messages(controls: Controls, recipient: str) -> list[dict[str, Any]]:
    db = read(controls.store)
    rows = db.execute(
        "SELECT id, at, sender, recipient, campaign, message_id, data, peer, helo FROM message WHERE recipient = ? "
        "ORDER BY id DESC LIMIT ?",
        (recipient.lower(), _MOST_MESSAGES),
    ).fetchall()
    db.close()
    return [{**dict(row), "data": b64encode(row["data"]).decode()} for row in rows]


def _truth(controls: Controls, query: dict[str, str], body: Any) -> dict[str, Any]:
    expected = (body or {}).get("expected") if isinstance(body, dict | None) else body
    if expected is not None and not (isinstance(expected, list) and all(isinstance(a, str) for a in expected)):
        raise BadRequest('The body is to be {"expected": [addresses]}.')
    sample = query.get("sample", "")
    truth = count_truth(
        controls.store,
        dns_port=controls.dns_port,
        campaign=query.get("campaign") or None,
        expected=expected,
        dkim=query.get("dkim", "1") != "0",
        sample=int(sample) if sample else None,
    )
    return asdict(truth)


class _Handler(BaseHTTPRequestHandler):
    server: ControlServer
    protocol_version = "HTTP/1.1"

    def _body(self) -> Any:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _LARGEST_BODY:
            raise BadRequest("The body is too large.")
        raw = self.rfile.read(length)
        return json.loads(raw) if raw else None

    def _result(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        controls = self.server.controls
        match method, path:
            case "GET", "/status":
                return _status(controls)
            case (("GET" | "POST"), "/truth"):
                return _truth(controls, query, body)
            case "GET", "/messages":
                return _messages(controls, query.get("recipient", ""))
            case "GET", "/zones":
                return [asdict(record) for record in controls.zones.published]
            case "POST", "/zones":
                records = _records(body)
                with self.server.changing:
                    controls.zones.publish(records)
                return {"published": len(records)}
            case "DELETE", "/zones":
                with self.server.changing:
                    controls.zones.withdraw(query.get("domain"))
                return {}
            case "POST", "/moods":
                provider, mood = _mood(body)
                controls.moods.put(provider, mood)
                return {}
            case "DELETE", "/moods":
                controls.moods.calm()
                return {}
            case "POST", "/reset":
                controls.reset()
                return {}
        return None

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        status = 200
        try:
            result = self._result(self.command, url.path, query, self._body())
            if result is None:
                status, result = 404, {"error": f"There is no {self.command} {url.path}."}
        except ValueError as error:  # BadRequest, JSON that is none, a number that is none
            status, result = 400, {"error": str(error)}
        except Exception as error:
            log.exception("control failed", path=url.path)
            status, result = 500, {"error": f"{type(error).__name__}: {error}"}
        payload = json.dumps(result).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  # names that http.server asks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        """Say nothing for each request."""
