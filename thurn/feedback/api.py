"""JSON API of feedback: what came back by mail."""

from typing import Annotated

from fastapi import Query

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.feedback import returned
from thurn.feedback.schemas import ReturnedFull, ReturnedOut, ReturnedPage
from thurn.web.edge import ApiDb, Key, Keyed
from thurn.web.schemas import BigId, Cursor, Limit, Text, api_router, number_of

router = api_router("feedback")


async def _operates(db: Connection, key: Key) -> bool:
    """Whether the key is of the workspace that came with the installation: it sees what belongs to nobody, too."""
    return await maybe(db, "SELECT 1 FROM workspace WHERE id = %s AND slug = 'main'", [key.workspace_id]) is not None


@router.get("/feedback")
async def list_returned(
    db: ApiDb,
    key: Keyed,
    limit: Limit = 25,
    cursor: Cursor = None,
    query: Annotated[Text, Query(max_length=320, description="Part of an address or a subject.")] = "",
    kind: Annotated[Text, Query(max_length=20)] = "",
    matched: Annotated[
        bool | None, Query(description="Only what belongs to a mail of ours, or only what does not.")
    ] = None,
) -> ReturnedPage:
    """Bounces, complaints, replies and whatever else came back by mail, newest first, with what Thurn made of it."""
    found = await returned.returned_page(
        db, operator=await _operates(db, key), unmatched=None if matched is None else not matched,
        before=number_of(cursor), limit=limit, query=query, kind=kind,
    )  # fmt: skip
    following = None if found.older is None else str(found.older)
    return ReturnedPage(items=[ReturnedOut(**row) for row in found.items], next=following)


@router.get("/feedback/{report_id}")
async def get_returned(db: ApiDb, key: Keyed, report_id: BigId) -> ReturnedFull:
    """One of them, with the mail as it came."""
    row = await returned.get(db, report_id, operator=await _operates(db, key))
    return ReturnedFull(**row, source=returned.source(row["raw"]))
