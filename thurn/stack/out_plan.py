"""The plan of `out`: which egresses this node has and what each may do at each provider. Pure but for reading the file.

The truth is in the database, which is not there yet when the daemons are made ready. So `keeper` writes down what it
has loaded into Postfix (`out/plan.json`): `thurn up` renders from that, and the sender uses no egress beside it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from thurn.delivery.providers import Limits, book

PLAN = "out/plan.json"


@dataclass(frozen=True, slots=True)
class Relay:
    """Another server that takes mail. `secret`: which password it is (a hash of it as sealed); empty: none."""

    host: str
    port: int
    security: str  # starttls, tls, none
    fingerprint: str = ""
    secret: str = ""
    connections: int = 5


@dataclass(frozen=True, slots=True)
class Egress:
    """Where mail leaves. Empty addresses: the system chooses; empty name: the server's; `relay`: by that server."""

    name: str
    bind4: str = ""
    bind6: str = ""
    helo: str = ""
    relay: Relay | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator says instead of the book, for Postfix; `egress` empty: at all of them."""

    egress: str
    provider: str
    connections: int | None = None
    per_connection: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """At least one egress with addresses of its own; the first carries what names one that is gone.

    `people`: the egress of people's mail.
    """

    egresses: tuple[Egress, ...] = (Egress("e1"),)
    overrides: tuple[Override, ...] = ()
    people: Egress | None = None

    @property
    def direct(self) -> tuple[Egress, ...]:
        """Those that deliver themselves."""
        return tuple(egress for egress in self.egresses if egress.relay is None)

    @property
    def relays(self) -> tuple[tuple[str, Relay], ...]:
        """Those that do not: name and server."""
        return tuple((egress.name, egress.relay) for egress in self.egresses if egress.relay)

    def limits(self, egress: str, provider: str) -> Limits:
        """Connections and mails a connection of a lane."""
        limits = book()[provider].limits
        for override in sorted(self.overrides, key=lambda each: each.egress != ""):
            if override.provider == provider and override.egress in ("", egress):
                limits = replace(
                    limits,
                    connections=override.connections or limits.connections,
                    per_connection=override.per_connection or limits.per_connection,
                )
        return limits

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), indent=1) + "\n"


def plan_of(rows: Sequence[Mapping[str, Any]], overrides: Sequence[Mapping[str, Any]], people: str) -> Plan:
    """From rows of `egress` and `provider_limit`, the latter with the egress's name."""
    egresses = tuple(
        Egress(r["name"], r["bind4"] or "", r["bind6"] or "", r["helo"], _relay(r)) for r in rows
    )  # fmt: skip
    if all(egress.relay for egress in egresses):
        egresses = (*Plan().egresses, *egresses)
    known = {egress.name for egress in egresses} | {""}
    return Plan(
        egresses,
        tuple(
            Override(r["egress"] or "", r["provider"], r["connections"], r["per_connection"])
            for r in overrides
            if (r["egress"] or "") in known and r["provider"] in book()
        ),
        next((egress for egress in egresses if egress.name == people), None),
    )


def _relay(row: Mapping[str, Any]) -> Relay | None:
    if row.get("host") is None:
        return None
    sealed = row["password"]
    secret = hashlib.sha256(bytes(sealed)).hexdigest() if sealed is not None else ""
    return Relay(row["host"], row["port"], row["security"], row["fingerprint"], secret, row["connections"])


def _egress(kept: Mapping[str, Any]) -> Egress:
    return Egress(**{**kept, "relay": Relay(**kept["relay"]) if kept.get("relay") else None})


def load_plan(state: Path) -> Plan:
    """What is loaded into Postfix; one egress without addresses if nothing was written down yet."""
    try:
        kept = json.loads((state / PLAN).read_text())
    except FileNotFoundError:
        return Plan()
    return Plan(
        tuple(map(_egress, kept["egresses"])),
        tuple(Override(**each) for each in kept["overrides"] if each["provider"] in book()),
        _egress(kept["people"]) if kept["people"] else None,
    )
