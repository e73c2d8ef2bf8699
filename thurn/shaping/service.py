"""Shaping as an operator handles it: how things stand, holding and lifting by hand, rules, and trying a rule out."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe, one, rows
from thurn.problems import Conflict, Invalid, NotFound
from thurn.shaping import store, telling
from thurn.shaping.decide import FOREVER, Answers, Deed, State, held_by_hand, lifted
from thurn.shaping.rehearse import Rehearsal, rehearse
from thurn.shaping.rules import Rule, built_in, faults, rule_of

MOST_RULES = 200
LONGEST_HOLD = 90 * 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class Lane:
    """One sending address at one provider, as it stands."""

    egress: str
    egress_id: int
    provider: str
    state: State
    per_minute: float  # delivered, over the last five minutes
    delivered: int  # of the last hour
    deferred: int
    bounced: int

    @property
    def word(self) -> str:
        """The state, in the interface's vocabulary."""
        if self.state.mode == "normal":
            return "Normal" if self.delivered or self.deferred or self.bounced else "Idle"
        return {"slowed": "Slowed", "suspended": "Held", "held": "Held"}[self.state.mode]


_HOUR = """
SELECT e.id, a.provider,
       coalesce(sum(a.n) FILTER (WHERE a.outcome = 'delivered'), 0)::int AS delivered,
       coalesce(sum(a.n) FILTER (WHERE a.outcome = 'deferred'), 0)::int AS deferred,
       coalesce(sum(a.n) FILTER (WHERE a.outcome = 'bounced'), 0)::int AS bounced,
       coalesce(sum(a.n) FILTER (WHERE a.outcome = 'delivered'
           AND a.at > now() - interval '5 minutes'), 0)::int AS lately
FROM provider_answer a JOIN egress e ON e.name = a.egress
WHERE a.at > now() - interval '1 hour' GROUP BY 1, 2
"""


async def lanes(db: Connection) -> list[Lane]:
    """Every lane that was used within an hour or whose pace is not normal, by provider and address."""
    states = await store.states_of(db)
    heard = {(row["id"], row["provider"]): row for row in await rows(db, _HOUR)}
    names = {row["id"]: row["name"] for row in await rows(db, "SELECT id, name FROM egress")}
    pairs = {*heard, *(pair for pair, state in states.items() if state.mode != "normal")}
    found = []
    for egress, provider in sorted(pairs, key=lambda pair: (pair[1] == "other", pair[1], pair[0])):
        row = heard.get((egress, provider), {"delivered": 0, "deferred": 0, "bounced": 0, "lately": 0})
        found.append(
            Lane(
                names[egress], egress, provider, states.get((egress, provider), State()), row["lately"] / 5,
                row["delivered"], row["deferred"], row["bounced"],
            )
        )  # fmt: skip
    return found


async def hold(
    db: Connection, egress: str, provider: str, *, minutes: int | None = None, reason: str = "", who: str = ""
) -> None:
    """Send nothing from this address to this provider, for `minutes` or until somebody lifts it."""
    if minutes is not None and not 1 <= minutes <= LONGEST_HOLD:
        raise Invalid("minutes", "Hold it for at least a minute and at most 90 days, or without an end.")
    if len(reason) > 500:
        raise Invalid("reason", "A reason has at most 500 characters.")
    pair = await _pair(db, egress, provider)
    now = datetime.now(UTC)
    until = now + timedelta(minutes=minutes) if minutes else FOREVER
    await store.in_lock(db)
    before = await store.states_of(db)
    after = {pair: held_by_hand(before.get(pair, State()), now, until, _one_line(reason))}
    await store.save(db, after)
    await store.note(db, [(pair, Deed("by hand", "hold", now, until, 0, 0, ""))], who)
    # An alert that this lane was stopped has been seen: whoever holds it by hand knows.
    await telling.forget(db, pair)


async def lift(db: Connection, egress: str, provider: str, *, who: str = "") -> None:
    """Send as before; replies until now count no more. `Conflict` if nothing holds it back."""
    pair = await _pair(db, egress, provider)
    now = datetime.now(UTC)
    await store.in_lock(db)
    before = await store.states_of(db)
    if before.get(pair, State()).mode == "normal":
        raise Conflict(f"Nothing holds {telling.title(provider)} back from {egress}.")
    await store.save(db, {pair: lifted(before[pair], now)})
    await store.note(db, [(pair, Deed("by hand", "lift", now, None, 0, 0, ""))], who)
    await telling.forget(db, pair)


async def _pair(db: Connection, egress: str, provider: str) -> store.Pair:
    row = await maybe(db, "SELECT id FROM egress WHERE name = %s", [egress])
    if row is None:
        raise NotFound(f"There is no sending address {egress}.")
    if provider not in telling.known_providers():
        raise NotFound(f"There is no provider {provider}.")
    return row["id"], provider


