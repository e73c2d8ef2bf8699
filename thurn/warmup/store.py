"""Warm-up over the database: what was answered in, plans and the caps of days out. One step at a time, restartable.

A decision and the caps that follow from it are one transaction under a lock. Caps are written for today and the days
after it, all as of today: when nobody decides, an address does not grow, and never goes without a cap.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from thurn.alerts import mail_owners, notify
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.delivery.providers import book
from thurn.warmup.decide import LOOK_BACK, Counts, Decision, Plan, new_day, within_day

AHEAD = 3  # days after today that have their cap already
PAGE = "/house/delivery/warmup"
_LOCK = 0x7468_7775  # "thwu": one decision at a time

_PLANS = """
SELECT w.*, e.name AS egress, t.day AS today,
       coalesce(u.used, 0) AS used, a.delivered, a.bounced, a.put_off, a.complained
FROM sending_day() t CROSS JOIN warmup w JOIN egress e ON e.id = w.egress_id
LEFT JOIN LATERAL (
  SELECT max(c.sent) AS used FROM day_cap c
  WHERE c.egress_id = w.egress_id AND c.provider = w.provider AND c.day >= w.decided AND c.day < t.day) u ON true
CROSS JOIN LATERAL (
  SELECT coalesce(sum(d.delivered), 0)::int AS delivered, coalesce(sum(d.bounced), 0)::int AS bounced,
         coalesce(sum(d.put_off), 0)::int AS put_off, coalesce(sum(d.complained), 0)::int AS complained
  FROM warmup_day d WHERE d.egress_id = w.egress_id AND d.provider = w.provider
    AND d.day >= greatest(w.counted_from, t.day - %s)) a
WHERE w.state IN ('running', 'paused') ORDER BY w.egress_id, w.provider
"""

# Whoever goes on, stops a plan or removes its address may not see the alerts of the house: they are taken back here.
_OVER = """
UPDATE alert a SET cleared_at = now() WHERE a.cleared_at IS NULL AND a.key LIKE 'warmup:%'
  AND NOT EXISTS (SELECT FROM warmup w JOIN egress e ON e.id = w.egress_id
                  WHERE a.key = 'warmup:' || e.name || ':' || w.provider AND w.state = 'paused' AND NOT w.by_hand)
"""


@dataclass(frozen=True, slots=True)
class Lane:
    """Whose plan it is."""

    egress_id: int
    egress: str
    provider: str

    @property
    def key(self) -> str:
        """Of its alert."""
        return f"warmup:{self.egress}:{self.provider}"

    @property
    def title(self) -> str:
        """Such as “e2 at Gmail”."""
        known = book().get(self.provider)
        return f"{self.egress} at {known.title if known else self.provider}"


async def today_of(db: Connection) -> date:
    """The sending day."""
    found: date = (await one(db, "SELECT day FROM sending_day()"))["day"]
    return found


async def in_lock(db: Connection) -> None:
    """Wait until no decision is under way; for those who change a plan by hand, in their transaction."""
    await db.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


async def step(db: Connection) -> int:
    """Look at every plan and decide what is to be decided; returns how many decisions were made."""
    await db.execute(_OVER)
    if not (await one(db, "SELECT EXISTS (SELECT FROM warmup WHERE state IN ('running', 'paused')) AS it"))["it"]:
        return 0
    async with db.transaction():
        locked = await maybe(db, "SELECT pg_try_advisory_xact_lock(%s) AS ok", [_LOCK])
        if not locked or not locked["ok"]:
            return 0
        done = []
        for row in await rows(db, _PLANS, [LOOK_BACK - 1]):
            decision = _decide(row)
            if decision is not None:
                lane = Lane(row["egress_id"], row["egress"], row["provider"])
                await write(db, lane, decision, row["today"], before=row["state"])
                done.append((lane, decision))
        await tell(db, done)
        if done:
            await db.execute(
                "DELETE FROM warmup_day d WHERE NOT EXISTS (SELECT FROM egress e WHERE e.id = d.egress_id)"
            )
        return len(done)


def plan_of(row: Row) -> Plan:
    """The plan of a row."""
    return Plan(
        tuple(row["curve"]), row["decided"], row["counted_from"], row["used_on"], row["step"], row["state"],
        row["by_hand"], row["clean"],
    )  # fmt: skip


def _decide(row: Row) -> Decision | None:
    plan, counts = plan_of(row), Counts(row["delivered"], row["bounced"], row["put_off"], row["complained"])
    return new_day(plan, row["used"], counts, row["today"]) or within_day(plan, counts, row["today"])


async def write(
    db: Connection, lane: Lane, decision: Decision, today: date, *, before: str = "", who: str = ""
) -> None:
    """Keep a decision with its reason, and write the caps that follow from it."""
    plan = decision.plan
    await db.execute(
        """UPDATE warmup SET state = %s, curve = %s, step = %s, by_hand = %s,
             reason = coalesce(nullif(%s, ''), reason), decided = %s, counted_from = %s, clean = %s,
             used_on = %s, since = CASE WHEN state = %s THEN since ELSE now() END
           WHERE egress_id = %s AND provider = %s""",
        [plan.state, list(plan.curve), plan.step, plan.by_hand, decision.why, plan.decided, plan.counted_from,
         plan.clean, plan.used_on, plan.state, lane.egress_id, lane.provider],
    )  # fmt: skip
    await note(db, lane, decision, today, who)
    await write_caps(db, lane, plan, today)


async def note(db: Connection, lane: Lane, decision: Decision, today: date, who: str = "") -> None:
    """Write down what was decided, for people: nothing where there is nothing new to say."""
    if decision.why:
        await db.execute(
            "INSERT INTO warmup_deed (egress_id, provider, day, what, cap, why, who)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [lane.egress_id, lane.provider, today, decision.what, decision.plan.cap, decision.why, who],
        )


async def write_caps(db: Connection, lane: Lane, plan: Plan, today: date) -> None:
    """The caps of today and the next days; none where nothing caps any more."""
    if plan.state in ("running", "paused"):
        await db.execute(
            """INSERT INTO day_cap (egress_id, provider, day, cap) SELECT %s, %s, %s::date + n, %s
               FROM generate_series(0, %s) n
               ON CONFLICT (egress_id, provider, day) DO UPDATE SET cap = excluded.cap""",
            [lane.egress_id, lane.provider, today, plan.cap, AHEAD],
        )
    else:
        await db.execute(
            "DELETE FROM day_cap WHERE egress_id = %s AND provider = %s AND day >= %s",
            [lane.egress_id, lane.provider, today],
        )


async def tell(db: Connection, done: Iterable[tuple[Lane, Decision]]) -> None:
    """An alert for each plan that paused itself, and one mail for all of a moment."""
    house = (await one(db, "SELECT id FROM workspace WHERE slug = 'main'"))["id"]
    told = []
    for lane, decision in done:
        if decision.what == "paused":
            subject = f"The warm-up of {lane.title} was paused"
            text = f"{decision.why}\n\n{_TODO}"
            if await notify(db, house, subject, text, lane.key, link=PAGE, act="See the warm-up", mail=False):
                told.append((subject, decision.why))
    if told:
        subject = told[0][0] if len(told) == 1 else f"The warm-up was paused at {len(told)} providers"
        text = "\n\n".join(f"{what}: {why}" for what, why in told)
        await mail_owners(db, house, subject, f"{text}\n\n{_TODO}")


_TODO = (
    "No mail is lost: what is above the cap leaves by another address or on another day. Find out what these readers "
    "did not expect, and mail those first who opened lately. The warm-up goes on by itself after two quiet days, or "
    "when you press Go on."
)
