"""JSON API of relays, for keys of the workspace `main`."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import Field

from thurn.relays import service
from thurn.relays.presets import presets
from thurn.relays.try_now import try_now
from thurn.web.edge import AppSettings, HouseDb, Keyed
from thurn.web.schemas import HOUSE_ONLY, Id, In, Out, Text, api_router

router = api_router("relays")
router.responses |= HOUSE_ONLY

Use = Literal["first", "fallback", "domain", "none"]


class RelayIn(In):
    """A relay as it is entered."""

    host: Annotated[Text, Field(min_length=1, max_length=255, examples=["smtp.example.net"])]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Annotated[Text, Field(max_length=500)] = ""
    password: Annotated[Text, Field(max_length=500)] | None = Field(
        None, description="Kept sealed, never given back. Left out of a change: as it is."
    )
    fingerprint: Annotated[Text, Field(max_length=100)] = Field(
        "", description="SHA-256 of its certificate, for a server whose certificate no authority has signed."
    )
    preset: Annotated[Text, Field(max_length=20)] = "other"
    connections: Annotated[int, Field(ge=1, le=100)] = 5
    rate_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class NewRelay(RelayIn):
    """A relay to add, and which mail is to go by it."""

    use: Use = "none"
    domain: Annotated[Text, Field(max_length=255)] = Field("", description="For `use` = `domain`.")


class UseIn(In):
    """Which mail goes by a relay."""

    use: Use
    domain: Annotated[Text, Field(max_length=255)] = ""


class Relay(Out):
    """A relay."""

    id: int
    name: str = Field(description="Its name as an egress; stands in envelope senders.")
    preset: str
    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    fingerprint: str
    username: str
    has_password: bool
    connections: int
    rate_per_minute: int | None
    checked_at: datetime | None
    works: bool | None = Field(description="Whether the last try succeeded; null: not tried yet.")
    says: str = Field(description="What came of the last try, and what to do.")
    broken_until: datetime | None = Field(description="Not null: nothing goes to it until a try after that succeeds.")
    domains: str | None = Field(None, description="Domains whose mail goes by it.")
    rank: int | None = Field(
        None, description="Its place in the pool `default`: 1 before our own addresses, 3 behind; null: not in it."
    )


class Relays(Out):
    """All relays."""

    items: list[Relay]


class Made(Out):
    """What was made."""

    id: int


class Tried(Out):
    """What came of a try."""

    works: bool
    trouble: Literal["", "network", "certificate", "password", "refused"]
    says: str


class PresetOut(Out):
    """What a well-known provider wants to have entered."""

    key: str
    name: str
    host: str
    port: int
    security: str
    username: str
    hint: str
    source: str


@router.get("/relays")
async def list_relays(db: HouseDb) -> Relays:
    """Every relay of the installation."""
    return Relays(items=[Relay.model_validate(row) for row in await service.listed(db)])


@router.get("/relays/presets")
async def list_presets(db: HouseDb) -> list[PresetOut]:
    """Well-known providers and what to enter for them."""
    return [PresetOut.model_validate(preset) for preset in presets().values()]


@router.post("/relays", status_code=201)
async def add_relay(db: HouseDb, body: NewRelay, settings: AppSettings) -> Made:
    """Add a relay."""
    relay = service.Relay(**body.model_dump(exclude={"use", "domain"}))
    return Made(id=await service.add(db, relay, settings=settings, use=body.use, domain=body.domain))


@router.put("/relays/{relay}", status_code=204, response_class=Response)
async def change_relay(db: HouseDb, relay: Id, body: RelayIn, settings: AppSettings) -> None:
    """Change a relay."""
    await service.change(db, relay, service.Relay(**body.model_dump()), settings=settings)


@router.put("/relays/{relay}/use", status_code=204, response_class=Response)
async def use_relay(db: HouseDb, relay: Id, body: UseIn) -> None:
    """Say which mail goes by it."""
    await service.put_to_use(db, relay, use=body.use, domain=body.domain)


@router.post("/relays/{relay}/try")
async def try_relay(request: Request, db: HouseDb, key: Keyed, relay: Id) -> Tried:
    """Connect and sign in now; no mail is sent. Takes up to half a minute."""
    await service.get(db, relay)
    found = await try_now(request, db, key.workspace_id, relay)
    return Tried(works=found.works, trouble=found.trouble, says=found.says)


@router.delete("/relays/{relay}", status_code=204, response_class=Response)
async def remove_relay(db: HouseDb, relay: Id) -> None:
    """Remove a relay; mail that is on its way there goes on."""
    await service.remove(db, relay)
