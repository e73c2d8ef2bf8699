"""DNS providers as their documented HTTP APIs are, each before the same zone: {(name, type): values as in zone files}.

Names are relative to the zone, `@` is the zone itself. Only what is asked of them here; what breaks their rules is
refused, as it would be there.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dns.exception
import dns.rdata
import pytest
import requests

ZONE, TOKEN = "brotzeit.example", "right-token"
Zone = dict[tuple[str, str], list[str]]


class Refused(Exception):
    """An answer of 4xx."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: list[str]
    query: dict[str, str]
    body: Any


@dataclass
class World:
    """The zone, and numbers of records where a provider gives them."""

    zone: Zone
    numbers: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, name: str, kind: str, value: str) -> None:
        """One more value, which must be one of its type, with names whole."""
        try:
            read = dns.rdata.from_text("IN", kind, value)
        except dns.exception.DNSException as error:
            raise Refused(f"{kind} {value}: {error}") from error
        if kind in ("CNAME", "MX", "SRV") and not value.endswith("."):
            raise Refused(f"{value} would lie in the zone")
        self.zone.setdefault((name, kind), []).append(value if kind == "TXT" else read.to_text())

    def drop(self, name: str, kind: str, value: str) -> None:
        """One value less."""
        values = self.zone[name, kind]
        values.remove(value)
        if not values:
            del self.zone[name, kind]

    def put(self, name: str, kind: str, values: list[str]) -> None:
        """These and no others."""
        self.zone.pop((name, kind), None)
        for value in values:
            self.add(name, kind, value)


def hetzner(world: World, asked: Asked) -> Any:
    """https://docs.hetzner.cloud/reference/cloud#tag/zones (v1)."""
    match asked.method, asked.path:
        case "GET", ["v1", "zones", name]:
            return {"zone": {"id": 42, "name": name}}
        case "GET", ["v1", "zones", "42", "rrsets"]:
            sets = [
                {"name": name, "type": kind, "ttl": None, "records": [{"value": value} for value in values]}
                for (name, kind), values in world.zone.items()
                if asked.query.get("name", name) == name and asked.query.get("type", kind) == kind
            ]  # fmt: skip
            return {"rrsets": sets, "meta": {"pagination": {"page": 1, "last_page": 1, "next_page": None}}}
        case "POST", ["v1", "zones", "42", "rrsets", name, kind, "actions", what] if name:
            for record in asked.body["records"]:
                if what == "add_records":
                    world.add(name, kind, record["value"])
                elif what == "remove_records":
                    world.drop(name, kind, record["value"])
            return {"action": {"id": 1, "status": "success"}}
    raise Refused


def desec(world: World, asked: Asked) -> Any:
    """https://desec.readthedocs.io/en/latest/dns/rrsets.html."""
    match asked.method, asked.path:
        case "GET", ["api", "v1", "domains", name, ""]:
            return {"name": name}
        case "GET", ["api", "v1", "domains", _, "rrsets", *_]:
            wanted = asked.query.get("subname")
            return [
                {"name": f"{name}.{ZONE}.".removeprefix("@."), "subname": name.replace("@", ""), "type": kind,
                 "ttl": 3600, "records": values}
                for (name, kind), values in world.zone.items()
                if wanted is None or (wanted or "@") == name
                if asked.query.get("type", kind) == kind
            ]  # fmt: skip
        case "POST", ["api", "v1", "domains", _, "rrsets", *_]:
            name, kind = asked.body["subname"] or "@", asked.body["type"]
            if (name, kind) in world.zone:
                raise Refused("Another RRset with the same subdomain and type exists for this domain.")
            _desec_put(world, name, kind, asked.body["records"])
            return asked.body
        case "PATCH", ["api", "v1", "domains", _, "rrsets", name, kind, ""]:
            _desec_put(world, name or "@", kind, asked.body["records"])
            return asked.body
    raise Refused


def _desec_put(world: World, name: str, kind: str, records: list[str]) -> None:
    if kind == "TXT" and not all(record.startswith('"') for record in records):
        raise Refused("Data for TXT records must be given using quotation marks.")
    world.put(name, kind, [_quoted(record.strip('"')) if len(record) > 257 else record for record in records])


