"""JSON API of the machines that send, for keys of the workspace `main`."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path, Response
from pydantic import Field

from thurn.nodes import service
from thurn.web.edge import AppSettings, HouseDb
from thurn.web.schemas import HOUSE_ONLY, In, Out, Text, api_router

router = api_router("nodes")
router.responses |= HOUSE_ONLY

Named = Annotated[Text, Path(min_length=1, max_length=40)]


class NodeIn(In):
    """A machine that is to join."""

    name: Annotated[Text, Field(min_length=1, max_length=31, examples=["berlin2"])]


class InvitationOut(Out):
    """What to type on it."""

    name: str
    token: str = Field(description="Good once, and shown once.")
    until: datetime
    command: str


class NodeOut(Out):
    """A machine that sends, or did."""

    name: str
    state: Literal["invited", "joined", "leaving", "left", "lost"]
    first: bool = Field(description="It has the database and everything else.")
    silent: bool = Field(description="Nothing was heard of it for 15 seconds: others have taken over its part.")
    able: bool = Field(description="It takes mail.")
    trouble: str = Field(description="Why it takes none.")
    hostname: str
    seen_at: datetime | None
    joined_at: datetime | None
    ended_at: datetime | None
    roles: dict[str, str]
    egresses: list[str]
    missing: list[str] = Field(description="Of its sending addresses, those that the machine does not have.")
    leased: int = Field(description="Deliveries claimed for it and not handed over yet.")
    queued: int = Field(description="Mails in its Postfix that outlast a moment.")


class Nodes(Out):
    """All of them."""

    items: list[NodeOut]


class NodePerson(Out):
    """A delivery that it had taken, of which nobody knew the end."""

    recipient: str
    workspace_id: int
    workspace: str
    campaign_id: int
    campaign: str
    delivery_id: int
    was: Literal["leased", "handed_over", "deferred"] = Field(description="`leased`: perhaps never in its Postfix.")
    since: datetime | None
    again: bool = Field(description="Queued again, by decision.")
    state: str = Field(description="Of the delivery, now.")


class NodePeople(Out):
    """All of them, by campaign."""

    items: list[NodePerson]


class LossIn(In):
    """The decision to give a machine up."""

    confirm: Annotated[Text, Field(max_length=40, description="The machine's name.")]
    again: bool = Field(
        False, description="Send again to those it had only claimed. Some of them may get the mail twice."
    )


class LossOut(Out):
    """What the decision was about."""

    name: str
    deliveries: int


@router.get("/nodes")
async def list_nodes(db: HouseDb) -> Nodes:
    """Machines that send."""
    return Nodes(items=[NodeOut(**row) for row in await service.listed(db)])


@router.post("/nodes", status_code=201)
async def add_node(db: HouseDb, settings: AppSettings, new: NodeIn) -> InvitationOut:
    """Let a machine join within an hour."""
    return InvitationOut(**await service.add(db, settings, new.name))


@router.get("/nodes/{node_name}")
async def get_node(db: HouseDb, node_name: Named) -> NodeOut:
    """One machine."""
    return NodeOut(**await service.get(db, node_name))


@router.delete("/nodes/{node_name}", status_code=202)
async def remove_node(db: HouseDb, settings: AppSettings, node_name: Named) -> Response:
    """Have a machine leave: it takes nothing new, and goes when nothing of it is on its way."""
    await service.remove(db, settings, node_name)
    return Response(status_code=202)


@router.get("/nodes/{node_name}/recipients")
async def list_node_recipients(db: HouseDb, node_name: Named) -> NodePeople:
    """Deliveries that it has taken and of which nobody knows the end; of a lost one those that it was about."""
    await service.get(db, node_name)
    return NodePeople(items=[NodePerson(**row) for row in await service.people(db, node_name)])


@router.post("/nodes/{node_name}/lost")
async def lose_node(db: HouseDb, settings: AppSettings, node_name: Named, loss: LossIn) -> LossOut:
    """Give up a machine that never comes back. What it had taken becomes `unknown`. This cannot be undone."""
    n = await service.lose(db, settings, node_name, confirm=loss.confirm, again=loss.again)
    return LossOut(name=node_name, deliveries=n)
