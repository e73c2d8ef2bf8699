"""JSON API of shaping, for keys of the workspace `main`: lanes, holding and lifting, rules, and trying rules out."""

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field

from thurn.db.connect import Row
from thurn.shaping import guard_api, service
from thurn.shaping.decide import FOREVER
from thurn.shaping.rehearse import Rehearsal
from thurn.shaping.rules import Action, Rule
from thurn.web.edge import HouseDb
from thurn.web.schemas import HOUSE_ONLY, Cursor, In, Limit, Out, Text, api_router, number_of

router = api_router("shaping")
router.responses |= HOUSE_ONLY
router.include_router(guard_api.router)

Short = Annotated[Text, Field(min_length=1, max_length=100)]
Reply = Annotated[Text, Field(max_length=2000)]
Patterns = Annotated[list[Annotated[Text, Field(max_length=500)]], Field(max_length=20)]
RuleName = Annotated[str, Path(min_length=1, max_length=60, pattern="^[a-z0-9-]+$", description="As it is listed.")]


class LaneOut(Out):
    """One sending address at one provider."""

    egress: str
    provider: str
    state: str = Field(description="`normal`, `slowed`, `suspended`, or `held`: until somebody lifts it.")
    factor: float = Field(description="Of the provider's limit.")
    reason: str
    todo: str
    link: str
    evidence: str = Field(description="The reply it follows from, as it came.")
    rule: str = Field(description="A rule's name, `deferrals` or `by hand`.")
    since: datetime | None
    until: datetime | None = Field(description="null for `held`, and while the pace rises step by step.")
    per_minute: float
    delivered: int
    deferred: int
    bounced: int


class Lanes(Out):
    """Lanes used within an hour, and all whose pace is not normal."""

    items: list[LaneOut]


class LaneIn(In):
    """Which lane."""

    egress: Short
    provider: Short


class HoldIn(LaneIn):
    """A lane to hold, for `minutes` or until somebody lifts it."""

    minutes: Annotated[int, Field(ge=1, le=service.LONGEST_HOLD)] | None = None
    reason: Annotated[Text, Field(max_length=500)] = ""


class DeedOut(Out):
    """Something that was decided."""

    id: int
    at: datetime
    egress: str
    provider: str
    rule: str
    action: str
    until: datetime | None
    n: int = Field(description="Replies that fitted …")
    of: int = Field(description="… of so many answers.")
    evidence: str
    who: str


class Deeds(Out):
    """A page of them, newest first."""

    items: list[DeedOut]
    next: str | None


class RuleIn(In):
    """A rule. `matches` and `differs` are checked before it is kept."""

    name: Annotated[Text, Field(min_length=2, max_length=60, pattern="^[a-z0-9][a-z0-9-]*$")]
    action: Action
    any: Patterns = Field(default=[], description="Regular expressions over the normalised reply; one must be found.")
    unless: Patterns = Field(default=[], description="And none of these.")
    category: list[Short] = Field(default=[], max_length=30)
    provider: list[Short] = Field(default=[], max_length=50, description="None: every provider.")
    outcome: str = Field(default="", description="`deferred`, `bounced` or empty for both.", max_length=20)
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    period: Annotated[int, Field(ge=1, le=1440, description="Minutes.")] = 60
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    minutes: Annotated[int, Field(ge=0, le=43_200, description="0: until somebody lifts it.")] = 60
    why: Annotated[Text, Field(max_length=500)] = ""
    todo: Annotated[Text, Field(max_length=500)] = ""
    link: Annotated[Text, Field(max_length=500, pattern="^(https://.*)?$")] = ""
    matches: Reply
    differs: Reply

    def rule(self) -> Rule:
        """As shaping sees it."""
        return Rule(
            name=self.name, action=self.action, matches=self.matches, differs=self.differs, patterns=tuple(self.any),
            unless=tuple(self.unless), categories=frozenset(self.category), providers=frozenset(self.provider),
            outcome=self.outcome, count=self.count, period=self.period, share=self.share, minutes=self.minutes,
            why=self.why, todo=self.todo, link=self.link, own=True,
        )  # fmt: skip


class RuleOut(Out):
    """A rule that is there."""

    name: str
    own: bool = Field(description="false: it comes with Thurn.")
    on: bool
    action: str
    any: list[str]
    unless: list[str]
    category: list[str]
    provider: list[str]
    outcome: str
    count: int
    period: int
    share: float
    minutes: int
    why: str
    todo: str
    link: str
    matches: str
    differs: str
    source: str
    acted_today: int
    acted_last: datetime | None


class Rules(Out):
    """Every rule."""

    items: list[RuleOut]


class SwitchIn(In):
    """Whether to use it."""

    on: bool


class TryIn(In):
    """What to try: a new rule, one that is there by `name`, or neither for all that are on."""

    rule: RuleIn | None = None
    name: Short | None = None


class WouldDo(Out):
    """A deed that would have been done."""

    at: datetime
    action: str
    until: datetime | None
    n: int
    of: int