def gandi(world: World, asked: Asked) -> Any:
    """https://api.gandi.net/docs/livedns/ (v5)."""
    if asked.method != "GET" and asked.path[-1] not in ("TXT", "CNAME", "A", "AAAA", "MX", "SRV", "CAA", "TLSA"):
        raise Refused("a whole name")
    match asked.method, asked.path[4:]:
        case "GET", []:
            return {"fqdn": ZONE}
        case "GET", ["records"]:
            return [_gandi(name, kind, values) for (name, kind), values in world.zone.items()]
        case "GET", ["records", name, kind]:
            if (name, kind) not in world.zone:
                raise Refused("404")
            return _gandi(name, kind, world.zone[name, kind])
        case (("POST" | "PUT"), ["records", name, kind]):
            if asked.method == "POST" and (name, kind) in world.zone:
                raise Refused("A DNS Record already exists with the same value")
            values = asked.body["rrset_values"]
            world.put(name, kind, [_quoted(v) if kind == "TXT" else v for v in values])
            return {"message": "DNS Record Created"}
        case "DELETE", ["records", name, kind]:
            del world.zone[name, kind]
            return {}
    raise Refused


def _gandi(name: str, kind: str, values: list[str]) -> dict[str, Any]:
    return {"rrset_name": name, "rrset_type": kind, "rrset_ttl": 10800, "rrset_values": values}


def _quoted(text: str) -> str:
    """They cut long text themselves."""
    return text if text.startswith('"') else " ".join(f'"{text[i : i + 255]}"' for i in range(0, len(text), 255))


def digitalocean(world: World, asked: Asked) -> Any:
    """https://docs.digitalocean.com/reference/api/reference/domain-records/ (v2): records by number, in fields."""
    if not world.numbers:
        for (name, kind), values in world.zone.items():
            for value in values:
                world.numbers[len(world.numbers) + 1] = (name, kind, value)
    match asked.method, asked.path:
        case "GET", ["v2", "domains", name]:
            return {"domain": {"name": name}}
        case "GET", ["v2", "domains", _, "records"]:
            return {"links": {}, "domain_records": [
                {"id": number, "type": kind, "name": name, "ttl": 1800, "data": _of_digitalocean(kind, value)}
                for number, (name, kind, value) in world.numbers.items()]}  # fmt: skip
        case "POST", ["v2", "domains", _, "records"]:
            name, kind, value = asked.body["name"], asked.body["type"], asked.body["data"]
            if kind in ("MX", "SRV", "CAA"):
                raise Refused("priority, port and tag are fields")
            world.add(name, kind, _quoted(value) if kind == "TXT" else value)
            world.numbers[max(world.numbers, default=0) + 1] = (name, kind, _quoted(value) if kind == "TXT" else value)
            return {"domain_record": {}}
        case "PUT", ["v2", "domains", _, "records", number]:
            name, kind, old = world.numbers[int(number)]
            world.drop(name, kind, old)
            world.add(name, kind, value := _quoted(asked.body["data"]))
            world.numbers[int(number)] = (name, kind, value)
            return {"domain_record": {}}
        case "DELETE", ["v2", "domains", _, "records", number]:
            world.drop(*world.numbers.pop(int(number)))
            return {}
    raise Refused


def _of_digitalocean(kind: str, value: str) -> str:
    plain = value.replace('" "', "").strip('"').rstrip(".")
    return plain.rpartition(" ")[2] if kind in ("MX", "SRV", "CAA") else plain


