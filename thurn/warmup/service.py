"""Plans as operators see and change them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Literal

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, rows
from thurn.delivery.providers import LOCAL, PROVIDERS, book
from thurn.problems import Conflict, Invalid, NotFound
from thurn.warmup.curve import Curve, checked, preset
from thurn.warmup.decide import Decision, Plan, What
from thurn.warmup.store import Lane, in_lock, plan_of, today_of, write

Overflow = Literal["pool", "wait"]
OVERFLOWS: dict[Overflow, str] = {
    "pool": "Others of the pool take it",
    "wait": "It waits for the next day",
}
EVERY = tuple(name for name in PROVIDERS if name != LOCAL)

_LISTED = """
SELECT w.egress_id, e.name AS egress, w.provider, w.state, w.curve, w.step, w.cap, w.overflow, w.by_hand, w.reason,
       w.since, w.started_at, w.decided, w.counted_from, w.clean, w.used_on, t.day AS today,
       coalesce(c.sent, 0) AS sent, w.state = 'running' AND w.step = 1 AND NOT EXISTS (
         SELECT FROM day_cap u WHERE u.egress_id = w.egress_id AND u.provider = w.provider AND u.sent > 0) AS idle,
       CASE WHEN w.state IN ('running', 'paused')
            THEN greatest(0, coalesce(c.cap, w.cap) - coalesce(c.sent, 0)) END AS left
