"""The state of all lanes of a node, read from the database each half second: what pacing decides on."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from thurn.db.connect import Connection
from thurn.db.fetch import rows
from thurn.delivery.claims import Lane as Waiting
from thurn.delivery.pacing import Lane, LaneKey, Member, Rule, divide, pool_of
from thurn.delivery.providers import PROVIDERS, book
from thurn.warmup.curve import per_minute, reachable

PER_CONNECTION = 60.0  # mails a minute over one connection, where a slowed lane has no limit of its own
_ANSWERS = ("delivered", "deferred", "bounced_hard", "bounced_soft", "unknown")
NODE_STALE = 15.0  # seconds without a word, and another node counts as unable to take mail
_SMOOTH = 0.3  # weight of the newest figure

# Only campaigns of which something may still be on its way: what others have counted stands still.
_COUNTED = """
SELECT t.egress_id, t.provider,
       sum(t.n) FILTER (WHERE t.measure = 'handed_over')::bigint AS handed_over,
       sum(t.n) FILTER (WHERE t.measure = ANY(%s))::bigint AS answered
FROM campaign c JOIN lane_tally t ON t.campaign_id = c.id
WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled')
  AND (c.state <> 'cancelled' OR c.finished_at IS NULL OR c.finished_at > now() - interval '10 days')
GROUP BY t.egress_id, t.provider
"""
_PACE = """
SELECT egress_id, provider, factor, coalesce(suspended_until > now(), false) AS suspended, moves FROM pace
"""
# A lane that warms up has a cap whether or not somebody has written today's.
_CAPS = """
SELECT egress_id, provider, greatest(0, coalesce(c.cap - c.sent, w.cap)) AS left, coalesce(c.cap, w.cap) AS cap,
       w.cap IS NOT NULL AS warming, coalesce(w.overflow = 'wait', false) AS waits,
       extract(epoch FROM t.length)::float / 60 AS length, extract(epoch FROM t.remains)::float / 60 AS remains
