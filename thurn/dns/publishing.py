"""Publishing a domain's records: where its DNS is kept, what would change, and doing it."""

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.dns.changes import Change, changes
from thurn.dns.facts import facts
from thurn.dns.findings import Answers
from thurn.dns.publish_api import PROVIDERS, ApiPublisher
from thurn.dns.publish_rfc2136 import ALGORITHMS, Rfc2136Publisher
from thurn.dns.records import below, records
from thurn.mail.dns import make_resolver
from thurn.mailhost.names import domain_name
from thurn.problems import Conflict, Invalid
from thurn.secrets import Secrets
from thurn.settings import Settings

RFC2136 = "rfc2136"
_PATIENCE = 60.0  # seconds for a whole publication


class Publisher(Protocol):
    """A way into a zone. Both raise `Conflict` with a sentence for people."""

    types: tuple[str, ...]
    title: str

    async def current(self, name: str, kind: str) -> Answers:
        """What the zone holds."""

    async def apply(self, wanted: Sequence[Change]) -> None:
        """Make the changes that create or replace."""


async def put(
    db: Connection, domain: Row, settings: Settings, *, provider: str, zone: str = "", access: dict[str, str]
) -> None:
    """Keep where a domain's DNS is and how to get in, sealed. `Invalid` with the field and the reason."""
    if provider != RFC2136 and provider not in PROVIDERS:
        raise Invalid("provider", f"Known are {RFC2136}, {', '.join(PROVIDERS)}.")
    try:
        zone = domain_name(zone) if zone.strip() else domain["name"]
    except Invalid as error:
        raise Invalid("zone", error.message) from error
    if not below(domain["name"], zone):
        raise Invalid("zone", f"{domain['name']} does not lie in the zone {zone}.")
    needed = ("server", "key_name", "key_secret") if provider == RFC2136 else ("token",)
    clean = {key: value.strip() for key, value in access.items() if value.strip()}
    for field in needed:
        if field not in clean:
            raise Invalid(field, "This is needed.")
    if unknown := set(clean) - {*needed, *(("port", "algorithm") if provider == RFC2136 else ())}:
        raise Invalid(min(unknown), "This is not asked for.")
    if provider == RFC2136:
        Rfc2136Publisher.of(zone, clean)
    elif not clean["token"].isascii() or not clean["token"].isprintable():
        raise Invalid("token", "A token has plain characters only.")
    await db.execute(
        """INSERT INTO domain_publisher (domain_id, workspace_id, provider, zone, access) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (domain_id) DO UPDATE SET provider = excluded.provider, zone = excluded.zone,
             access = excluded.access, updated_at = now()""",
        [
            domain["id"], domain["workspace_id"], provider, zone,
            Secrets(settings.state).seal(json.dumps(clean).encode(), _label(domain["name"])),
        ],
    )  # fmt: skip


async def get(db: Connection, domain: Row) -> Row | None:
    """Where the DNS is kept: provider, zone, updated_at. Never how to get in."""
    return await maybe(
        db, "SELECT provider, zone, updated_at FROM domain_publisher WHERE domain_id = %s", [domain["id"]]
    )


async def forget(db: Connection, domain: Row) -> None:
    """Destroy the way in."""
    await db.execute("DELETE FROM domain_publisher WHERE domain_id = %s", [domain["id"]])


async def preview(db: Connection, domain: Row, settings: Settings) -> list[Change]:
    """What `publish` would do now. `Conflict` when no way in is known or it does not work."""
    _, found = await _plan(db, domain, settings)
    return found


async def publish(db: Connection, domain: Row, settings: Settings, *, kinds: Collection[str] = ()) -> list[Change]:
    """Create and replace what is needed; returns what was done and what is left to do by hand. `kinds`: only these."""
    publisher, found = await _plan(db, domain, settings)
    found = [change for change in found if not kinds or change.record.kind in kinds]
    due = [change for change in found if change.action in ("create", "replace")]
    if due:
        try:
            async with asyncio.timeout(_PATIENCE):
                await publisher.apply(due)
        except TimeoutError as error:
            raise Conflict("The DNS provider took too long. Look at the records, then publish again.") from error
    return found


async def _plan(db: Connection, domain: Row, settings: Settings) -> tuple[Publisher, list[Change]]:
    row = await maybe(db, "SELECT * FROM domain_publisher WHERE domain_id = %s", [domain["id"]])
    if row is None:
        raise Conflict(f"Thurn does not know yet where the DNS of {domain['name']} is kept. Set it up first.")
    access: dict[str, Any] = json.loads(Secrets(settings.state).unseal(row["access"], _label(domain["name"])))
    publisher: Publisher
    if row["provider"] == RFC2136:
        house = await maybe(db, "SELECT 1 FROM workspace WHERE id = %s AND slug = 'main'", [domain["workspace_id"]])
        publisher = Rfc2136Publisher.of(
            row["zone"], access, resolver=make_resolver(settings.nameservers), inside=house is not None,
            outside=not settings.simulate,
        )  # fmt: skip
    elif settings.simulate:
        raise Conflict("This installation is a simulation: it asks no provider outside of this machine.")
    else:
        publisher = ApiPublisher(row["provider"], row["zone"], access["token"])
    wanted = [record for record in records(facts(domain, settings)) if below(record.name, row["zone"])]
    asked = list(dict.fromkeys((record.name, record.type) for record in wanted))
    asked += [(r.name, kind) for r in wanted if r.type == "CNAME" for kind in ("A", "AAAA", "TXT")]
    try:
        async with asyncio.timeout(_PATIENCE):
            answers = await asyncio.gather(*(publisher.current(name, kind) for name, kind in asked))
    except TimeoutError as error:
        raise Conflict("The name server or DNS provider did not answer in time. Nothing was changed.") from error
    found = dict(zip(asked, answers, strict=True))
    return publisher, changes(wanted, found, zone=row["zone"], types=publisher.types, at=publisher.title)


def _label(domain: str) -> str:
    return f"dns-access:{domain}"


__all__ = ["ALGORITHMS", "PROVIDERS", "RFC2136", "forget", "get", "preview", "publish", "put"]
