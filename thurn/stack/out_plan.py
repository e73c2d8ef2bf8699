"""The plan of `out`: which egresses this node has and what each may do at each provider. Pure but for reading the file.

The truth is in the database, which is not there yet when the daemons are made ready. So `keeper` writes down what it
has loaded into Postfix (`out/plan.json`): `thurn up` renders from that, and the sender uses no egress beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from thurn.delivery.providers import Limits, book

PLAN = "out/plan.json"


@dataclass(frozen=True, slots=True)
class Egress:
    """Where mail leaves. Empty addresses: the system chooses; empty name: the server's."""

    name: str
    bind4: str = ""
    bind6: str = ""
    helo: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator says instead of the book, for Postfix; `egress` empty: at all of them."""

    egress: str
    provider: str
    connections: int | None = None
    per_connection: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """At least one egress; the first carries what names one that is gone. `people`: the egress of people's mail."""

    egresses: tuple[Egress, ...] = (Egress("e1"),)
    overrides: tuple[Override, ...] = ()
    people: Egress | None = None

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
    egresses = tuple(Egress(r["name"], r["bind4"] or "", r["bind6"] or "", r["helo"]) for r in rows)
    known = {egress.name for egress in egresses} | {""}
    return Plan(
        egresses or Plan().egresses,
        tuple(
            Override(r["egress"] or "", r["provider"], r["connections"], r["per_connection"])
            for r in overrides
            if (r["egress"] or "") in known and r["provider"] in book()
        ),
        next((egress for egress in egresses if egress.name == people), None),
    )


def load_plan(state: Path) -> Plan:
    """What is loaded into Postfix; one egress without addresses if nothing was written down yet."""
    try:
        kept = json.loads((state / PLAN).read_text())
    except FileNotFoundError:
        return Plan()
    return Plan(
        tuple(Egress(**each) for each in kept["egresses"]),
        tuple(Override(**each) for each in kept["overrides"] if each["provider"] in book()),
        Egress(**kept["people"]) if kept["people"] else None,
    )
