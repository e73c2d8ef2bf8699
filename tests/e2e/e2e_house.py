"""An installation to be used as people use it: its accounts, what is furnished beforehand, and the `thurn` command."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from thurn.accounts.service import create_account
from thurn.campaigns import service as campaigns
from thurn.db.connect import Connection, Row, connect
from thurn.db.fetch import one
from thurn.dns import publishing
from thurn.dns.check import check_domain
from thurn.dns.facts import facts
from thurn.dns.records import records
from thurn.mailhost import rotate
from thurn.mailhost.mailboxes import add_mailbox
from thurn.mailhost.service import add_domain, get_domain, get_domain_by_id
from thurn.settings import Settings
from thurn.simulate import client

T = TypeVar("T")
PATIENCE = 120.0  # seconds; the machine may be busy
LETTER = """\
Good morning {{ contact.first_name | default: "neighbour" }},

the first stollen of the year has left the oven. [Order one](https://shop.brotzeit.example/stollen), or look at
[our opening hours](https://www.brotzeit.example/shops).
"""


@dataclass(frozen=True)
class House:
    """A workspace with one person who may sign in."""

    settings: Settings
    id: int
    slug: str
    email: str
    password: str

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"{self.settings.url}/w/{self.slug}"

    async def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """One transaction that sees this workspace only."""
        async with await connect(self.settings, "app") as db, db.transaction():
            await db.execute("SELECT set_config('thurn.workspace', %s, true)", [str(self.id)])
            return await work(db)

    async def row(self, query: str, values: Any = ()) -> Row:
        """The one row of a query in this workspace."""
        return await self.do(lambda db: one(db, query, values))


def thurn(settings: Settings, *arguments: str) -> Any:
    """The `thurn` command with `--json`; what it prints."""
    command = [str(Path(sys.executable).with_name("thurn")), *arguments, "--state", str(settings.state), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return json.loads(done.stdout)


async def open_house(settings: Settings, slug: str) -> House:
    """A new workspace (`main` is there already) with an owner."""
    email, password = f"anna@{slug}.example", "a long enough password"
    async with await connect(settings, "system", autocommit=True) as db:
        row = await one(
            db,
            "INSERT INTO workspace (slug, name) VALUES (%s, %s) ON CONFLICT (slug) DO UPDATE SET slug = excluded.slug"
            " RETURNING id",
            [slug, slug.capitalize()],
        )
        await create_account(db, email=email, name="Anna Lindner", password=password, workspace=row["id"])
    return House(settings, row["id"], slug, email, password)


async def eventually(what: str, look: Callable[[], Awaitable[T]], patience: float = PATIENCE) -> T:
    """Look again and again until there is something; what another process does gives no event to wait for."""
    end = time.monotonic() + patience
    while not (found := await look()):
        assert time.monotonic() < end, f"not in {patience:.0f} s: {what}"
        await asyncio.sleep(0.2)
    return found


# ---------------------------------------------------------------- furniture


async def verified_domain(house: House, name: str) -> None:
    """A domain with its records published and found."""

    async def work(db: Connection) -> None:
        number = await add_domain(db, house.id, name=name, settings=house.settings)
        wanted = records(facts(await get_domain_by_id(db, number), house.settings))
        published = [{"name": r.name, "type": r.type, "value": v} for r in wanted for v in r.values]
        await asyncio.to_thread(client.publish, house.settings, published)
        await check_domain(db, number, house.settings)

    await house.do(work)


async def broken_domain(house: House, name: str) -> None:
    """One with a wrong record of some kinds and none of others, keys that are to follow, and a way into its DNS."""
    await verified_domain(house, name)
    wrong = {"name": name, "type": "TXT", "value": "v=spf1 include:_spf.elsewhere.example -all"}

    async def work(db: Connection) -> None:
        row = await get_domain(db, name)
        for gone in (f"_dmarc.{name}", f"autoconfig.{name}"):
            await asyncio.to_thread(client.withdraw, house.settings, gone)
        await asyncio.to_thread(client.publish, house.settings, [wrong])
        await check_domain(db, row["id"], house.settings)
        await rotate.start(db, row, house.settings)
        access = {"server": "127.0.0.1", "key_name": "thurn-key", "key_secret": "c2VjcmV0"}
        await publishing.put(db, row, house.settings, provider="rfc2136", access=access)

    await house.do(work)


async def people(house: House, name: str, addresses: list[str]) -> int:
    """A list with these on it; returns its id."""
    values = {"w": house.id, "name": name, "addresses": addresses}
    row = await house.row(
        """WITH l AS (INSERT INTO list (workspace_id, name) VALUES (%(w)s, %(name)s) RETURNING id),
                c AS (INSERT INTO contact (workspace_id, email, fields)
                      SELECT %(w)s, unnest(%(addresses)s::text[]), '{"first_name": "Theresa", "city": "Fürth"}'
                      RETURNING id),
                m AS (INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT l.id, c.id, %(w)s FROM l, c)
           SELECT id FROM l""",
        values,
    )
    return int(row["id"])


async def letter(house: House, name: str = "Stollen") -> int:
    """A template; returns its id."""
    row = await house.row(
        "INSERT INTO template (workspace_id, name, kind, subject, source)"
        " VALUES (%s, %s, 'markdown', '{{ contact.first_name }}, the stollen is out of the oven', %s) RETURNING id",
        [house.id, name, LETTER],
    )
    return int(row["id"])


async def draft(house: House, name: str, *, sender: str, template: int | None, lists: list[int]) -> int:
    """A campaign that was not sent yet; returns its id."""
    return await house.do(
        lambda db: campaigns.create(
            db, house.id, name=name, from_name="Brotzeit", from_address=sender, template_id=template, list_ids=lists
        )
    )


async def launch(house: House, campaign: int) -> None:
    """Start sending."""
    await house.do(lambda db: campaigns.launch(db, house.id, campaign, house.settings))


async def tallies(house: House, campaign: int) -> dict[str, int]:
    """Measure -> people."""
    row = await house.row(
        """SELECT coalesce(jsonb_object_agg(measure, n), '{}') AS found FROM
             (SELECT measure, sum(n)::int AS n FROM campaign_tally WHERE campaign_id = %s GROUP BY measure) t""",
        [campaign],
    )
    return dict(row["found"])


async def state_of(house: House, campaign: int) -> str:
    """The state of a campaign."""
    return str((await house.row("SELECT state::text AS state FROM campaign WHERE id = %s", [campaign]))["state"])


async def sent(house: House, campaign: int) -> None:
    """Wait until every recipient has an outcome."""

    async def look() -> bool:
        return await state_of(house, campaign) == "sent"

    await eventually("the campaign is sent", look)


async def returned(house: House) -> int:
    """Wait until a bounce or a complaint has come back; the newest."""

    async def look() -> int:
        row = await house.row("SELECT max(id) AS id FROM incoming_report WHERE workspace_id = current_workspace()")
        return int(row["id"] or 0)

    return await eventually("something came back", look)


async def mailbox(house: House, address: str, name: str = "") -> None:
    """A mailbox."""
    await house.do(lambda db: add_mailbox(db, house.id, address=address, name=name))
