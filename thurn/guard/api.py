"""JSON API of the guard, for keys of the workspace `main`: bans and the list of those never banned."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import Field

from thurn.guard import bans, figures
from thurn.web.edge import HouseDb
from thurn.web.schemas import HOUSE_ONLY, In, Out, Text, api_router

router = api_router("guard")
router.responses |= HOUSE_ONLY

Network = Annotated[Text, Field(min_length=1, max_length=100, examples=["198.51.100.7", "2001:db8::/64"])]
Which = Annotated[str, Query(min_length=1, max_length=100, description="As it is listed.")]


class Ban(Out):
    """A client that is banned now."""

    client: str = Field(description="An address or a network, as a network.")
    cause: str = Field(description="`sign-ins`, `harvesting` or `by hand`.")
    detail: str
    level: int = Field(description="1, 2, 3: each ban of a client within a week is longer than the one before.")
    since: datetime
    until: datetime


class Bans(Out):
    """Who is banned."""

    items: list[Ban]


class BanIn(In):
    """A ban to make."""

    client: Network
    minutes: Annotated[int, Field(ge=1, le=366 * 1440)] = 60
    detail: Annotated[Text, Field(max_length=500)] = ""


class Made(Out):
    """What is banned or allowed now, as it is listed."""

    network: str


class Allowed(Out):
    """A network that is never banned."""

    network: str
    note: str
    origin: str = Field(description="`by hand`, or `settings`: this server and its proxies.")
    at: datetime


class AllowedList(Out):
    """The networks that are never banned."""

    items: list[Allowed]


class AllowIn(In):
    """A network to put on that list."""

    network: Network
    note: Annotated[Text, Field(max_length=200)] = ""


class FailuresOfClient(Out):
    """Failed sign-ins of one client within a day."""

    client: str
    failures: int = Field(description="Different ones: the same wrong password again counts once.")
    tries: int
    logins: list[str] = Field(description="Three of them at most.")
    more: int = Field(description="How many other logins.")
    doors: list[str]
    at: datetime


class Failures(Out):
    """Failed sign-ins, the most first."""

    items: list[FailuresOfClient]


@router.get("/guard/bans")
async def list_bans(db: HouseDb) -> Bans:
    """Who is banned now, the latest first; 200 at most."""
    return Bans(items=[Ban(**row) for row in await bans.listed(db)])


@router.post("/guard/bans", status_code=201)
async def add_ban(db: HouseDb, new: BanIn) -> Made:
    """Ban an address or a network at every door, for `minutes`."""
    made = await bans.ban_by_hand(db, new.client, length=timedelta(minutes=new.minutes), detail=new.detail)
    return Made(network=made)


@router.delete("/guard/bans", status_code=204)
async def lift_ban(db: HouseDb, client: Which) -> None:
    """Lift a ban."""
    await bans.lift(db, client)


@router.get("/guard/allowed")
async def list_allowed(db: HouseDb) -> AllowedList:
    """Who is never banned."""
    return AllowedList(items=[Allowed(**row) for row in await bans.allowed(db)])


@router.post("/guard/allowed", status_code=201)
async def add_allowed(db: HouseDb, new: AllowIn) -> Made:
    """Never ban an address or a network; lifts its bans."""
    return Made(network=await bans.allow(db, new.network, note=new.note))


@router.delete("/guard/allowed", status_code=204)
async def remove_allowed(db: HouseDb, network: Which) -> None:
    """Take a network off that list."""
    await bans.disallow(db, network)


@router.get("/guard/failures")
async def list_failures(db: HouseDb) -> Failures:
    """Failed sign-ins of the last day by client; 25 at most."""
    return Failures(items=[FailuresOfClient(**row) for row in await figures.by_client(db)])
