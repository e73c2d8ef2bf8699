"""When will they have gone out: plans, pools and limits of the database, given to the forecast."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from thurn.campaigns.progress import Progress
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.delivery.board import PER_CONNECTION
from thurn.delivery.pacing import Rule, pool_of
from thurn.delivery.providers import LOCAL, OTHER, PROVIDERS, book
from thurn.problems import Invalid, NotFound
from thurn.warmup.decide import QUIET
from thurn.warmup.simulate import Forecast, Road, forecast

SAMPLE = 50_000  # members of a list that are looked at
MOST = 100_000_000
# Where nothing was sent yet: of lists of consumers in Europe and North America about so much.
ASSUMED = {"google": 0.5, "microsoft": 0.15, "yahoo": 0.1, "apple": 0.05, "other": 0.2}

_MEMBERS = """
SELECT m.pool_id, m.egress_id, m.rank, e.name, r.rate_per_minute
FROM pool_egress m JOIN egress e ON e.id = m.egress_id LEFT JOIN relay r ON r.egress_id = e.id
WHERE m.pool_id = %s AND e.enabled AND e.removed_at IS NULL AND r.broken_until IS NULL
ORDER BY m.rank, m.egress_id
"""
_PLANS = """
SELECT w.egress_id, w.provider, w.curve, w.step, w.state, w.overflow, w.by_hand, w.clean,
       greatest(0, w.cap - coalesce(c.sent, 0)) AS left
FROM sending_day() t CROSS JOIN warmup w
LEFT JOIN day_cap c ON c.egress_id = w.egress_id AND c.provider = w.provider AND c.day = t.day
WHERE w.state IN ('running', 'paused')
"""
_SUSPENDED = "SELECT egress_id, provider FROM pace WHERE suspended_until > now() OR factor <= 0"
_LIMITS = "SELECT egress_id, provider, connections, rate_per_minute FROM provider_limit"


@dataclass(frozen=True, slots=True)
class Held:
    """Recipients of a campaign that wait for addresses that warm up: all of them, or those that warm ones leave."""

    n: int
    until: datetime | None  # about; None: cannot be told
    egresses: tuple[str, ...]
    providers: tuple[str, ...]  # as people call them


class Roads:
    """What a pool can carry, looked up once."""

    def __init__(self, members: list[Row], plans: list[Row], suspended: list[Row], limits: list[Row]) -> None:
        self._members = members
        self._plans = {(row["egress_id"], row["provider"]): row for row in plans}
        self._suspended = {(row["egress_id"], row["provider"]) for row in suspended}
        self._limits = {(row["egress_id"] or 0, row["provider"]): row for row in limits}

    def to(self, provider: str) -> list[Road]:
        """The addresses that carry mail to a provider, as the sender's board chooses them."""
        found: list[Road] = []
        for rank in sorted({member["rank"] for member in self._members}):
            enough = False
            for member in self._members:
                if member["rank"] != rank or (member["egress_id"], provider) in self._suspended:
                    continue
                plan = self._plans.get((member["egress_id"], provider))
                found.append(self._road(member, provider, plan))
                enough = enough or plan is None or plan["overflow"] == "wait"
            if enough:
                break
        return found

    def _road(self, member: Row, provider: str, plan: Row | None) -> Road:
        limit = book()[provider].limits
        rate, connections = limit.rate_per_minute, limit.connections
        for said in (self._limits.get((0, provider)), self._limits.get((member["egress_id"], provider))):
            if said is not None:
                rate, connections = said["rate_per_minute"] or rate, said["connections"] or connections
        speeds = [rate or connections * PER_CONNECTION, member["rate_per_minute"]]
        speed = min(float(each) for each in speeds if each)
        if plan is None:
            return Road(member["name"], speed)
        caps = tuple(plan["curve"][plan["step"] - 1 :])
        holds = None if plan["by_hand"] else QUIET + 1 - plan["clean"] if plan["state"] == "paused" else 0
        return Road(member["name"], speed, caps, plan["left"], holds)


