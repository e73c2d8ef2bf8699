"""Campaigns for fault tests: launched by the service, counted by the receivers."""

import os
import signal
import time
from collections.abc import Callable

import psycopg

from thurn.campaigns import pace, service
from thurn.db.connect import connect, conninfo
from thurn.dns.check import check_domain
from thurn.dns.facts import facts
from thurn.dns.records import records
from thurn.mailhost.service import add_domain, get_domain_by_id
from thurn.settings import Settings
from thurn.simulate import client
from thurn.stack.control import status

HTML = '<p>Hello {{ contact.first_name }}</p><p><a href="{{ unsubscribe_url }}">Leave</a></p>'


# What the receivers answer stands before the dot: most take mail, some greylist, some refuse.
# So few are refused for good that the guard does not pause the campaign; a prime number, so that each provider has all.
KINDS = tuple({13: "unknown", 29: "full", 5: "grey", 25: "grey", 45: "grey"}.get(n, "plain") for n in range(61))
DOMAINS = ("gmail.example", "outlook.example", "gmx.example", "yahoo.example", "university.example")


def address(number: int, mark: object) -> str:
    """The address of recipient `number`; `_ADDRESS` is the same in SQL."""
    return f"{KINDS[number % len(KINDS)]}.{number}.{mark}@{DOMAINS[number % len(DOMAINS)]}"


_ADDRESS = "(%(kinds)s::text[])[1 + i %% 61] || '.' || i || '.' || %(t)s || '@' || (%(domains)s::text[])[1 + i %% 5]"


async def launch(
    settings: Settings,
    recipients: int,
    *,
    workspace: int = 1,
    domain: str = "house.example",
    speed: int | None = None,
) -> tuple[int, list[str]]:
    """Launch a campaign to `recipients` people at four providers, `speed` mails a minute; its id and the addresses."""
    async with await connect(settings, "system", autocommit=True) as db, db.transaction():
        if not await (await db.execute("SELECT 1 FROM domain WHERE name = %s", [domain])).fetchone():
            number = await add_domain(db, workspace, name=domain, settings=settings)
            found = facts(await get_domain_by_id(db, number), settings)
            client.publish(
                settings, [{"name": r.name, "type": r.type, "value": v} for r in records(found) for v in r.values]
            )
            await check_domain(db, number, settings)
        # One in twelve addresses does not exist, which the guard of campaigns would rightly stop.
        await db.execute(
            """INSERT INTO sending_guard (workspace_id, enabled) VALUES (%s, false)
               ON CONFLICT (workspace_id) DO UPDATE SET enabled = false""",
            [workspace],
        )
        row = await (
            await db.execute(
                "INSERT INTO template (workspace_id, name, kind, subject, source)"
                " VALUES (%s, 'T' || clock_timestamp(), 'html', 'Hi', %s) RETURNING id",
                [workspace, HTML],
            )
        ).fetchone()
        template = (row or {})["id"]
        row = await (
            await db.execute(
                f"""WITH l AS (INSERT INTO list (workspace_id, name) VALUES (%(w)s, 'L' || %(t)s) RETURNING id),
                        c AS (INSERT INTO contact (workspace_id, email)
                              SELECT %(w)s, {_ADDRESS}
                              FROM generate_series(1, %(n)s) i RETURNING id),
                        m AS (INSERT INTO list_member (list_id, contact_id, workspace_id)
                              SELECT l.id, c.id, %(w)s FROM l, c)
                   SELECT id FROM l""",  # noqa: S608 - a constant
                {"w": workspace, "t": str(template), "n": recipients, "kinds": list(KINDS), "domains": list(DOMAINS)},
            )
        ).fetchone()
        campaign = await service.create(
            db,
            workspace,
            name="Fault",
            from_name="House",
            from_address=f"post@{domain}",
            template_id=template,
            list_ids=[(row or {})["id"]],
        )
        await pace.put(db, campaign, pace.Pace(speed_limit=speed))
    async with await connect(settings, "system") as db:
        await service.launch(db, workspace, campaign, settings)
    return campaign, [address(i, template) for i in range(1, recipients + 1)]


def accepted(settings: Settings) -> int:
    """How many messages the receivers have taken so far, of all campaigns."""
    return int(client.status(settings)["accepted"])


def wait_until_accepted(settings: Settings, count: int, patience: float = 180) -> None:
    """Wait until the receivers have taken `count` messages."""
    end = time.monotonic() + patience
    while accepted(settings) < count:
        assert time.monotonic() < end, f"only {accepted(settings)} of {count} messages after {patience} s"
        time.sleep(0.05)


def kill(settings: Settings, role: str) -> None:
    """kill -9 of the role's main process: PostgreSQL's postmaster, Postfix's master, our process itself."""
    end = time.monotonic() + 90
    while not (pid := status(settings)[role].process.pid):  # it may be starting again after the last one
        assert time.monotonic() < end, f"{role} does not run"
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)


def tallies(settings: Settings, campaign: int) -> dict[str, int]:
    """What the ledger says; empty while the database is away."""
    try:
        with psycopg.connect(conninfo(settings, "system")) as db:
            rows = db.execute(
                "SELECT measure, sum(n)::int FROM campaign_tally WHERE campaign_id = %s GROUP BY 1", [campaign]
            )
            return dict(rows.fetchall())
    except psycopg.OperationalError:
        return {}


SETTLED = ("delivered", "bounced_hard", "bounced_soft", "failed", "unknown")


def wait_until_settled(
    settings: Settings,
    campaign: int,
    recipients: int,
    patience: float = 300,
    *,
    retry: float | None = None,
    meanwhile: Callable[[Settings], None] | None = None,
) -> dict[str, int]:
    """Wait until the ledger has an outcome for everybody, `unknown` ones included; returns the tallies.

    `retry`: after so many seconds, and again after as many more, do what `thurn queue retry` does. `meanwhile` is
    called again and again.
    """
    begun = time.monotonic()
    end = begun + patience
    retried = 0
    while True:
        if meanwhile:
            meanwhile(settings)
        if retry and time.monotonic() > begun + (retried + 1) * retry:
            with psycopg.connect(conninfo(settings, "system")) as db:
                db.execute("INSERT INTO queue_retry (node) VALUES (%s)", [settings.node])
            retried += 1
        found = tallies(settings, campaign)
        if sum(found.get(measure, 0) for measure in SETTLED) >= recipients:
            return found
        assert time.monotonic() < end, f"after {patience} s the ledger says {found}"
        time.sleep(0.25)
