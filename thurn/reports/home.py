"""What the home page says: how far the set-up is, what needs a person, and the last 30 days."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from thurn.alerts import open_alerts
from thurn.campaigns.figures import Figures, figures
from thurn.campaigns.progress import tallies
from thurn.db.connect import Connection, Row
from thurn.db.fetch import one, rows
from thurn.web.words import count


@dataclass(frozen=True, slots=True)
class Setup:
    """The stops of the set-up route, and whether each has been reached."""

    domain: str  # the first domain, or ""
    verified: bool
    contacts: int
    templates: int
    campaigns: int  # launched, whatever became of them

    @property
    def done(self) -> list[bool]:
        """In the order of the route."""
        return [bool(self.domain), self.verified, bool(self.contacts), bool(self.templates), bool(self.campaigns)]

    @property
    def complete(self) -> bool:
        """Nothing left to set up: a campaign was sent."""
        return bool(self.campaigns)


async def setup(db: Connection) -> Setup:
    """How far this workspace has come."""
    row = await one(
        db,
        """SELECT coalesce((SELECT name FROM domain ORDER BY verified_at NULLS LAST, id LIMIT 1), '') AS domain,
                  EXISTS (SELECT FROM domain WHERE verified_at IS NOT NULL) AS verified,
                  (SELECT count(*) FROM contact) AS contacts,
                  (SELECT count(*) FROM template) AS templates,
                  (SELECT count(*) FROM campaign WHERE started_at IS NOT NULL) AS campaigns""",
    )
    return Setup(**row)


@dataclass(frozen=True, slots=True)
class Need:
    """Something only a person can settle. `link` is below the workspace."""

    level: Literal["bad", "warn", "paused"]
    what: str
    why: str
    act: str
    link: str


async def needs(db: Connection) -> list[Need]:
    """Everything that waits for a person, worst first."""
    found = [
        *await _alerts(db),
        *await _domains(db),
        *await _campaigns(db),
        *await _complaints(db),
        *await _imports(db),
    ]
    return sorted(found, key=lambda need: ("bad", "paused", "warn").index(need.level))


async def _alerts(db: Connection) -> list[Need]:
    return [
        Need(row["level"], row["subject"], row["text"].partition("\n\n")[0], row["act"] or "Look", row["link"])
        for row in await open_alerts(db)
    ]


async def _domains(db: Connection) -> list[Need]:
    unverified = await rows(
        db,
        """SELECT name, checked_at FROM domain d WHERE verified_at IS NULL
             AND NOT EXISTS (SELECT FROM alert a WHERE a.cleared_at IS NULL AND a.workspace_id = d.workspace_id
                             AND a.level = 'bad' AND a.link = 'domains/' || d.name)
           ORDER BY name LIMIT 20""",
    )
    return [
        Need(
            "bad" if row["checked_at"] else "warn",
            f"The DNS records of {row['name']} are not {'right' if row['checked_at'] else 'in place yet'}",
            "Mail from this domain cannot be sent: providers would take it for a forgery.",
            "Show the records",
            f"domains/{row['name']}",
        )
        for row in unverified
    ]


async def _campaigns(db: Connection) -> list[Need]:
    stuck = await rows(
        db,
        """SELECT id, name, state, state_reason FROM campaign
           WHERE (state = 'paused' OR (state = 'draft' AND state_reason <> ''))
             AND NOT EXISTS (SELECT FROM alert a WHERE a.cleared_at IS NULL AND a.key = 'guard:' || campaign.id)
           ORDER BY id DESC LIMIT 20""",
    )
    found = []
    for row in stuck:
        paused = row["state"] == "paused"
        what = f"“{row['name']}” is paused" if paused else f"“{row['name']}” could not be started"
        why = row["state_reason"] or "It waits until somebody goes on or cancels it."
        act, page = ("See how far it is", "progress") if paused else ("See why", "check")
        found.append(Need("paused" if paused else "bad", what, why, act, f"campaigns/{row['id']}/{page}"))
    return found


# Google's and Yahoo's rules for senders, 2024: stay below 0.1 %, never reach 0.3 %. Fewer than five say nothing.
COMPLAINTS_WARN, COMPLAINTS_BAD, COMPLAINTS_LEAST = 0.001, 0.003, 5


async def _complaints(db: Connection) -> list[Need]:
    found = []
    since = "SELECT * FROM campaign WHERE started_at > now() - interval '14 days' ORDER BY id DESC LIMIT 20"
    for row, now in await _with_figures(db, await rows(db, since)):
        share = now.complained / now.delivered if now.delivered else 0.0
        if now.complained < COMPLAINTS_LEAST or share < COMPLAINTS_WARN:
            continue
        found.append(
            Need(
                "bad" if share >= COMPLAINTS_BAD else "warn",
                f"{now.complained:,} people called “{row['name']}” spam",
                f"That is {share:.2%} of those who got it; from 0.1% on providers trust you less, from 0.3% on they "
                "refuse mail. These people get nothing more. Find out where their addresses came from.",
                "Open the report",
                f"campaigns/{row['id']}/report",
            )
        )
    return found


async def _imports(db: Connection) -> list[Need]:
    imports = await rows(
        db,
        """SELECT id, filename, state, error, rows_refused, rows_added + rows_updated AS taken FROM contact_import
           WHERE created_at > now() - interval '14 days' AND (state = 'failed' OR rows_refused > 0)
           ORDER BY id DESC LIMIT 5""",
    )
    found = []
    for row in imports:
        if row["state"] == "failed":
            what, level = f"The import of {row['filename']} failed", "bad"
            why = row["error"] or "The file could not be read. Nothing else is affected."
        else:
            refused = count(row["rows_refused"], "row", "rows")
            what = f"{refused} of {row['filename']} {'was' if row['rows_refused'] == 1 else 'were'} not taken"
            level = "warn"
            others = "contact of this file is in" if row["taken"] == 1 else "contacts of this file are in"
            why = f"The reason stands beside each. {row['taken']:,} other {others}."
        need = Need("bad" if level == "bad" else "warn", what, why, "Review", f"contacts/import/{row['id']}")
        found.append(need)
    return found


async def sending(db: Connection) -> list[tuple[Row, Figures]]:
    """Campaigns that are being sent now, with the names of their lists."""
    found = await rows(
        db,
        """SELECT c.*, (SELECT coalesce(array_agg(l.name ORDER BY l.name), '{}') FROM campaign_list cl
                        JOIN list l ON l.id = cl.list_id WHERE cl.campaign_id = c.id) AS lists
           FROM campaign c WHERE state IN ('launching', 'sending') ORDER BY id DESC LIMIT 10""",
    )
    return await _with_figures(db, found)


async def recent(db: Connection, limit: int = 5) -> list[tuple[Row, Figures]]:
    """The campaigns sent last."""
    found = await rows(
        db, "SELECT * FROM campaign WHERE state IN ('sent', 'cancelled') ORDER BY id DESC LIMIT %s", [limit]
    )
    return await _with_figures(db, found)


async def _with_figures(db: Connection, found: list[Row]) -> list[tuple[Row, Figures]]:
    counts = await tallies(db, [row["id"] for row in found])
    return [(row, figures(row["recipients"], counts[row["id"]])) for row in found]


@dataclass(frozen=True, slots=True)
class Month:
    """Thirty days of campaigns, added up."""

    campaigns: int
    figures: Figures


async def month(db: Connection, *, back: int = 0) -> Month:
    """The last 30 days, or with `back=30` the 30 days before them; campaigns count when they were started."""
    found = await rows(
        db,
        """SELECT id, recipients FROM campaign
           WHERE started_at <= now() - make_interval(days => %(back)s)
             AND started_at > now() - make_interval(days => %(back)s + 30)""",
        {"back": back},
    )
    return Month(len(found), await _sum(db, found))


async def _sum(db: Connection, found: list[Row]) -> Figures:
    total: dict[str, int] = defaultdict(int)
    each: dict[int, Mapping[str, int]] = {**await tallies(db, [row["id"] for row in found])}
    for counts in each.values():
        for measure, n in counts.items():
            total[measure] += n
    return figures(sum(row["recipients"] for row in found), total)