async def roads_of(db: Connection, pool: int) -> Roads:
    """What a pool can carry."""
    return Roads(
        await rows(db, _MEMBERS, [pool]), await rows(db, _PLANS), await rows(db, _SUSPENDED), await rows(db, _LIMITS)
    )


async def pool_named(db: Connection, name: str) -> int:
    """The pool; `Invalid` if there is none of that name."""
    row = await maybe(db, "SELECT id FROM pool WHERE name = %s", [name])
    if row is None:
        raise Invalid("pool", f"There is no pool “{name[:40]}”.")
    return int(row["id"])


async def pool_for(db: Connection, campaign: int) -> int:
    """The pool whose rule is the narrowest for a campaign."""
    row = await maybe(
        db,
        """SELECT c.workspace_id, (SELECT m.id FROM domain m WHERE m.name = lower(split_part(c.from_address, '@', 2)))
                  AS domain_id FROM campaign c WHERE c.id = %s""",
        [campaign],
    )
    if row is None:
        raise NotFound("There is no such campaign here.")
    found = await rows(db, "SELECT workspace_id, stream, campaign_id, domain_id, pool_id FROM pool_rule")
    rules = {Rule(r["stream"], r["workspace_id"], r["campaign_id"], r["domain_id"]): int(r["pool_id"]) for r in found}
    default = (await one(db, "SELECT id FROM pool WHERE name = 'default'"))["id"]
    return pool_of(row["workspace_id"], campaign, row["domain_id"], "marketing", rules, default)


def outlook(shares: Mapping[str, int], roads: Roads, now: datetime) -> dict[str, Forecast]:
    """By provider, the largest first."""
    largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return {provider: forecast(n, roads.to(provider), now) for provider, n in largest if n > 0}


# ---------------------------------------------------------------- audiences


def split(n: int, weights: Mapping[str, float]) -> dict[str, int]:
    """`n` shared by weights; what rounding leaves goes to the largest."""
    whole = sum(weights.values()) or 1.0
    parts = {name: int(n * weight / whole) for name, weight in weights.items()}
    if parts:
        largest = max(parts, key=lambda name: parts[name])
        parts[largest] += n - sum(parts.values())
    return {name: part for name, part in parts.items() if part}


async def usual(db: Connection) -> tuple[dict[str, float], bool]:
    """How recipients were shared among providers until now, and whether that is known (or only assumed)."""
    found = await rows(
        db,
        """SELECT provider, sum(n)::float AS n FROM campaign_tally WHERE measure = 'recipients'
           GROUP BY provider HAVING sum(n) > 0""",
    )
    weights = {row["provider"]: row["n"] for row in found if row["provider"] in PROVIDERS and row["provider"] != LOCAL}
    return (weights, True) if weights else (dict(ASSUMED), False)


async def of_lists(db: Connection, lists: Iterable[int]) -> dict[str, int]:
    """Members of lists by provider; of a long list a sample says how it is shared."""
    total: dict[str, int] = {}
    for number in lists:
        n = (await one(db, "SELECT count(*) AS n FROM list_member WHERE list_id = %s", [number]))["n"]
        found = await rows(
            db,
            """SELECT coalesce(p.provider, 'other') AS provider, count(*)::float AS n
               FROM (SELECT contact_id FROM list_member WHERE list_id = %s LIMIT %s) m
               JOIN contact c ON c.id = m.contact_id
               LEFT JOIN provider_domain p ON p.domain = lower(split_part(c.email, '@', 2))
               WHERE c.unsubscribed_at IS NULL GROUP BY 1""",
            [number, SAMPLE],
        )
        weights = {row["provider"]: row["n"] for row in found if row["provider"] in PROVIDERS}
        reached = n if n > SAMPLE else int(sum(weights.values()))
        for provider, part in split(reached, weights).items():
            total[provider] = total.get(provider, 0) + part
    return total