FROM (SELECT * FROM day_cap WHERE day = (SELECT day FROM sending_day())) c
FULL JOIN (SELECT * FROM warmup WHERE state IN ('running', 'paused')) w USING (egress_id, provider)
CROSS JOIN sending_day() t
"""
RESERVE = 5000  # mails that warm egresses leave to one that warms up: they are counted at each claim


def _warming(lane: Lane, cap: Mapping[str, Any]) -> Lane:
    """A lane whose cap is spread over the day; the others leave it what it will take today at its present pace."""
    lane = replace(lane, spread=per_minute(cap["cap"], cap["left"], cap["length"], cap["remains"]), waits=cap["waits"])
    if lane.suspended or lane.factor <= 0:
        return lane
    return replace(lane, reserved=reachable(cap["left"], lane.pace or 0.0, cap["remains"]))


@dataclass(slots=True)
class Board:
    """What was read last."""

    names: dict[int, str] = field(default_factory=dict)  # of egresses of this node that take new mail
    lanes: dict[LaneKey, Lane] = field(default_factory=dict)
    pools: dict[int, tuple[Member, ...]] = field(default_factory=dict)
    rules: dict[Rule, int] = field(default_factory=dict)
    default: int = 0
    suspended: frozenset[tuple[str, str]] = frozenset()  # of all egresses of this node: name, provider
    instead: dict[str, str] = field(default_factory=dict)  # broken relay -> the egress that carries what it has
    away: dict[LaneKey, Lane] = field(default_factory=dict)  # of egresses of other nodes that can take mail now
    heard: bool = True  # whether the other nodes count this one
    moved: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # suspended lane -> the egress that carries the same
    rates: dict[int, float] = field(default_factory=dict)  # of relays that have one, mails a minute to everybody
    _totals: dict[LaneKey, tuple[int, float, float]] = field(default_factory=dict)

    def pool(self, lane: Waiting) -> tuple[tuple[int, int], ...]:
        """This node's egresses, with weights, that carry mail of a campaign to a provider."""
        return tuple((member.egress, member.weight) for member in self._able(lane) if member.egress in self.names)

    def parts(self, waiting: Iterable[Waiting]) -> dict[int, float]:
        """This node's part of the speed of each campaign that has a limit, in mails a minute.

        All nodes reckon alike, from the same tables, so that the parts add up to the limit. A node that the others do
        not count, as its keeper is silent, has none while another can send.
        """
        speeds: dict[int, float] = {}
        able: dict[int, dict[int, tuple[int, float | None]]] = {}
        for lane in waiting:
            if lane.speed is None:
                continue
            speeds[lane.campaign] = lane.speed
            members = able.setdefault(lane.campaign, {})
            for member in self._able(lane):
                _, before = members.get(member.egress, (0, 0.0))
                members[member.egress] = member.weight, self._most(member.egress, lane.provider, before)
        found = {}
        for campaign, speed in speeds.items():
            parts = divide(speed, able[campaign])
            mine = [part for egress, part in parts.items() if egress in self.names]
            found[campaign] = sum(mine) if self.heard or len(mine) == len(parts) else 0.0
        return found

    def _most(self, egress: int, provider: str, before: float | None) -> float | None:
        """Mails a minute that an egress can do at a provider, beside what it can `before`; None: no limit is known."""
        lane = self._any(egress, provider)
        pace = None if lane is None else lane.pace
        whole = self.rates.get(egress)
        return whole if pace is None or before is None else min(before + pace, whole or before + pace)

    def _able(self, lane: Waiting) -> list[Member]:
        """Members of its pool, on all nodes, that can take it: of the first rank in which one can.

        One that warms up takes little at a time: the next rank is asked beside it, unless its mail is to wait.
        """
        chosen = pool_of(lane.workspace, lane.campaign, lane.domain, "marketing", self.rules, self.default)
        members = self.pools.get(chosen, ())
        able: list[Member] = []
        for rank in sorted({member.rank for member in members}):
            here = [m for m in members if m.rank == rank]
            able += [m for m in here if self._can(m.egress, lane.provider)]
            if any(self._is_enough(m.egress, lane.provider) for m in here):
                break
        return able

    def _is_enough(self, egress: int, provider: str) -> bool:
        lane = self._any(egress, provider)
        if lane is None or lane.spread is None:
            return self._can(egress, provider)
        return lane.waits and not lane.suspended and lane.factor > 0

    def spare(self, lane: Waiting, egress: int) -> int:
        """How many mails an egress leaves in the queue for those that warm up beside it, which take them slowly."""
        mine = self.lanes.get((egress, lane.provider))
        if mine is None or mine.spread is not None:
            return 0
        beside = [self._any(member.egress, lane.provider) for member in self._able(lane) if member.egress != egress]
        return min(RESERVE, sum(each.reserved for each in beside if each is not None and each.room > 0))

    def _any(self, egress: int, provider: str) -> Lane | None:
        """A lane, of whatever node."""
        return self.lanes.get((egress, provider)) or self.away.get((egress, provider))

    def _can(self, egress: int, provider: str) -> bool:
        lane = self._any(egress, provider)
        return lane is not None and not lane.suspended and lane.factor > 0 and lane.cap_left != 0

    def took(self, key: LaneKey, n: int) -> None:
        """Count what was claimed until the next look."""
        if (lane := self.lanes.get(key)) is not None:  # its egress may have been removed meanwhile
            left = None if lane.cap_left is None else lane.cap_left - n
            reserved = lane.reserved if left is None else max(0, min(lane.reserved, left))
            self.lanes[key] = replace(lane, in_flight=lane.in_flight + n, cap_left=left, reserved=reserved)

    async def read(self, db: Connection, node: str, usable: frozenset[str]) -> None:
        """Look at everything. `usable`: the egresses that Postfix has loaded."""
        egresses = await rows(
            db,
            """SELECT e.id, e.name, e.kind, e.enabled AND e.removed_at IS NULL AS open, r.rate_per_minute,
                      r.broken_until IS NOT NULL AS broken, e.node,
                      coalesce(n.able AND n.seen_at > now() - make_interval(secs => %s), false) AS heard
               FROM egress e LEFT JOIN relay r ON r.egress_id = e.id LEFT JOIN node n ON n.name = e.node""",
            [NODE_STALE],
        )
        self.heard = all(r["heard"] for r in egresses if r["node"] == node)
        egresses = [r for r in egresses if r["heard"] or r["node"] == node]
        elsewhere = {r["id"] for r in egresses if r["node"] != node and r["open"]}
        broken_away = {r["id"] for r in egresses if r["node"] != node and r["broken"]}
        self.rates = {r["id"]: float(r["rate_per_minute"]) for r in egresses if r["rate_per_minute"]}
        egresses = [r for r in egresses if r["node"] == node]
        members = await rows(
            db, "SELECT pool_id, egress_id, weight, rank FROM pool_egress ORDER BY pool_id, egress_id", []
        )
        found = await rows(db, "SELECT id FROM pool WHERE name = 'default'", [])
        rules = await rows(db, "SELECT workspace_id, stream, campaign_id, domain_id, pool_id FROM pool_rule", [])
        limits = await rows(db, "SELECT egress_id, provider, connections, rate_per_minute FROM provider_limit", [])
        paces = {(r["egress_id"], r["provider"]): r for r in await rows(db, _PACE, [])}
        caps = {(r["egress_id"], r["provider"]): r for r in await rows(db, _CAPS, [])}
        counted = {(r["egress_id"], r["provider"]): r for r in await rows(db, _COUNTED, [list(_ANSWERS)])}
        self.names = {r["id"]: r["name"] for r in egresses if r["open"] and r["name"] in usable}
        every = {r["id"]: r["name"] for r in egresses}
        direct = {r["id"] for r in egresses if r["kind"] == "address" and r["id"] in self.names}
        broken = {r["id"] for r in egresses if r["broken"]}
        self.instead = {}
        for relay in broken:
            beside = {m["pool_id"] for m in members if m["egress_id"] == relay}
            others = [m["egress_id"] for m in members if m["pool_id"] in beside and m["egress_id"] in direct]
            if others:
                self.instead[every[relay]] = every[others[0]]
        self.suspended = frozenset(
            (every[egress], provider)
            for (egress, provider), pace in paces.items()
            if egress in every and provider in book() and (pace["suspended"] or pace["factor"] <= 0)
        ) | frozenset(
            (every[relay], provider) for relay in broken if every[relay] not in self.instead for provider in PROVIDERS
        )
        self.default = found[0]["id"] if found else 0
        self.rules = {
            Rule(r["stream"], r["workspace_id"], r["campaign_id"], r["domain_id"]): r["pool_id"] for r in rules
        }
        pools: dict[int, list[Member]] = {}
        for r in members:
            if r["egress_id"] in self.names or r["egress_id"] in elsewhere:
                pools.setdefault(r["pool_id"], []).append(Member(r["egress_id"], r["weight"], r["rank"]))
        self.pools = {pool: tuple(inside) for pool, inside in pools.items()}
        said = {(r["egress_id"] or 0, r["provider"]): r for r in limits}
        now = time.monotonic()
        self.lanes = {
            (egress, provider): self._lane((egress, provider), said, paces, caps, counted, now)
            for egress in self.names
            for provider in PROVIDERS
        }
        for key, lane in self.lanes.items():
            if key[0] in broken:
                self.lanes[key] = replace(lane, suspended=True)
        self.away = {
            (egress, provider): self._lane((egress, provider), said, paces, caps, counted, now)
            for egress in elsewhere - broken_away
            for provider in PROVIDERS
        }
        moving = [key for key, pace in paces.items() if pace["moves"] and pace["suspended"] and key[0] in every]
        self.moved = {
            (every[egress], provider): self.names[other]
            for egress, provider in sorted(moving)
            if (other := self._takes_over(egress, provider, members, direct)) is not None
        }

    def _takes_over(self, egress: int, provider: str, members: list[dict[str, Any]], direct: set[int]) -> int | None:
        """Who carries what Postfix holds for an address that a provider has blocked.

        Only one that may carry all of it: of each pool the address is in, for nobody's mail leaves by a stranger's; not
        one that warms up, for such mail is not counted against its cap.
        """
        pools = {m["pool_id"] for m in members if m["egress_id"] == egress}
        ranks: dict[int, list[tuple[int, int]]] = {}
        for m in members:
            if m["pool_id"] in pools:
                ranks.setdefault(m["egress_id"], []).append((m["rank"], -m["weight"]))
        able = [
            (max(found), other)
            for other, found in ranks.items()
            if other != egress and other in direct and len(found) == len(pools) and self._can(other, provider)
            and self.lanes[other, provider].cap_left is None
        ]  # fmt: skip
        return min(able)[1] if able else None

    def _lane(
        self,
        key: LaneKey,
        said: Mapping[tuple[int, str], Mapping[str, int | None]],
        paces: Mapping[LaneKey, Mapping[str, float]],
        caps: Mapping[LaneKey, Mapping[str, Any]],
        counted: Mapping[LaneKey, Mapping[str, int | None]],
        now: float,
    ) -> Lane:
        provider = key[1]
        limits = book()[provider].limits
        rate, connections = limits.rate_per_minute, limits.connections
        for override in (said.get((0, provider)), said.get(key)):
            if override is not None:
                rate = override["rate_per_minute"] or rate
                connections = override["connections"] or connections
        count = counted.get(key, {})
        handed, answered = count.get("handed_over") or 0, count.get("answered") or 0
        lane = Lane(
            None if rate is None else float(rate),
            connections * PER_CONNECTION,
            float(paces[key]["factor"]) if key in paces else 1.0,
            bool(paces[key]["suspended"]) if key in paces else False,
            max(0, handed - answered),
            self._speed(key, answered, now),
            caps[key]["left"] if key in caps else None,
        )
        return _warming(lane, caps[key]) if key in caps and caps[key]["warming"] else lane

    def _speed(self, key: LaneKey, answered: int, now: float) -> float:
        """Mails a minute that got an answer, smoothed. Totals fall when a campaign ends; that is no speed."""
        before, at, speed = self._totals.get(key, (answered, now, 0.0))
        if now > at:
            speed += _SMOOTH * (max(0, answered - before) * 60 / (now - at) - speed)
        self._totals[key] = answered, now, speed
        return speed
