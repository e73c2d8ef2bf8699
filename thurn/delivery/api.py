"""JSON API of delivery, for keys of the workspace `main`: sending addresses, pools, rules, providers."""

from typing import Annotated

from fastapi import Path, Query

from thurn.delivery import egress, limits, pools
from thurn.delivery.egress_check import check
from thurn.delivery.schemas import (
    Egresses,
    EgressIn,
    EgressOut,
    EgressPatch,
    LimitsIn,
    PoolIn,
    PoolOut,
    PoolRuleIn,
    PoolRuleOut,
    PoolRules,
    Pools,
    ProviderOut,
    Providers,
    WeightIn,
)
from thurn.warmup import service as warmup
from thurn.web.edge import AppSettings, HouseDb
from thurn.web.schemas import HOUSE_ONLY, Id, Text, api_router

router = api_router("delivery")
router.responses |= HOUSE_ONLY

Named = Annotated[Text, Path(min_length=1, max_length=40)]


@router.get("/egresses")
async def list_egresses(db: HouseDb) -> Egresses:
    """Sending addresses, those on their way out last."""
    return Egresses(items=[EgressOut(**row) for row in await egress.listed(db)])


@router.post("/egresses", status_code=201)
async def add_egress(db: HouseDb, settings: AppSettings, new: EgressIn) -> EgressOut:
    """Add a sending address of this server. It takes mail when Postfix has loaded it, within seconds."""
    made = await egress.add(db, settings, **new.model_dump(exclude={"warm_up"}))
    if new.warm_up:
        await warmup.start(db, made["name"], who="API")
    return EgressOut(**made)


@router.get("/egresses/{egress_name}")
async def get_egress(db: HouseDb, egress_name: Named) -> EgressOut:
    """One sending address."""
    return EgressOut(**await egress.get(db, egress_name))


@router.patch("/egresses/{egress_name}")
async def change_egress(db: HouseDb, settings: AppSettings, egress_name: Named, change: EgressPatch) -> EgressOut:
    """Change a sending address, or take it out of use and back."""
    return EgressOut(**await egress.change(db, settings, egress_name, **change.model_dump()))


@router.delete("/egresses/{egress_name}", status_code=204)
async def remove_egress(
    db: HouseDb,
    egress_name: Named,
    now: Annotated[bool, Query(description="Do not wait: another address carries what is left.")] = False,
) -> None:
    """Remove a sending address. It takes nothing new and goes when nothing of it is on its way."""
    await egress.remove(db, egress_name, now=now)


@router.post("/egresses/{egress_name}/check")
async def check_egress(db: HouseDb, settings: AppSettings, egress_name: Named) -> EgressOut:
    """Look whether this server has the addresses and whether reverse DNS is right."""
    return EgressOut(**await check(db, egress_name, settings))


@router.get("/pools")
async def list_pools(db: HouseDb) -> Pools:
    """Pools of sending addresses."""
    return Pools(items=[PoolOut(**row) for row in await pools.listed(db)])


@router.post("/pools", status_code=201)
async def add_pool(db: HouseDb, new: PoolIn) -> PoolOut:
    """Add a pool."""
    return PoolOut(**await pools.add(db, new.name))


@router.delete("/pools/{pool}", status_code=204)
async def remove_pool(db: HouseDb, pool: Named) -> None:
    """Remove a pool that no rule leads to."""
    await pools.remove(db, pool)


@router.put("/pools/{pool}/egresses/{egress_name}")
async def put_pool_member(db: HouseDb, pool: Named, egress_name: Named, member: WeightIn) -> PoolOut:
    """Put a sending address into a pool, or change its share."""
    return PoolOut(**await pools.put_member(db, pool, egress_name, weight=member.weight))


@router.delete("/pools/{pool}/egresses/{egress_name}", status_code=204)
async def drop_pool_member(db: HouseDb, pool: Named, egress_name: Named) -> None:
    """Take a sending address out of a pool."""
    await pools.drop_member(db, pool, egress_name)


@router.get("/pool-rules")
async def list_pool_rules(db: HouseDb) -> PoolRules:
    """Which mail uses which pool."""
    return PoolRules(items=[PoolRuleOut(**row) for row in await pools.rules(db)])


@router.post("/pool-rules", status_code=201)
async def put_pool_rule(db: HouseDb, new: PoolRuleIn) -> PoolRuleOut:
    """Set which pool carries a stream; replaces the rule for the same mail."""
    return PoolRuleOut(**await pools.put_rule(db, **new.model_dump()))


@router.delete("/pool-rules/{pool_rule}", status_code=204)
async def drop_pool_rule(db: HouseDb, pool_rule: Id) -> None:
    """Remove a rule; the next wider one counts."""
    await pools.drop_rule(db, pool_rule)


@router.get("/providers")
async def list_providers(db: HouseDb) -> Providers:
    """The book of providers, with what is set instead."""
    return Providers(items=[ProviderOut(**entry) for entry in await limits.listed(db)])


@router.put("/providers/{provider}")
async def put_limits(db: HouseDb, provider: Named, new: LimitsIn) -> ProviderOut:
    """Set limits at a provider, for one sending address or for all."""
    values = new.model_dump()
    return ProviderOut(**await limits.put(db, provider, values, egress=values.pop("egress")))