async def of_campaign(db: Connection, campaign: int) -> dict[str, int]:
    """Who waits in a campaign, by provider; of one that was not launched, the members of its lists."""
    row = await maybe(db, "SELECT state FROM campaign WHERE id = %s", [campaign])
    if row is None:
        raise Invalid("campaign", f"There is no campaign {campaign}.")
    if row["state"] == "draft":
        found = await rows(db, "SELECT list_id FROM campaign_list WHERE campaign_id = %s", [campaign])
        return await of_lists(db, [each["list_id"] for each in found])
    found = await rows(
        db,
        """SELECT provider, sum(CASE WHEN measure = 'recipients' THEN n ELSE -n END)::bigint AS n FROM campaign_tally
           WHERE campaign_id = %s AND measure IN ('recipients', 'handed_over', 'suppressed', 'cancelled', 'failed')
           GROUP BY provider""",
        [campaign],
    )
    return {each["provider"]: each["n"] for each in found if each["n"] > 0 and each["provider"] in PROVIDERS}


async def ask(
    db: Connection, *, n: int | None = None, list_id: int | None = None, campaign: int | None = None, pool: str = ""
) -> dict[str, Any]:
    """The answer for an audience: a number, a list, or what waits in a campaign. `Invalid` names what cannot be."""
    if [n, list_id, campaign].count(None) != 2:
        raise Invalid("n", "Name one thing: how many, a list, or a campaign.")
    known = True
    if n is not None:
        if not 1 <= n <= MOST:
            raise Invalid("n", f"Between 1 and {MOST:,} recipients.")
        weights, known = await usual(db)
        shares = split(n, weights)
    elif list_id is not None:
        if await maybe(db, "SELECT 1 FROM list WHERE id = %s", [list_id]) is None:
            raise Invalid("list_id", f"There is no list {list_id}.")
        shares = await of_lists(db, [list_id])
    else:
        shares = await of_campaign(db, campaign or 0)
    if pool or campaign is None:
        number = await pool_named(db, pool or "default")
    else:
        number = await pool_for(db, campaign)
    now = datetime.now(UTC)
    found = outlook(shares, await roads_of(db, number), now)
    ends = [each.until for each in found.values()]
    return {
        "n": sum(shares.values()),
        "shares": shares,
        "known": known,
        "found": found,
        "pool": (await one(db, "SELECT name FROM pool WHERE id = %s", [number]))["name"],
        "until": None if None in ends or not ends else max(end for end in ends if end is not None),
    }


# ---------------------------------------------------------------- what the pages of a campaign say


async def _any(db: Connection) -> bool:
    row = await one(db, "SELECT EXISTS (SELECT FROM warmup WHERE state IN ('running', 'paused')) AS it")
    return bool(row["it"])


async def beforehand(db: Connection, campaign: int) -> dict[str, Any] | None:
    """What `ask` says of a campaign that warm-up would spread over several days; None: it would not."""
    if not await _any(db):
        return None
    answer = await ask(db, campaign=campaign)
    return answer if any(each.capped or each.left for each in answer["found"].values()) else None


async def held(db: Connection, campaign: int, progress: Progress) -> Held | None:
    """Who waits in a campaign because of warm-up; None: nobody."""
    if progress.state != "sending" or not progress.waiting:
        return None
    if not await _any(db):
        return None
    roads = await roads_of(db, await pool_for(db, campaign))
    n, ends, providers = 0, [], []
    egresses: dict[str, None] = {}
    for provider, counts in progress.by_provider.items():
        there = roads.to(provider) if provider in book() and counts["waiting"] else []
        cold = [road for road in there if road.caps]
        waiting = counts["waiting"]
        if len(cold) < len(there):
            waiting = min(waiting, sum(road.left or 0 for road in cold))
        if cold and waiting:
            n += waiting
            ends.append(forecast(waiting, cold, datetime.now(UTC)).until)
            egresses |= dict.fromkeys(road.egress for road in cold)
            providers.append("other servers" if provider == OTHER else book()[provider].title)
    if not n:
        return None
    until = None if None in ends else max(end for end in ends if end is not None)
    return Held(n, until, tuple(egresses), tuple(providers))
