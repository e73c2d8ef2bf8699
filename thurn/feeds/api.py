"""JSON API of feeds."""

from typing import Any

from fastapi import Response

from thurn.feeds import service
from thurn.feeds.schemas import FeedAddress, FeedIn, FeedOut, Feeds
from thurn.problems import Invalid
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import BigId, Cursor, Limit, api_router, number_of

router = api_router("feeds")


@router.get("/feeds")
async def list_feeds(db: ApiDb, limit: Limit = 100, cursor: Cursor = None) -> Feeds:
    """Where else bounces come from, in the order it was set up."""
    found = await service.feed_page(db, after=number_of(cursor) or 0, limit=limit)
    return Feeds(items=[FeedOut(**row) for row in found], next=str(found[-1]["id"]) if len(found) == limit else None)


@router.post("/feeds", status_code=201)
async def add_feed(db: ApiDb, key: Keyed, settings: AppSettings, new: FeedIn) -> FeedOut:
    """Read a mailbox on another server, or listen to a sending service."""
    given: dict[str, Any] = new.model_dump()
    number = await service.add(db, key.workspace_id, service.New(**given), settings=settings)
    return FeedOut(**await service.get(db, number))


@router.get("/feeds/{feed_id}")
async def get_feed(db: ApiDb, feed_id: BigId) -> FeedOut:
    """One feed, and how it is getting on."""
    return FeedOut(**await service.get(db, feed_id))


@router.get("/feeds/{feed_id}/address")
async def get_feed_address(db: ApiDb, settings: AppSettings, feed_id: BigId) -> FeedAddress:
    """What to enter at the service. For services that sign nothing it holds the password: treat it as one."""
    feed = await service.get(db, feed_id)
    if feed["hook"] is None:
        raise Invalid("feed_id", "A mailbox is read; nobody calls for it.")
    secret = await service.secret_of(db, feed_id, settings)
    return FeedAddress(url=service.address(feed, settings.url, secret))


@router.post("/feeds/{feed_id}/enable")
async def enable_feed(db: ApiDb, feed_id: BigId) -> FeedOut:
    """Go on with it, also after what was wrong has been put right."""
    await service.switch(db, feed_id, enabled=True)
    return FeedOut(**await service.get(db, feed_id))


@router.post("/feeds/{feed_id}/disable")
async def disable_feed(db: ApiDb, feed_id: BigId) -> FeedOut:
    """Stop reading it; its calls are answered 404."""
    await service.switch(db, feed_id, enabled=False)
    return FeedOut(**await service.get(db, feed_id))


@router.delete("/feeds/{feed_id}", status_code=204)
async def remove_feed(db: ApiDb, feed_id: BigId) -> Response:
    """Forget a feed. What its reports did stays."""
    await service.remove(db, feed_id)
    return Response(status_code=204)
