"""JSON API of reputation, for keys of the workspace `main`."""

from typing import Annotated, Literal

from fastapi import Query

from thurn.jobs.app import defer
from thurn.reputation import access, meanings, service
from thurn.reputation.refusals import refusals
from thurn.reputation.schemas import AccessIn, AccessOut, FigureOut, ListingOut, RefusalOut, ReputationOut
from thurn.web.edge import AppSettings, HouseDb
from thurn.web.schemas import HOUSE_ONLY, api_router

router = api_router("reputation")
router.responses |= HOUSE_ONLY
Which = Annotated[Literal["google", "microsoft"], Query(description="google or microsoft.")]


@router.get("/reputation")
async def get_reputation(db: HouseDb) -> ReputationOut:
    """Block lists, refusals of the last day, and what providers say about us."""
    listings = [
        ListingOut(
            **{name: each.row[name] for name in ("subject", "state", "codes", "why", "listed_at", "cleared_at",
                                                 "times", "looked_at")},
            key=each.of.key, name=each.of.name, listed=each.open, delist=each.of.delist, do=each.of.do,
        )
        for each in await service.listings(db)
    ]  # fmt: skip
    refused = [
        RefusalOut(
            provider=r.provider, category=r.category, n=r.n, of=r.of, put_off=r.put_off, egresses=r.egresses,
            reply=r.reply, last=r.last, what=r.what, do=r.do, form=r.contact.form,
        )
        for r in await refusals(db)
    ]  # fmt: skip
    figures = []
    for provider, says in (("google", meanings.of_google), ("microsoft", meanings.of_microsoft)):
        for row in await access.newest(db, provider):  # type: ignore[arg-type]
            level, means = says(row["figures"])
            figures.append(FigureOut(provider=provider, level=level, means=means, **row))
    return ReputationOut(
        listings=listings,
        refusals=refused,
        figures=figures,
        access=[AccessOut(**row) for row in (await access.listed(db)).values()],
    )


@router.post("/reputation/look", status_code=204)
async def look_at_block_lists(db: HouseDb) -> None:
    """Ask the block lists now; the answers are there within a minute."""
    await defer(db, "thurn:look_at_block_lists_now")


@router.put("/reputation/access", status_code=204)
async def put_provider_access(db: HouseDb, settings: AppSettings, new: AccessIn) -> None:
    """Let Thurn ask a provider about this server."""
    await access.put(db, settings, new.provider, new.model_dump(exclude={"provider"}))
    await defer(db, "thurn:ask_providers_now")


@router.delete("/reputation/access", status_code=204)
async def forget_provider_access(db: HouseDb, provider: Which) -> None:
    """Destroy the access to a provider."""
    await access.forget(db, provider)
