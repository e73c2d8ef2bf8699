"""Publishing by the APIs of DNS providers, through dns-lexicon.

Its client would fetch the list of public suffixes from the Internet to guess the zone; we know the zone, and speak to
its providers themselves. They differ in more than their addresses: how a value is written, what the zone's own name is
called, whether a record can be changed by itself. `Dialect` says so for each, as tried against its documented API.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from thurn.dns.changes import Change
from thurn.dns.findings import Answers
from thurn.dns.records import data
from thurn.problems import Conflict

_CUT = '" "'  # where long text goes on in another string
_EVERY = ("TXT", "CNAME", "A", "AAAA", "MX", "SRV", "CAA", "TLSA")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a provider wants it. `types`: what it can be told through dns-lexicon, and reads back whole."""

    title: str
    types: tuple[str, ...] = _EVERY
    zone_format: bool = True  # values as zone files have them, names with their final dot
    apex: str = "@"  # what the zone's own name is called; empty: by its name
    one_by_one: bool = False  # each record has a number, and can be changed or deleted by it
    rewrites: bool = False  # dns-lexicon takes values of a set out of their quotes, and puts them all back
    options: dict[str, str] = field(default_factory=dict)


DIALECTS = {
    "cloudflare": Dialect("Cloudflare", zone_format=False, apex="", one_by_one=True),
    "desec": Dialect("deSEC", apex=""),
    # Preference, port and tag are fields of their own there, which dns-lexicon neither writes nor reads.
    "digitalocean": Dialect("DigitalOcean", ("TXT", "CNAME", "A", "AAAA"), zone_format=False, one_by_one=True),
    "gandi": Dialect("Gandi", rewrites=True, options={"api_protocol": "rest"}),
    "hetzner": Dialect("Hetzner DNS"),
}
PROVIDERS = {name: dialect.title for name, dialect in DIALECTS.items()}


class ApiPublisher:
    """A zone at a provider of `PROVIDERS`, with an API token that may change it."""

    def __init__(self, provider: str, zone: str, token: str) -> None:
        self._dialect = DIALECTS[provider]
        self.types = self._dialect.types
        self.title = self._dialect.title
        # Imported here: half a second, for who publishes only.
        resolver: Any = import_module("lexicon.config").ConfigResolver()
        module = import_module(f"lexicon._private.providers.{provider}")
        access = {"auth_token": token, **self._dialect.options}
        config = resolver.with_dict({"provider_name": provider, "domain": zone, provider: access})
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
                held: dict[tuple[str, str], list[str]] = {}
                try:
                    self._provider.authenticate()
                    for record in self._provider.list_records():
                        kind = record["type"]
                        if kind in self.types:
                            name = record["name"].rstrip(".").lower().removeprefix("@.")
                            held.setdefault((name, kind), []).append(_plain(str(record["content"]), kind))
                except Exception as error:
                    raise self._problem(error) from error
                self._held = held
            return self._held

    def _apply(self, wanted: Sequence[Change]) -> None:
        for change in wanted:
            kind, name = change.record.type, change.record.name
            try:
                if self._dialect.rewrites and kind == "TXT":
                    self._safe_to_rewrite(name, change.remove)
                if len(change.remove) == len(change.add) == 1 and self._dialect.one_by_one and kind in ("TXT", "CNAME"):
                    self._provider.update_record(
                        self._found(kind, name, change.remove[0])["id"], rtype=kind, name=self._named(name),
                        content=self._written(kind, change.add[0]),
                    )  # fmt: skip
                    continue
                for value in change.add:
                    self._create(kind, name, value)
                for value in change.remove:
                    self._delete(kind, name, self._found(kind, name, value))
            except Conflict:
                raise
            except Exception as error:
                raise self._problem(error, f" at {kind} {name}") from error

    def _create(self, kind: str, name: str, value: str) -> None:
        if self._dialect.title == "Cloudflare" and (body := _cloudflare(kind, value)):
            # dns-lexicon has one preference for all, and sends numbers as text.
            path = f"/zones/{self._provider.domain_id}/dns_records"
            self._provider._post(path, {"type": kind, "name": name, **body})  # noqa: SLF001
            return
        self._provider.create_record(kind, self._named(name), self._written(kind, value))

    def _delete(self, kind: str, name: str, record: dict[str, Any]) -> None:
        if self._dialect.one_by_one:
            self._provider.delete_record(identifier=record["id"])
        else:  # by value: where a set is one thing, a number stands for all of it
            self._provider.delete_record(rtype=kind, name=self._named(name), content=record["content"])

    def _safe_to_rewrite(self, name: str, ours: Sequence[str]) -> None:
        for record in self._provider.list_records(rtype="TXT", name=self._named(name)):
            if _CUT in record["content"] and _plain(record["content"], "TXT") not in ours:
                raise Conflict(
                    f"At {name} there is a long text of somebody else, which {self.title} would not get back as it "
                    "was. Change the text records of this name by hand; nothing was changed there."
                )

    def _found(self, kind: str, name: str, value: str) -> dict[str, Any]:
        for record in self._provider.list_records(rtype=kind, name=self._named(name)):
            if _plain(str(record["content"]), kind) == value:
                found: dict[str, Any] = record
                return found
        raise Conflict(f"{kind} {name} has changed meanwhile. Look again.")

    def _named(self, name: str) -> str:
        return self._dialect.apex or name if name == self._zone else name

    def _written(self, kind: str, value: str) -> str:
        # They cut long text into strings and quote it themselves.
        return value if kind == "TXT" or not self._dialect.zone_format else data(kind, value)

    def _problem(self, error: Exception, where: str = "") -> Conflict:
        # The error's own text may repeat the request, and with it the token.
        response = getattr(error, "response", None)
        code = f", code {response.status_code}" if response is not None else ""
        return Conflict(
            f"{self.title} did not take it{where} ({type(error).__name__}{code}). Check that the token is valid and "
            f"may change the zone {self._zone}."
        )


def _cloudflare(kind: str, value: str) -> dict[str, Any] | None:
    """What Cloudflare takes in fields of their own; None for what is written as it is."""
    parts = value.split()
    match kind:
        case "MX":
            return {"content": parts[1], "priority": int(parts[0])}
        case "SRV":
            names = ("priority", "weight", "port")
            return {"data": {**dict(zip(names, map(int, parts[:3]), strict=True)), "target": parts[3]}}
        case "CAA":
            return {"data": {"flags": int(parts[0]), "tag": parts[1], "value": " ".join(parts[2:]).strip('"')}}
        case "TLSA":
            names = ("usage", "selector", "matching_type")
            return {"data": {**dict(zip(names, map(int, parts[:3]), strict=True)), "certificate": parts[3]}}
    return None


def _plain(content: str, kind: str) -> str:
    """A value as records.py has it: text without quotes and cuts, names without their final dot.

    Cloudflare tells MX and SRV without their first number, which nothing here turns on.
    """
    if kind == "TXT":
        return content.replace(_CUT, "").strip('"')
    parts = content.split()
    if kind == "MX" and len(parts) == 1:
        parts = ["10", *parts]
    if kind == "SRV":
        parts += ["."] if parts[-1].isdigit() else []  # the target that says that there is no such service
        parts = ["0", *parts] if len(parts) == 3 else parts
    if kind in ("CNAME", "MX", "SRV") and parts:
        parts[-1] = "." if parts[-1] == "." else parts[-1].removesuffix(".").lower()
    return " ".join(parts).lower() if kind == "TLSA" else " ".join(parts)