async def deeds(db: Connection, *, limit: int = 50, before: int | None = None) -> list[Row]:
    """What was decided, newest first: id, at, egress, provider, rule, action, until, n, of, evidence, who."""
    return await rows(
        db,
        """SELECT d.id, d.at, e.name AS egress, d.provider, d.rule, d.action, d.until, d.n, d.of, d.evidence, d.who
           FROM shaping_deed d JOIN egress e ON e.id = d.egress_id
           WHERE (%(before)s::bigint IS NULL OR d.id < %(before)s) ORDER BY d.id DESC LIMIT %(limit)s""",
        {"before": before, "limit": limit},
    )


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule with what became of it."""

    rule: Rule
    on: bool
    fired: int  # deeds within a day
    last: datetime | None


async def listed(db: Connection) -> list[Listed]:
    """Every rule, the operators' own first."""
    off = {row["name"] for row in await rows(db, "SELECT name FROM shaping_rule_off")}
    own = [rule_of(row, own=True) for row in await rows(db, "SELECT * FROM shaping_rule ORDER BY name LIMIT 500")]
    fired = {
        row["rule"]: row
        for row in await rows(
            db,
            """SELECT rule, max(at) AS last, count(*) FILTER (WHERE at > now() - interval '1 day')::int AS n
               FROM shaping_deed GROUP BY rule""",
        )
    }
    none: Row = {"last": None, "n": 0}
    return [
        Listed(rule, rule.name not in off, fired.get(rule.name, none)["n"], fired.get(rule.name, none)["last"])
        for rule in [*own, *built_in()]
    ]


async def find(db: Connection, name: str) -> Rule:
    """The rule of that name; `NotFound`."""
    for each in await listed(db):
        if each.rule.name == name:
            return each.rule
    raise NotFound(f"There is no rule {name}.")


def check(rule: Rule) -> None:
    """`Invalid` with the first thing that is wrong with a rule."""
    for field, trouble in faults(rule):
        raise Invalid(field, trouble)
    if unknown := rule.providers - telling.known_providers():
        raise Invalid("provider", f"There is no provider {min(unknown)}.")


async def add_rule(db: Connection, rule: Rule, *, who: str = "") -> None:
    """Keep an operator's own rule, once its examples prove it. It acts within a second."""
    check(rule)
    if any(each.name == rule.name for each in built_in()):
        raise Conflict(f"{rule.name} is a rule of Thurn’s own. Switch it off and give yours another name.")
    n = await one(db, "SELECT count(*) AS n FROM shaping_rule")
    if n["n"] >= MOST_RULES:
        raise Conflict(f"There are {MOST_RULES} rules already. Remove one that is not used.")
    done = await db.execute(
        """INSERT INTO shaping_rule (name, action, provider, outcome, category, "any", unless, count, period, share,
                                     minutes, why, todo, link, matches, differs, made_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        [
            rule.name, rule.action, sorted(rule.providers), rule.outcome, sorted(rule.categories), list(rule.patterns),
            list(rule.unless), rule.count, rule.period, rule.share, rule.minutes,
            rule.why or f"Your rule {rule.name} fits what this provider answers.", rule.todo, rule.link, rule.matches,
            rule.differs, who,
        ],
    )  # fmt: skip
    if not done.rowcount:
        raise Conflict(f"There is a rule {rule.name} already.")


async def remove_rule(db: Connection, name: str) -> None:
    """Remove an operator's rule; what it has done stays until its time is over or somebody lifts it."""
    if any(each.name == name for each in built_in()):
        raise Conflict("A rule that comes with Thurn can be switched off, not removed.")
    done = await db.execute("DELETE FROM shaping_rule WHERE name = %s", [name])
    if not done.rowcount:
        raise NotFound(f"There is no rule {name}.")
    await db.execute("DELETE FROM shaping_rule_off WHERE name = %s", [name])


async def switch(db: Connection, name: str, *, on: bool) -> None:
    """Use a rule, or not."""
    await find(db, name)
    if on:
        await db.execute("DELETE FROM shaping_rule_off WHERE name = %s", [name])
    else:
        await db.execute("INSERT INTO shaping_rule_off (name) VALUES (%s) ON CONFLICT DO NOTHING", [name])


# ---------------------------------------------------------------- trying out


@dataclass(frozen=True, slots=True)
class Tried:
    """A rehearsal, and in which lane."""

    egress: str
    provider: str
    rehearsal: Rehearsal


async def try_out(db: Connection, rules: list[Rule]) -> list[Tried]:
    """What these rules would have done within the last day: lanes in which something fits, the most replies first."""
    found = await rows(
        db,
        """SELECT egress, provider, domain, outcome, category, wording, reply, n, at FROM (
             SELECT egress, provider, domain, outcome, category, wording, reply, n, at FROM provider_answer
             WHERE at > now() - interval '1 day' AND outcome <> 'delivered' ORDER BY at DESC LIMIT 200000) AS trouble
           UNION ALL
           SELECT egress, provider, '', outcome, '', '', '', sum(n)::int, date_trunc('minute', at) FROM provider_answer
           WHERE at > now() - interval '1 day' AND outcome = 'delivered' GROUP BY egress, provider, outcome, 9""",
    )
    by_lane: dict[tuple[str, str], list[Answers]] = {}
    for r in found:
        by_lane.setdefault((r["egress"], r["provider"]), []).append(
            Answers(r["at"], r["outcome"], r["n"], r["category"], r["wording"], r["reply"], r["domain"])
        )
    tried = [
        Tried(egress, provider, result)
        for (egress, provider), answers in by_lane.items()
        for rule in rules
        if rule.concerns(provider) and (result := rehearse(rule, answers, provider)).fitted
    ]
    return sorted(tried, key=lambda t: (-t.rehearsal.fitted, t.egress, t.provider, t.rehearsal.rule))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
