"""A made-up workspace for tests of pages: a bakery with a domain, contacts, a template and campaigns in every state."""

from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from thurn.db.connect import Connection

SOURCE = """\
Hello {{ contact.first_name | default: 'there' }},

[order](https://brotzeit.example/order)

[Leave]({{ unsubscribe_url }})
"""
REPLY = "451 4.7.500 Server busy. Please try again later from [192.0.2.21]"


async def domain(db: Connection, *, name: str = "brotzeit.example", verified: bool = True) -> None:
    """A domain that may send, or may not yet."""
    await db.execute(
        """INSERT INTO domain (workspace_id, name, bounce_host, checked_at, verified_at)
           VALUES (1, %s, %s, now(), CASE WHEN %s THEN now() END)""",
        [name, f"bounce.{name}", verified],
    )


async def people(db: Connection, *, name: str = "Newsletter", n: int = 20, start: int = 0) -> int:
    """A list with `n` contacts; returns its id."""
    row = await (
        await db.execute("INSERT INTO list (workspace_id, name) VALUES (1, %s) RETURNING id", [name])
    ).fetchone()
    assert row is not None
    await db.execute(
        """WITH made AS (
             INSERT INTO contact (workspace_id, email, fields)
             SELECT 1, 'reader' || i || '@mail.example', %s FROM generate_series(%s::int, %s::int) i
             ON CONFLICT (workspace_id, lower(email)) DO UPDATE SET updated_at = now() RETURNING id)
           INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT %s, id, 1 FROM made""",
        [Jsonb({"first_name": "Theresa"}), start, start + n - 1, row["id"]],
    )
    return int(row["id"])


async def template(db: Connection, *, name: str = "Stollen", source: str = SOURCE, kind: str = "markdown") -> int:
    """A template; returns its id."""
    row = await (
        await db.execute(
            """INSERT INTO template (workspace_id, name, kind, subject, source)
               VALUES (1, %s, %s, 'The first stollen of the year', %s) RETURNING id""",
            [name, kind, source],
        )
    ).fetchone()
    assert row is not None
    return int(row["id"])


async def campaign(
    db: Connection,
    *,
    name: str = "Stollen is out of the oven",
    state: str = "draft",
    recipients: int = 0,
    tallies: dict[str, dict[str, int]] | None = None,
    lists: list[int] | None = None,
    template_id: int | None = None,
    started: datetime | None = None,
    took: timedelta = timedelta(minutes=42),
    reason: str = "",
    workspace: int = 1,
) -> int:
    """A campaign with its figures by provider; returns its id."""
    launched = state != "draft"
    begun = started or (datetime.now().astimezone() - timedelta(hours=1) if launched else None)
    ended = begun + took if begun and state in ("sent", "cancelled") else None
    row = await (
        await db.execute(
            """INSERT INTO campaign (workspace_id, name, from_name, from_address, template_id, kind, subject, source,
                 state, state_reason, recipients, started_at, finished_at)
               VALUES (%s, %s, 'Brotzeit', 'news@brotzeit.example', %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id""",
            [
                workspace, name, template_id,
                *(["markdown", "The first stollen of the year", SOURCE] if launched else [None] * 3),
                state, reason, recipients, begun, ended,
            ],
        )
    ).fetchone()  # fmt: skip
    assert row is not None
    id_ = int(row["id"])
    for list_id in lists or []:
        await db.execute("INSERT INTO campaign_list VALUES (%s, %s, %s)", [id_, list_id, workspace])
    for provider, measures in (tallies or {}).items():
        for measure, n in measures.items():
            await db.execute(
                """INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
                   VALUES (%s, %s, %s, %s, %s)""",
                [workspace, id_, provider, measure, n],
            )
    return id_


async def deliveries(db: Connection, campaign_id: int, state: str, category: str, reply: str, n: int) -> None:
    """Rows of the ledger with a reason."""
    await db.execute(
        """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, state, category, reply)
           SELECT %s, 1, (random() * 1e12)::bigint, 'x', 'google', %s, %s, %s FROM generate_series(1, %s)""",
        [campaign_id, state, category, reply, n],
    )


def provider(recipients: int, delivered: float, retrying: float = 0, bounced: float = 0) -> dict[str, int]:
    """Tallies of a provider from shares of its recipients."""
    taken = round(recipients * delivered)
    put_off, refused = round(recipients * retrying), round(recipients * bounced)
    return {
        "recipients": recipients,
        "handed_over": taken + put_off + refused,
        "delivered": taken,
        "deferred": put_off,
        "bounced_hard": refused,
        "deferred_then_delivered": taken // 20,
        "opened_human": round(taken * 0.319),
        "opened_machine": round(taken * 0.242),
        "clicked_human": round(taken * 0.055),
        "clicked_machine": round(taken * 0.017),
        "unsubscribed": taken // 700,
        "complained": taken // 9000,
    }