def cloudflare(world: World, asked: Asked) -> Any:
    """https://developers.cloudflare.com/api/resources/dns/ (v4): records by number; some in fields."""
    if not world.numbers:
        for (name, kind), values in world.zone.items():
            for value in values:
                world.numbers[len(world.numbers) + 1] = (name, kind, value)
    info = {"success": True, "errors": [], "result_info": {"page": 1, "total_pages": 1}}
    match asked.method, asked.path:
        case "GET", ["client", "v4", "zones"]:
            return info | {"result": [{"id": "z", "name": ZONE}]}
        case "GET", ["client", "v4", "zones", "z", "dns_records"]:
            whole = [{"id": str(n), "type": k, "name": ZONE if name == "@" else f"{name}.{ZONE}", "ttl": 1,
                      "content": _of_cloudflare(k, v)} for n, (name, k, v) in world.numbers.items()]  # fmt: skip
            keys = [key for key in ("type", "name", "content") if key in asked.query]
            return info | {"result": [r for r in whole if all(r[key] == asked.query[key] for key in keys)]}
        case "POST", ["client", "v4", "zones", "z", "dns_records"]:
            name, kind = _below(asked.body["name"]), asked.body["type"]
            value = _to_cloudflare(kind, asked.body)
            world.add(name, kind, value)
            world.numbers[max(world.numbers, default=0) + 1] = (name, kind, world.zone[name, kind][-1])
            return info | {"result": {}}
        case "PUT", ["client", "v4", "zones", "z", "dns_records", number]:
            name, kind, old = world.numbers[int(number)]
            world.drop(name, kind, old)
            world.add(name, kind, value := _to_cloudflare(kind, asked.body))
            world.numbers[int(number)] = (name, kind, value)
            return info | {"result": {}}
        case "DELETE", ["client", "v4", "zones", "z", "dns_records", number]:
            world.drop(*world.numbers.pop(int(number)))
            return info | {"result": {}}
    raise Refused


def _below(name: str) -> str:
    return name.removesuffix(ZONE).rstrip(".") or "@"


def _of_cloudflare(kind: str, value: str) -> str:
    """MX without its preference, SRV without its priority, as they have been told so far."""
    return value.partition(" ")[2].rstrip(".") if kind in ("MX", "SRV") else value.rstrip(".")


def _to_cloudflare(kind: str, body: dict[str, Any]) -> str:
    """Numbers must be numbers."""
    fields = body.get("data") or {}
    numbers = [v for k, v in fields.items() if k not in ("target", "tag", "value", "certificate")]
    if not all(isinstance(n, int) for n in numbers):
        raise Refused("data: number expected")
    match kind:
        case "MX":
            if not isinstance(body.get("priority"), int):
                raise Refused("priority is required")
            return f"{body['priority']} {body['content']}."
        case "SRV":
            target = fields["target"].rstrip(".") + "."
            return f"{fields['priority']} {fields['weight']} {fields['port']} {target}"
        case "CAA":
            return f'{fields["flags"]} {fields["tag"]} "{fields["value"]}"'
        case "TLSA":
            return f"{fields['usage']} {fields['selector']} {fields['matching_type']} {fields['certificate']}"
        case "TXT":
            return _quoted(body["content"])
        case "CNAME":
            return f"{body['content']}."
    return str(body["content"])


APIS: dict[str, tuple[str, str, Callable[[World, Asked], Any]]] = {
    "cloudflare": ("https://api.cloudflare.com", "Bearer", cloudflare),
    "desec": ("https://desec.io", "Token", desec),
    "digitalocean": ("https://api.digitalocean.com", "Bearer", digitalocean),
    "gandi": ("https://api.gandi.net", "Apikey", gandi),
    "hetzner": ("https://api.hetzner.cloud", "Bearer", hetzner),
}


@contextmanager
def provider(name: str, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A provider with this zone; requests to it go to loopback, and nowhere else."""
    base, word, answer = APIS[name]
    world = World(zone)

    class Api(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def _do(self) -> None:
            url = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
            path = [unquote(part) for part in url.path.removeprefix("/").split("/")]
            if self.headers["Authorization"] != f"{word} {TOKEN}":
                return self._say({"errors": [], "error": "unauthorized"}, 401)
            try:
                return self._say(answer(world, Asked(self.command, path, query, body)), 200)
            except (Refused, KeyError, ValueError) as error:
                return self._say({"errors": [], "error": repr(error)}, 404 if "404" in str(error) else 422)

        def _say(self, what: Any, status: int) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(what).encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    real = requests.sessions.Session.request

    def local(self: requests.Session, method: str, url: str, **how: Any) -> requests.Response:
        assert url.startswith(f"{base}/"), url
        return real(self, method, url.replace(base, f"http://127.0.0.1:{server.server_port}"), **how)

    monkeypatch.setattr(requests.sessions.Session, "request", local)
    try:
        yield world.zone
    finally:
        server.shutdown()
        server.server_close()
