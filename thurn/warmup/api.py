"""JSON API of warm-up, for keys of the workspace `main`."""

from typing import Annotated, Any

from fastapi import Path, Query

from thurn.db.connect import Connection, Row
from thurn.warmup import outlook, service
from thurn.warmup.schemas import (
    WarmupDay,
    WarmupDeed,
    WarmupFull,
    WarmupIn,
    WarmupOut,
    WarmupPatch,
    Warmups,
    WarmupWhen,
    WarmupWhenDay,
    WarmupWhenProvider,
)
from thurn.warmup.simulate import together
from thurn.web.edge import HouseDb
from thurn.web.schemas import HOUSE_ONLY, Text, api_router

router = api_router("warm-up")
router.responses |= HOUSE_ONLY

Named = Annotated[Text, Path(min_length=1, max_length=40)]
WHO = "API"


@router.get("/warmup")
async def list_warmups(db: HouseDb) -> Warmups:
    """Every plan, with what is left of today."""
    return Warmups(items=[WarmupOut(**row) for row in await service.listed(db)])


@router.post("/warmup", status_code=201)
async def start_warmup(db: HouseDb, new: WarmupIn) -> Warmups:
    """Warm a sending address up: a plan for each provider. Answers with all plans of the address."""
    made = await service.start(
        db, new.egress, curve=tuple(new.curve) if new.curve is not None else None,
        providers=new.providers if new.providers is not None else service.EVERY, overflow=new.overflow, who=WHO,
    )  # fmt: skip
    return Warmups(items=[WarmupOut(**row) for row in made])


@router.get("/warmup/when")
async def when_out(
    db: HouseDb,
    n: Annotated[int | None, Query(ge=1, le=outlook.MOST, description="So many recipients, shared as usual.")] = None,
    list_id: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Or the members of a list.")] = None,
    campaign: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Or who waits in a campaign.")] = None,
    pool: Annotated[Text, Query(max_length=40, description="Empty: the campaign's, else `default`.")] = "",
) -> WarmupWhen:
    """When will they have gone out? By provider and by day."""
    return when_of(await outlook.ask(db, n=n, list_id=list_id, campaign=campaign, pool=pool))


def when_of(found: dict[str, Any]) -> WarmupWhen:
    """An answer of the outlook."""
    return WarmupWhen(
        recipients=found["n"], pool=found["pool"], until=found["until"], shares_known=found["known"],
        providers=[
            WarmupWhenProvider(provider=name, recipients=found["shares"][name], until=each.until, left=each.left)
            for name, each in found["found"].items()
        ],
        days=[
            WarmupWhenDay(day=day, total=sum(parts.values()), by_provider=parts)
            for day, parts in together(found["found"])
        ],
    )  # fmt: skip


@router.get("/warmup/{egress_name}/{provider}")
async def get_warmup(db: HouseDb, egress_name: Named, provider: Named) -> WarmupFull:
    """One plan with its history."""
    return await full(db, await service.get(db, egress_name, provider))


async def full(db: Connection, row: Row) -> WarmupFull:
    """A plan with its history."""
    return WarmupFull(
        **{key: value for key, value in row.items() if key != "days"},
        days=[WarmupDay(**day) for day in await service.history(db, row)],
        deeds=[WarmupDeed(**deed) for deed in await service.deeds(db, row)],
    )


@router.patch("/warmup/{egress_name}/{provider}")
async def change_warmup(db: HouseDb, egress_name: Named, provider: Named, change: WarmupPatch) -> WarmupOut:
    """Change the curve, the day of it that counts, or what happens above the cap."""
    curve = tuple(change.curve) if change.curve is not None else None
    return WarmupOut(
        **await service.change(
            db, egress_name, provider, curve=curve, step=change.step, overflow=change.overflow, who=WHO
        )
    )


@router.post("/warmup/{egress_name}/{provider}/pause")
async def pause_warmup(db: HouseDb, egress_name: Named, provider: Named) -> WarmupOut:
    """Hold it at its cap until somebody goes on."""
    return WarmupOut(**await service.pause(db, egress_name, provider, who=WHO))


@router.post("/warmup/{egress_name}/{provider}/resume")
async def resume_warmup(db: HouseDb, egress_name: Named, provider: Named) -> WarmupOut:
    """Go on; what was answered until now is forgiven."""
    return WarmupOut(**await service.resume(db, egress_name, provider, who=WHO))


@router.delete("/warmup/{egress_name}/{provider}", status_code=204)
async def stop_warmup(db: HouseDb, egress_name: Named, provider: Named) -> None:
    """End it: the address has no cap there from now on."""
    await service.stop(db, egress_name, provider, who=WHO)