FROM sending_day() t CROSS JOIN warmup w JOIN egress e ON e.id = w.egress_id
LEFT JOIN day_cap c ON c.egress_id = w.egress_id AND c.provider = w.provider AND c.day = t.day
"""


async def listed(db: Connection) -> list[Row]:
    """Every plan, by address and in the order of the book."""
    found = await rows(db, _LISTED + " ORDER BY w.egress_id, w.provider")
    order = {name: at for at, name in enumerate(PROVIDERS)}
    return sorted(map(_shaped, found), key=lambda row: (row["egress_id"], order.get(row["provider"], len(order))))


async def get(db: Connection, egress: str, provider: str) -> Row:
    """One plan, as listed."""
    row = await maybe(db, _LISTED + " WHERE e.name = %s AND w.provider = %s", [egress, provider])
    if row is None:
        raise NotFound(f"There is no warm-up of “{egress}” at “{provider}”.")
    return _shaped(row)


def _shaped(row: Row) -> Row:
    known = book().get(row["provider"])
    return {**row, "title": known.title if known else row["provider"], "days": len(row["curve"])}


async def history(db: Connection, row: Row, limit: int = 60) -> list[Row]:
    """Days of a plan, the newest first: cap and sent, and what providers said."""
    return await rows(
        db,
        """SELECT coalesce(c.day, d.day) AS day, c.cap, coalesce(c.sent, 0) AS sent,
                  coalesce(d.delivered, 0) AS delivered, coalesce(d.bounced, 0) AS bounced,
                  coalesce(d.put_off, 0) AS put_off, coalesce(d.complained, 0) AS complained
           FROM (SELECT * FROM day_cap WHERE egress_id = %(egress)s AND provider = %(provider)s AND day <= %(today)s) c
           FULL JOIN (SELECT * FROM warmup_day WHERE egress_id = %(egress)s AND provider = %(provider)s) d
             ON d.day = c.day ORDER BY 1 DESC LIMIT %(limit)s""",
        {"egress": row["egress_id"], "provider": row["provider"], "today": row["today"], "limit": limit},
    )


async def deeds(db: Connection, row: Row, limit: int = 30) -> list[Row]:
    """What was decided about a plan, the newest first."""
    return await rows(
        db,
        "SELECT at, day, what, cap, why, who FROM warmup_deed WHERE egress_id = %s AND provider = %s"
        " ORDER BY id DESC LIMIT %s",
        [row["egress_id"], row["provider"], limit],
    )


async def candidates(db: Connection) -> list[str]:
    """Addresses that could be warmed up: no plan of theirs caps. Relays have a reputation of their own."""
    found = await rows(
        db,
        """SELECT e.name FROM egress e WHERE e.kind = 'address' AND e.removed_at IS NULL
           AND NOT EXISTS (SELECT FROM warmup w WHERE w.egress_id = e.id AND w.state IN ('running', 'paused'))
           ORDER BY e.id""",
    )
    return [row["name"] for row in found]


async def start(
    db: Connection, egress: str, *, curve: Curve | None = None, providers: Sequence[str] = EVERY,
    overflow: Overflow = "pool", who: str = "",
) -> list[Row]:  # fmt: skip
    """Warm an address up, at every provider of the book or those that are named. `curve` None: as curves.toml says."""
    await in_lock(db)
    if overflow not in OVERFLOWS:
        raise Invalid("overflow", "What is above the cap goes to the `pool`, or it has to `wait`.")
    unknown = [name for name in providers if name not in EVERY]
    if unknown or not providers:
        raise Invalid("providers", f"There is no provider “{', '.join(unknown)[:60]}” in the book.")
    row = await maybe(db, "SELECT id, kind FROM egress WHERE name = %s AND removed_at IS NULL", [egress])
    if row is None:
        raise Invalid("egress", f"There is no sending address “{egress[:40]}”.")
    if row["kind"] != "address":
        raise Invalid("egress", "A relay sends by addresses of its own. Only our addresses are warmed up.")
    today = await today_of(db)
    begun = []
    for provider in providers:
        caps = checked(curve) if curve is not None else preset(provider).curve
        made = await maybe(
            db,
            """INSERT INTO warmup AS w (egress_id, provider, curve, overflow, decided, counted_from, used_on)
               VALUES (%(egress)s, %(provider)s, %(curve)s, %(overflow)s, %(day)s, %(day)s, %(day)s)
               ON CONFLICT (egress_id, provider) DO UPDATE SET curve = excluded.curve, step = 1,
                 overflow = excluded.overflow, started_at = now(), since = now(), state = 'running'
               WHERE w.state NOT IN ('running', 'paused') RETURNING egress_id""",
            {"egress": row["id"], "provider": provider, "curve": list(caps), "overflow": overflow, "day": today},
        )
        if made is None:
            continue
        plan = Plan(caps, today, today, today)
        said = f"At most {plan.cap:,} on the first day, {caps[-1]:,} on day {len(caps)}; then it is warm."
        lane = Lane(row["id"], egress, provider)
        await write(db, lane, Decision(plan, "started", said), today, who=who)
        begun.append(provider)
    if not begun:
        raise Conflict(f"“{egress}” is warming up there already.")
    return [each for each in await listed(db) if each["egress"] == egress]


async def change(
    db: Connection, egress: str, provider: str, *, curve: Curve | None = None, step: int | None = None,
    overflow: Overflow | None = None, who: str = "",
) -> Row:  # fmt: skip
    """Change the curve, the day of it that counts, or what happens above the cap; what is None stays."""
    row, plan, today = await _found(db, egress, provider)
    if overflow is not None and overflow not in OVERFLOWS:
        raise Invalid("overflow", "What is above the cap goes to the `pool`, or it has to `wait`.")
    curve = checked(curve) if curve is not None else plan.curve
    at = step if step is not None else min(plan.step, len(curve))
    if not 1 <= at <= len(curve):
        raise Invalid("step", f"The curve has the days 1 to {len(curve)}.")
    if overflow is not None:
        await db.execute(
            "UPDATE warmup SET overflow = %s WHERE egress_id = %s AND provider = %s",
            [overflow, row["egress_id"], provider],
        )
    if (curve, at) != (plan.curve, plan.step):
        after = replace(plan, curve=curve, step=at)
        said = f"Changed by hand: {after.cap:,} today, {curve[-1]:,} at the end."
        await _by_hand(db, row, after, "changed", said, today, who)
    return await get(db, egress, provider)


async def pause(db: Connection, egress: str, provider: str, *, who: str = "") -> Row:
    """Hold a plan at its cap until somebody goes on."""
    row, plan, today = await _found(db, egress, provider)
    why = f"Paused by hand. It stays at {plan.cap:,} a day until somebody goes on."
    await _by_hand(db, row, replace(plan, state="paused", by_hand=True), "paused", why, today, who)
    return await get(db, egress, provider)


async def resume(db: Connection, egress: str, provider: str, *, who: str = "") -> Row:
    """Go on; what was answered until now is forgiven."""
    row, plan, today = await _found(db, egress, provider)
    if plan.state != "paused":
        raise Conflict("It is not paused.")
    # What came today before somebody decided cannot be told from what comes after: the whole day is forgiven.
    after = replace(plan, state="running", by_hand=False, clean=0, counted_from=_next(today))
    await _by_hand(db, row, after, "resumed", f"Goes on from {after.cap:,} a day, by hand.", today, who)
    return await get(db, egress, provider)


def _next(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


async def stop(db: Connection, egress: str, provider: str, *, who: str = "") -> None:
    """End a plan: no cap from now on."""
    row, plan, today = await _found(db, egress, provider)
    await _by_hand(db, row, replace(plan, state="off"), "stopped", "Stopped by hand: there is no cap now.", today, who)


async def of_all(db: Connection, egress: str, act: Any, who: str = "") -> int:
    """Pause, resume or stop every plan of an address that it can be done to; returns how many."""
    done = 0
    wanted = {"paused"} if act is resume else {"running"} if act is pause else {"running", "paused"}
    for row in await listed(db):
        if row["egress"] == egress and row["state"] in wanted:
            await act(db, egress, row["provider"], who=who)
            done += 1
    if not done:
        raise Conflict(f"There is nothing of “{egress[:40]}” to which this could be done.")
    return done


async def _found(db: Connection, egress: str, provider: str) -> tuple[Row, Plan, date]:
    """A plan that caps, and nobody deciding about it meanwhile."""
    await in_lock(db)
    row = await get(db, egress, provider)
    if row["state"] not in ("running", "paused"):
        raise Conflict("This warm-up is over. Start it again if the address needs it.")
    return row, plan_of(row), row["today"]


async def _by_hand(db: Connection, row: Row, after: Plan, what: What, why: str, today: date, who: str) -> None:
    lane = Lane(row["egress_id"], row["egress"], row["provider"])
    await write(db, lane, Decision(after, what, why), today, who=who)