async def links(db: Connection, campaign_id: int) -> None:
    """Tracked links with clicks of people and machines."""
    for number, (url, human, machine) in enumerate(
        [("https://brotzeit.example/pumpkin", 1352, 688), ("https://brotzeit.example/shops", 288, 688),
         ("https://brotzeit.example/stories/where-the-hokkaido-pumpkins-of-kelheim-grow-and-why", 175, 687)], 1,
    ):  # fmt: skip
        await db.execute("INSERT INTO campaign_link VALUES (%s, %s, 1, %s)", [campaign_id, number, url])
        for actor, n in (("human", human), ("machine", machine)):
            await db.execute(
                "INSERT INTO link_tally (workspace_id, campaign_id, number, actor, n) VALUES (1, %s, %s, %s, %s)",
                [campaign_id, number, actor, n],
            )


async def machines(db: Connection, campaign_id: int, *, opened: int, clicked: int) -> None:
    """Recipients of whom nothing but machines was seen: the first `clicked` of `opened` also followed links."""
    await db.execute(
        """INSERT INTO engagement (campaign_id, delivery_id, workspace_id, opened_machine, clicked_machine)
           SELECT %s, i, 1, now(), CASE WHEN i <= %s THEN now() END FROM generate_series(1, %s) i""",
        [campaign_id, clicked, opened],
    )


FULL = {
    "google": provider(14900, 0.762, 0.006, 0.004),
    "microsoft": provider(8117, 0.372, 0.096, 0.010),
    "gmx": provider(7944, 0.845, 0.030, 0.014),
    "apple": provider(3610, 0.881, 0.002, 0.006),
    "yahoo": provider(1402, 0.839, 0.016, 0.011),
    "other": provider(2723, 0.812, 0.010, 0.027),
}
SENT = {name: provider(each["recipients"], 0.984, 0, 0.016) for name, each in FULL.items()}


def total(tallies: dict[str, dict[str, int]]) -> int:
    """Recipients of all providers."""
    return sum(each["recipients"] for each in tallies.values())


async def bakery(db: Connection) -> dict[str, int]:
    """Everything at once; name -> id of the campaigns."""
    await domain(db)
    await domain(db, name="konditorei-donaudampfschifffahrt.example", verified=False)
    newsletter = await people(db, n=60)
    regulars = await people(db, name="Café regulars", n=20, start=50)
    mail = await template(db)
    now = datetime.now().astimezone()
    common = {"lists": [newsletter, regulars], "template_id": mail}
    ids = {}
    for days, name in ((60, "Harvest festival at the Kornmarkt shop"), (20, "A roll for your thoughts: shop survey")):
        ids[name] = await campaign(
            db,
            name=name,
            state="sent",
            recipients=total(SENT),
            tallies=SENT,
            started=now - timedelta(days=days),
            **common,
        )
    ids["sent"] = await campaign(
        db,
        name="Pumpkin bread is back",
        state="sent",
        recipients=total(SENT),
        tallies=SENT,
        started=now - timedelta(days=2),
        **common,
    )
    await links(db, ids["sent"])
    await machines(db, ids["sent"], opened=9754, clicked=688)
    await deliveries(db, ids["sent"], "bounced", "unknown-address", "550 5.1.1 No such user here", 402)
    await deliveries(db, ids["sent"], "bounced", "mailbox-full", "552 5.2.2 Mailbox full", 97)
    ids["cancelled"] = await campaign(
        db, name="Christmas opening hours", state="cancelled", recipients=400, started=now - timedelta(days=3),
        tallies={"google": {"recipients": 400, "handed_over": 100, "delivered": 100, "cancelled": 300}}, **common,
    )  # fmt: skip
    ids["paused"] = await campaign(
        db, name="Café regulars: breakfast on us", state="paused", recipients=2118,
        reason="6.2% bounced in the first 500. Most addresses come from loyalty cards of 2019.",
        tallies={"other": {"recipients": 2118, "handed_over": 500, "delivered": 469, "bounced_hard": 31}}, **common,
    )  # fmt: skip
    ids["draft"] = await campaign(db, name="Saint Nicholas workshop for children", **common)
    ids["sending"] = await campaign(db, state="sending", recipients=total(FULL), tallies=FULL, **common)
    await deliveries(db, ids["sending"], "deferred", "rate-limited", REPLY, 783)
    await deliveries(
        db, ids["sending"], "deferred", "greylisted", "450 4.7.1 Greylisted, please try again in 300 seconds", 240
    )
    await deliveries(db, ids["sending"], "bounced", "unknown-address", "550 5.1.1 No such user here", 302)
    await db.execute(
        """INSERT INTO contact_import (workspace_id, filename, path, state, rows_added, rows_refused)
           VALUES (1, 'saturday.csv', '', 'done', 3026, 214)"""
    )
    return ids
