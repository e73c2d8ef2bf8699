"""JSON API of moves."""

from datetime import datetime
from typing import Annotated

from fastapi import File, UploadFile
from pydantic import Field

from thurn.moves import batch, hosts, service
from thurn.moves.service import Source
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import BigId, Cursor, In, Limit, Out, Text, api_router, number_of

router = api_router("moves")


class MoveIn(In):
    """A mailbox on another server, and the one here that takes its mail."""

    address: Text = Field(max_length=320, description="The mailbox here; it has to exist.")
    host: Text = Field(max_length=300, description="The other server's IMAP host.")
    port: int = Field(hosts.IMAPS, description="993 (TLS) or 143 (STARTTLS).")
    login: Text = Field(max_length=500, description="User name there.")
    password: Text = Field(max_length=500, description="Password there: sealed while the move lasts, then destroyed.")
    fingerprint: Text = Field(
        "", max_length=200, description="SHA-256 of the one certificate to accept; empty: any valid."
    )


class MoveOut(Out):
    """A move."""

    id: int
    address: str
    host: str
    port: int
    login: str
    state: str = Field(description="waiting, running, paused, done, cancelled or failed.")
    reason: str = Field(description="Why it is paused, has failed, or is tried again.")
    folder: str = Field(description="At which it is.")
    folders_total: int
    folders_done: int
    messages_total: int
    messages_done: int = Field(description="Brought here.")
    messages_left: int = Field(description="Could not be brought; `problems` says why.")
    bytes_done: int
    next_try_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Moves(Out):
    """A page of moves."""

    items: list[MoveOut]
    next: str | None


class ProblemOfMove(Out):
    """A message, or a whole folder, that was not brought."""

    folder: str
    uid: int | None = Field(description="On the other server; null: the whole folder.")
    size: int | None
    dated: datetime | None
    reason: str


class ProblemsOfMove(Out):
    """A page of them."""

    items: list[ProblemOfMove]
    next: str | None


class LineOut(Out):
    """What came of a line of the file."""

    line: int
    address: str
    move_id: int | None
    problem: str


class LinesOut(Out):
    """What came of each."""

    items: list[LineOut]


@router.get("/moves")
async def list_moves(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Moves:
    """Moves, newest first."""
    found = await service.move_page(db, before=number_of(cursor), limit=limit)
    return Moves(items=[MoveOut(**row) for row in found], next=str(found[-1]["id"]) if len(found) == limit else None)


@router.post("/moves", status_code=202)
async def start_move(db: ApiDb, key: Keyed, settings: AppSettings, new: MoveIn) -> MoveOut:
    """Begin to move a mailbox here. The same move again brings only what is new."""
    source = Source(new.host, new.login, new.password, new.port, new.fingerprint)
    number = await service.start(db, key.workspace_id, address=new.address, source=source, settings=settings)
    return MoveOut(**await service.get(db, number))


@router.post("/moves/many", status_code=202)
async def start_moves(
    db: ApiDb, key: Keyed, settings: AppSettings,
    file: Annotated[UploadFile, File(description="CSV with the columns address, host, user, password.")],
) -> LinesOut:  # fmt: skip
    """Begin with each line of a CSV file of at most 2,000; it is not kept."""
    data = await file.read(batch.LARGEST + 1)
    done = await batch.start_many(db, key.workspace_id, data=data, settings=settings)
    return LinesOut(items=[LineOut.model_validate(each) for each in done])


@router.get("/moves/{move_id}")
async def get_move(db: ApiDb, move_id: BigId) -> MoveOut:
    """How far a move is."""
    return MoveOut(**await service.get(db, move_id))


@router.get("/moves/{move_id}/problems")
async def list_move_problems(db: ApiDb, move_id: BigId, limit: Limit = 100, cursor: Cursor = None) -> ProblemsOfMove:
    """What was not brought, and why."""
    await service.get(db, move_id)
    found = await service.problems(db, move_id, after=number_of(cursor) or 0, limit=limit)
    return ProblemsOfMove(
        items=[ProblemOfMove(**row) for row in found], next=str(found[-1]["id"]) if len(found) == limit else None
    )


@router.post("/moves/{move_id}/cancel")
async def cancel_move(db: ApiDb, move_id: BigId) -> MoveOut:
    """Stop a move for good; what is here by then stays."""
    await service.cancel(db, move_id)
    return MoveOut(**await service.get(db, move_id))


@router.post("/moves/{move_id}/resume")
async def resume_move(db: ApiDb, move_id: BigId) -> MoveOut:
    """Let a paused move go on."""
    await service.resume(db, move_id)
    return MoveOut(**await service.get(db, move_id))
