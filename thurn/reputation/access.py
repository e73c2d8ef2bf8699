"""Access to what providers tell their senders: sealed in the database, asked four times a day, figures kept a year."""

import json
from datetime import UTC, datetime
from typing import Literal

import httpx
import structlog
from cryptography.exceptions import InvalidTag
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.problems import Invalid, NotFound
from thurn.reputation import google, snds
from thurn.secrets import Secrets
from thurn.settings import Settings

log = structlog.get_logger()

Provider = Literal["google", "microsoft"]
PROVIDERS: tuple[Provider, ...] = ("google", "microsoft")
_PATIENCE = 30.0  # seconds for one question


def _label(provider: str) -> str:
    return f"provider:{provider}"


async def put(db: Connection, settings: Settings, provider: Provider, given: dict[str, str]) -> None:
    """Keep access to a provider. `Invalid` for what cannot be one."""
    if any(len(value) > 20_000 for value in given.values()):
        raise Invalid("key", "That is far longer than any key.")
    access = google.check(given) if provider == "google" else snds.check(given)
    sealed = Secrets(settings.state).seal(json.dumps(access).encode(), _label(provider))
    await db.execute(
        """INSERT INTO provider_access (provider, sealed) VALUES (%s, %s)
           ON CONFLICT (provider) DO UPDATE
           SET sealed = excluded.sealed, updated_at = now(), asked_at = NULL, trouble = ''""",
        [provider, sealed],
    )


async def forget(db: Connection, provider: Provider) -> None:
    """Destroy the access; the figures stay. `NotFound` without one."""
    gone = await maybe(db, "DELETE FROM provider_access WHERE provider = %s RETURNING provider", [provider])
    if gone is None:
        raise NotFound("Thurn has no access there.")


async def listed(db: Connection) -> dict[str, Row]:
    """Where there is access, and how the last question went; never the access itself."""
    found = await rows(db, "SELECT provider, updated_at, asked_at, trouble FROM provider_access")
    return {row["provider"]: row for row in found}


async def newest(db: Connection, provider: Provider) -> list[Row]:
    """The newest figures of each subject: `subject`, `day`, `figures`."""
    return await rows(
        db,
        """SELECT DISTINCT ON (subject) subject, day, figures FROM provider_figure
           WHERE provider = %s AND day > now()::date - 60 ORDER BY subject, day DESC LIMIT 500""",
        [provider],
    )


async def ask_all(db: Connection, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> int:
    """Ask everywhere there is access, on an autocommit connection; returns how many figures came.

    Nothing is asked while everything is simulated, unless a test brings a stand-in as `transport`.
    """
    if settings.simulate and transport is None:
        return 0
    came = 0
    for row in await rows(db, "SELECT provider, sealed FROM provider_access ORDER BY provider"):
        found, trouble = await _ask(settings, row, transport)
        async with db.transaction():
            for subject, day, figures in found:
                await db.execute(
                    """INSERT INTO provider_figure (provider, subject, day, figures) VALUES (%s, %s, %s, %s)
                       ON CONFLICT (provider, subject, day) DO UPDATE SET figures = excluded.figures""",
                    [row["provider"], subject, day, Jsonb(figures)],
                )
            await db.execute(
                "UPDATE provider_access SET asked_at = now(), trouble = %s WHERE provider = %s",
                [trouble, row["provider"]],
            )
        came += len(found)
    await db.execute("DELETE FROM provider_figure WHERE day < now()::date - 400")
    return came


async def _ask(
    settings: Settings, row: Row, transport: httpx.AsyncBaseTransport | None
) -> tuple[list[tuple[str, object, dict[str, object]]], str]:
    """(subject, day, figures) of a provider, and why there are none."""
    try:
        access = json.loads(Secrets(settings.state).unseal(bytes(row["sealed"]), _label(row["provider"])))
    except (InvalidTag, ValueError):
        return [], "The access cannot be unsealed: the installation's master key is another. Give it again."
    # No proxies or certificates from the environment: the hosts are fixed, and so is the way to them.
    async with httpx.AsyncClient(
        timeout=_PATIENCE, follow_redirects=False, trust_env=False, transport=transport
    ) as client:
        try:
            if row["provider"] == "google":
                days = await google.ask(client, access, datetime.now(UTC).date())
                return [(each.domain, each.day, dict(each.figures)) for each in days], ""
            found = await snds.ask(client, access)
            return [(each.ip, each.day, dict(each.figures)) for each in found], ""
        except (google.Unanswered, snds.Unanswered) as why:
            log.warning("a provider did not answer", provider=row["provider"], why=str(why))
            return [], str(why)
