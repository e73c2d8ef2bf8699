"""Publishing by the APIs of DNS providers, through dns-lexicon.

Its client would fetch the list of public suffixes from the Internet to guess the zone; we know the zone, and speak to
its providers themselves. They differ in how they write MX, SRV and CAA records: only what all take alike is published.
"""

import asyncio
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from thurn.dns.changes import Change
from thurn.dns.findings import Answers
from thurn.problems import Conflict

PROVIDERS = {
    "cloudflare": "Cloudflare",
    "desec": "deSEC",
    "digitalocean": "DigitalOcean",
    "gandi": "Gandi",
    "hetzner": "Hetzner DNS",
}


class ApiPublisher:
    """A zone at a provider of `PROVIDERS`, with an API token that may change it."""

    types: tuple[str, ...] = ("TXT", "CNAME")

    def __init__(self, provider: str, zone: str, token: str) -> None:
        self._title = PROVIDERS[provider]
        # Imported here: half a second, for who publishes only.
        resolver: Any = import_module("lexicon.config").ConfigResolver()
        module = import_module(f"lexicon._private.providers.{provider}")
        config = resolver.with_dict({"provider_name": provider, "domain": zone, provider: {"auth_token": token}})
        self._provider: Any = module.Provider(config)
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], list[str]] | None = None
        self._zone = zone

    async def current(self, name: str, kind: str) -> Answers:
        """What the provider holds; the zone is fetched once."""
        held = await asyncio.to_thread(self._fetched)
        values = held.get((name, kind))
        return Answers("found", tuple(sorted(values))) if values else Answers("nothing")

    async def apply(self, wanted: Sequence[Change]) -> None:
        """One after the other; what comes is there before what it replaces goes."""
        await asyncio.to_thread(self._apply, wanted)

    def _fetched(self) -> dict[tuple[str, str], list[str]]:
        with self._lock:
            if self._held is None:
                self._held = {}
                try:
                    self._provider.authenticate()
                    for record in self._provider.list_records():
                        key = record["name"].rstrip(".").lower(), record["type"]
                        self._held.setdefault(key, []).append(_plain(str(record["content"]), record["type"]))
                except Exception as error:
                    self._held = None
                    raise self._problem(error) from error
            return self._held

    def _apply(self, wanted: Sequence[Change]) -> None:
        for change in wanted:
            record = change.record
            try:
                if len(change.remove) == len(change.add) == 1:
                    self._replace(record.type, record.name, change.remove[0], change.add[0])
                    continue
                for value in change.add:
                    self._provider.create_record(record.type, record.name, value)
                for value in change.remove:
                    self._provider.delete_record(identifier=self._id(record.type, record.name, value))
            except Conflict:
                raise
            except Exception as error:
                raise self._problem(error, f" at {record.type} {record.name}") from error

    def _replace(self, kind: str, name: str, old: str, new: str) -> None:
        self._provider.update_record(self._id(kind, name, old), rtype=kind, name=name, content=new)

    def _id(self, kind: str, name: str, value: str) -> Any:
        for record in self._provider.list_records(rtype=kind, name=name):
            if _plain(str(record["content"]), kind) == value:
                return record["id"]
        raise Conflict(f"{kind} {name} has changed meanwhile. Look again.")

    def _problem(self, error: Exception, where: str = "") -> Conflict:
        # The error's own text may repeat the request, and with it the token.
        response = getattr(error, "response", None)
        code = f", code {response.status_code}" if response is not None else ""
        return Conflict(
            f"{self._title} did not take it{where} ({type(error).__name__}{code}). Check that the token is valid and "
            f"may change the zone {self._zone}."
        )


def _plain(content: str, kind: str) -> str:
    """A value without what some providers put around it: quotes and cuts of text, the final dot of names."""
    if kind == "TXT":
        return content.replace('" "', "").strip('"') if content.startswith('"') else content
    return content.removesuffix(".").lower() if kind == "CNAME" else content
