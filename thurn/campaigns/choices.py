"""What the campaign form offers, and whom a choice of lists would reach."""

from dataclasses import dataclass
from typing import Any

from thurn.audience.barring import condition
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows


@dataclass(frozen=True, slots=True)
class Choices:
    """Templates and lists to choose from, domains that may send, and the sender used last."""

    templates: list[Row]  # id, name, subject
    lists: list[Row]  # id, name, n: contacts on it
    domains: list[Row]  # name, verified_at
    last_sender: Row | None  # from_name, from_address, reply_to


async def choices(db: Connection) -> Choices:
    """Everything the form needs, of the workspace that `db` sees."""
    return Choices(
        templates=await rows(db, "SELECT id, name, subject FROM template ORDER BY updated_at DESC LIMIT 500"),
        lists=await rows(
            db,
            """SELECT l.id, l.name, (SELECT count(*) FROM list_member m WHERE m.list_id = l.id) AS n
               FROM list l ORDER BY l.name LIMIT 500""",
        ),
        domains=await rows(db, "SELECT name, verified_at FROM domain ORDER BY verified_at NULLS LAST, name LIMIT 100"),
        last_sender=await maybe(db, "SELECT from_name, from_address, reply_to FROM campaign ORDER BY id DESC LIMIT 1"),
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a set of lists would reach now. `lists` adds up: each list counts only who is on none above it."""

    lists: list[tuple[str, int, int]]  # name, contacts on it, how many of them are new here
    unsubscribed: int
    suppressed: int
    people: int


async def reach(db: Connection, list_ids: list[int]) -> Reach:
    """Count who would get a mail to these lists, each person once, in one pass over their members."""
    lists = await rows(db, "SELECT id, name FROM list WHERE id = ANY(%s) ORDER BY name", [list_ids])
    order = [row["id"] for row in lists]
    counted = await rows(
        db,
        """SELECT list_id, count(*) AS n, count(*) FILTER (WHERE first) AS new
           FROM (SELECT m.list_id, array_position(%(order)s::int[], m.list_id) =
                        min(array_position(%(order)s::int[], m.list_id)) OVER (PARTITION BY m.contact_id) AS first
                 FROM list_member m WHERE m.list_id = ANY(%(order)s)) members
           GROUP BY list_id""",
        {"order": order},
    )
    sizes: dict[Any, tuple[int, int]] = {row["list_id"]: (row["n"], row["new"]) for row in counted}
    total = await one(
        db,
        f"""SELECT count(*) FILTER (WHERE c.unsubscribed_at IS NOT NULL) AS unsubscribed,
                  count(*) FILTER (WHERE c.unsubscribed_at IS NULL AND b.barred) AS suppressed,
                  count(*) FILTER (WHERE c.unsubscribed_at IS NULL AND b.barred IS NULL) AS people
           FROM contact c LEFT JOIN LATERAL (
             SELECT true AS barred FROM suppression s WHERE {condition("c.email", "c.workspace_id")} LIMIT 1) b ON true
           WHERE c.id IN (SELECT contact_id FROM list_member WHERE list_id = ANY(%s))""",  # noqa: S608 - a constant
        [order],
    )
    return Reach(
        lists=[(row["name"], *sizes.get(row["id"], (0, 0))) for row in lists],
        unsubscribed=total["unsubscribed"],
        suppressed=total["suppressed"],
        people=total["people"],
    )


async def sample_contact(db: Connection, campaign: int) -> dict[str, str]:
    """Somebody who would get the mail, as the template sees them; a made-up reader when nobody is there yet."""
    row = await maybe(
        db,
        """SELECT c.email, c.fields FROM contact c
           WHERE c.unsubscribed_at IS NULL AND c.id IN (
             SELECT m.contact_id FROM list_member m JOIN campaign_list cl USING (list_id) WHERE cl.campaign_id = %s
             LIMIT 100)
           ORDER BY c.id LIMIT 1""",
        [campaign],
    )
    if row is None:
        return {"email": "reader@example.org"}
    return {"email": row["email"], **{str(k): str(v) for k, v in row["fields"].items()}}
