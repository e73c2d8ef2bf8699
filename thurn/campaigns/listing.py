"""The table of campaigns, a page at a time, by keyset."""

from thurn.campaigns.progress import tallies
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows

# What the tabs are called -> states of the database.
TABS: dict[str, tuple[str, ...]] = {
    "draft": ("draft",),
    "sending": ("launching", "sending"),
    "paused": ("paused",),
    "sent": ("sent",),
    "cancelled": ("cancelled",),
}
_ALL = tuple(state for states in TABS.values() for state in states)


async def campaign_page(db: Connection, *, tab: str = "", before: int | None = None, limit: int = 25) -> list[Row]:
    """Campaigns of a tab (all by default), newest first, older than `before`, each with its `tallies`."""
    found = await rows(
        db,
        """SELECT c.*, coalesce(c.subject, t.subject, '') AS shown_subject
           FROM campaign c LEFT JOIN template t ON t.id = c.template_id
           WHERE c.state = ANY(%(states)s) AND (%(before)s::bigint IS NULL OR c.id < %(before)s)
           ORDER BY c.id DESC LIMIT %(limit)s""",
        {"states": list(TABS.get(tab, _ALL)), "before": before, "limit": limit},
    )
    counts = await tallies(db, [row["id"] for row in found])
    return [row | {"tallies": counts[row["id"]]} for row in found]


async def newer(db: Connection, *, tab: str, before: int, limit: int = 25) -> int | None:
    """The `before` of the page of newer campaigns than those older than `before`; None: the first page."""
    row = await maybe(
        db,
        "SELECT id FROM campaign WHERE state = ANY(%s) AND id >= %s ORDER BY id LIMIT 1 OFFSET %s",
        [list(TABS.get(tab, _ALL)), before, limit],
    )
    return int(row["id"]) if row else None


async def counts(db: Connection) -> dict[str, int]:
    """How many campaigns each tab holds; "" is all of them."""
    found = await rows(db, "SELECT state, count(*) AS n FROM campaign GROUP BY state")
    by_state = {row["state"]: row["n"] for row in found}
    tabs = {tab: sum(by_state.get(state, 0) for state in states) for tab, states in TABS.items()}
    return {"": sum(by_state.values()), **tabs}