class RepliesOut(Out):
    """A reply that fits, and how often it came."""

    reply: str
    n: int


class TriedOut(Out):
    """What a rule would have done in one lane within 24 hours."""

    rule: str
    egress: str
    provider: str
    fitted: int
    of: int
    gives_up: bool
    replies: list[RepliesOut]
    deeds: list[WouldDo]


class TriedList(Out):
    """Lanes in which something fits."""

    items: list[TriedOut]


@router.get("/shaping")
async def list_lanes(db: HouseDb) -> Lanes:
    """How each sending address stands with each provider."""
    return Lanes(items=[_lane(lane) for lane in await service.lanes(db)])


@router.post("/shaping/hold", status_code=204)
async def hold_lane(db: HouseDb, lane: HoldIn) -> None:
    """Send nothing from an address to a provider; its mail waits."""
    await service.hold(db, lane.egress, lane.provider, minutes=lane.minutes, reason=lane.reason, who="API")


@router.post("/shaping/lift", status_code=204)
async def lift_lane(db: HouseDb, lane: LaneIn) -> None:
    """Send at full pace again; replies until now count no more."""
    await service.lift(db, lane.egress, lane.provider, who="API")


@router.get("/shaping/deeds")
async def list_deeds(db: HouseDb, limit: Limit = 50, cursor: Cursor = None) -> Deeds:
    """What was decided, newest first."""
    found: list[Row] = await service.deeds(db, limit=limit + 1, before=number_of(cursor))
    more = len(found) > limit
    items = [DeedOut(**row) for row in found[:limit]]
    return Deeds(items=items, next=str(items[-1].id) if more else None)


@router.get("/shaping/rules")
async def list_shaping_rules(db: HouseDb) -> Rules:
    """Every rule, the operators' own first."""
    return Rules(items=[_rule(each) for each in await service.listed(db)])


@router.post("/shaping/rules", status_code=201)
async def add_shaping_rule(db: HouseDb, new: RuleIn) -> RuleOut:
    """Add a rule of one's own. Its two examples must prove it."""
    await service.add_rule(db, new.rule(), who="API")
    return next(_rule(each) for each in await service.listed(db) if each.rule.name == new.name)


@router.delete("/shaping/rules/{rule_name}", status_code=204)
async def remove_shaping_rule(db: HouseDb, rule_name: RuleName) -> None:
    """Remove a rule of one's own."""
    await service.remove_rule(db, rule_name)


@router.post("/shaping/rules/{rule_name}/switch", status_code=204)
async def switch_shaping_rule(db: HouseDb, rule_name: RuleName, wanted: SwitchIn) -> None:
    """Use a rule, or not; ours can be switched off, too."""
    await service.switch(db, rule_name, on=wanted.on)


@router.post("/shaping/try")
async def try_shaping_rules(db: HouseDb, wanted: TryIn) -> TriedList:
    """Dry run over the replies of the last 24 hours: what would have fitted, and what would have happened."""
    if wanted.rule is not None:
        rule = wanted.rule.rule()
        service.check(rule)
        rules = [rule]
    elif wanted.name is not None:
        rules = [await service.find(db, wanted.name)]
    else:
        rules = [each.rule for each in await service.listed(db) if each.on]
    return TriedList(
        items=[tried_out(each.egress, each.provider, each.rehearsal) for each in await service.try_out(db, rules)]
    )


def _lane(lane: service.Lane) -> LaneOut:
    state = lane.state
    until = state.until or state.hold_until
    return LaneOut(
        egress=lane.egress, provider=lane.provider, state=state.mode, factor=state.factor, reason=state.reason,
        todo=state.todo, link=state.link, evidence=state.evidence, rule=state.rule, since=state.since,
        until=None if until == FOREVER else until, per_minute=lane.per_minute, delivered=lane.delivered,
        deferred=lane.deferred, bounced=lane.bounced,
    )  # fmt: skip


def _rule(each: service.Listed) -> RuleOut:
    r = each.rule
    return RuleOut(
        name=r.name, own=r.own, on=each.on, action=r.action, any=list(r.patterns), unless=list(r.unless),
        category=sorted(r.categories), provider=sorted(r.providers), outcome=r.outcome, count=r.count, period=r.period,
        share=r.share, minutes=r.minutes, why=r.why, todo=r.todo, link=r.link, matches=r.matches, differs=r.differs,
        source=r.source, acted_today=each.fired, acted_last=each.last,
    )  # fmt: skip


def tried_out(egress: str, provider: str, found: Rehearsal) -> TriedOut:
    """A rehearsal as JSON."""
    return TriedOut(
        rule=found.rule, egress=egress, provider=provider, fitted=found.fitted, of=found.of, gives_up=found.gives_up,
        replies=[RepliesOut(reply=reply, n=n) for reply, n in found.replies],
        deeds=[WouldDo(at=d.at, action=d.action, until=d.until, n=d.n, of=d.of) for d in found.deeds[:100]],
    )  # fmt: skip
