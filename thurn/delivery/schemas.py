"""What the JSON API of delivery takes and gives."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.delivery.pools import Stream
from thurn.web.schemas import In, Out, Text

Address = Annotated[Text, Field(max_length=60)]
Host = Annotated[Text, Field(max_length=255)]
PoolName = Annotated[Text, Field(min_length=1, max_length=40)]
Weight = Annotated[int, Field(ge=1, le=1000)]


class EgressIn(In):
    """A sending address to add."""

    name: Annotated[Text, Field(min_length=1, max_length=20, examples=["out2"])]
    bind4: Address = Field("", description="IPv4 address of this server.")
    bind6: Address = Field("", description="IPv6 address of this server.")
    helo: Host = Field("", description="Its name in HELO; empty: the server's own.")
    pool: Annotated[Text, Field(max_length=40)] = Field("", description="A pool to put it into.")
    node: Annotated[Text, Field(max_length=40)] = Field("", description="The sending machine; empty: the first one.")
    warm_up: bool = Field(False, description="Start its warm-up at every provider: wanted for a new address.")


class EgressPatch(In):
    """What is to change; what is left out stays."""

    bind4: Address | None = None
    bind6: Address | None = None
    helo: Host | None = None
    enabled: bool | None = Field(None, description="False: takes nothing new. True also stops a removal.")


class FindingOut(Out):
    """One thing the last check has found."""

    level: Literal["ok", "warn", "bad"]
    what: str
    fix: str


class MemberOut(Out):
    """A pool an egress is in."""

    name: str
    weight: int


class PoolMemberOut(MemberOut):
    """An egress in a pool."""

    rank: int = Field(description="Lower ones first; the next only while none of the lower can take mail.")
    node: str = Field(description="The machine it sends by.")
    relay: str = Field(description="The relay's host; empty: a sending address of our own.")


class EgressOut(Out):
    """A sending address."""

    name: str
    node: str
    bind4: str
    bind6: str
    helo: str
    state: Literal["on", "off", "leaving"] = Field(description="`leaving`: removed, goes when nothing is on its way.")
    pools: list[MemberOut]
    waiting: int = Field(description="Mails handed to Postfix that are not settled.")
    checks: list[FindingOut]
    checked_at: datetime | None


class Egresses(Out):
    """All sending addresses."""

    items: list[EgressOut]


class PoolIn(In):
    """A pool to add."""

    name: PoolName


class WeightIn(In):
    """The share of a member."""

    weight: Weight = 100


class PoolOut(Out):
    """A pool."""

    name: str
    members: list[PoolMemberOut]
    rules: int = Field(description="How many rules lead to it.")
    note: str = Field(description="What to know of a relay beside addresses of other machines; mostly empty.")


class Pools(Out):
    """All pools."""

    items: list[PoolOut]


class PoolRuleIn(In):
    """Which pool carries a stream: of the house, of one workspace, or one campaign."""

    stream: Stream
    pool: PoolName
    workspace: Annotated[Text, Field(max_length=63)] = ""
    campaign: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None


class PoolRuleOut(Out):
    """A rule."""

    id: int
    stream: Stream
    workspace: str | None
    campaign: int | None
    domain: str | None
    pool: str


class PoolRules(Out):
    """All rules, the widest first; the narrowest counts."""

    items: list[PoolRuleOut]


class LimitsIn(In):
    """Limits at a provider; what is left out is as the book says."""

    egress: Annotated[Text, Field(max_length=20)] = Field("", description="Empty: for all sending addresses.")
    connections: Annotated[int, Field(ge=1, le=200)] | None = None
    per_connection: Annotated[int, Field(ge=1, le=10_000)] | None = None
    rate_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    backoff: Annotated[int, Field(ge=10, le=86_400)] | None = Field(None, description="Seconds.")


class LimitsSet(Out):
    """What is set instead of the book."""

    egress: str | None
    connections: int | None
    per_connection: int | None
    rate_per_minute: int | None
    backoff: int | None


class ProviderOut(Out):
    """A provider as the book has it, and what is set instead."""

    name: str
    title: str
    connections: int = Field(description="At once, from one address.")
    per_connection: int = Field(description="Mails, then a new connection.")
    rate_per_minute: int | None
    backoff: int = Field(description="Seconds to leave it alone when it asks for it.")
    source: str
    set: list[LimitsSet]


class Providers(Out):
    """The book of providers."""

    items: list[ProviderOut]
