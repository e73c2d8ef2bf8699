"""JSON API of the portal, for administrators: absence, rules, sessions and two-factor of any mailbox."""

from dataclasses import asdict

from thurn.db.connect import Connection
from thurn.mailhost import mailboxes
from thurn.portal import changes, filters, security, sessions, two_factor
from thurn.portal.schemas import (
    AbsenceIn,
    AbsenceOut,
    RuleIn,
    RuleOut,
    Rules,
    SessionOut,
    Sessions,
    TwoFactorOut,
)
from thurn.portal.sieve import Absence
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import Id, Name, api_router

router = api_router("portal")


@router.get("/mailboxes/{address}/absence")
async def get_absence(db: ApiDb, address: Name) -> AbsenceOut:
    """The absence reply of a mailbox."""
    return await _absence(db, (await mailboxes.get_mailbox(db, address))["id"])


@router.put("/mailboxes/{address}/absence")
async def set_absence(db: ApiDb, key: Keyed, settings: AppSettings, address: Name, new: AbsenceIn) -> AbsenceOut:
    """Replace the absence reply, for somebody who left without one."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    await filters.put_absence(db, key.workspace_id, number, Absence(**new.model_dump()))
    await changes.note(db, key.workspace_id, number, "The absence reply was changed", by_admin=True)
    await filters.publish(db, settings, number)
    return await _absence(db, number)


@router.get("/mailboxes/{address}/rules")
async def list_rules(db: ApiDb, address: Name) -> Rules:
    """The sorting rules of a mailbox, in order."""
    return await _rules(db, (await mailboxes.get_mailbox(db, address))["id"])


@router.post("/mailboxes/{address}/rules", status_code=201)
async def add_rule(db: ApiDb, key: Keyed, settings: AppSettings, address: Name, new: RuleIn) -> Rules:
    """Put a rule behind the others."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    rule = filters.checked(new.field, new.contains, new.action, new.argument, active=new.active)
    await filters.add_rule(db, key.workspace_id, number, rule)
    await changes.note(db, key.workspace_id, number, f"A rule for “{rule.contains}” was made", by_admin=True)
    await filters.publish(db, settings, number)
    return await _rules(db, number)


@router.put("/mailboxes/{address}/rules/{rule_id}")
async def change_rule(
    db: ApiDb, key: Keyed, settings: AppSettings, address: Name, rule_id: Id, new: RuleIn
) -> Rules:  # fmt: skip
    """Make another one of a rule, in its place."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    rule = filters.checked(new.field, new.contains, new.action, new.argument, active=new.active)
    await filters.change_rule(db, number, rule_id, rule)
    await changes.note(db, key.workspace_id, number, f"A rule for “{rule.contains}” was changed", by_admin=True)
    await filters.publish(db, settings, number)
    return await _rules(db, number)


@router.delete("/mailboxes/{address}/rules/{rule_id}", status_code=204)
async def remove_rule(db: ApiDb, key: Keyed, settings: AppSettings, address: Name, rule_id: Id) -> None:
    """Remove a rule."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    await filters.remove_rule(db, number, rule_id)
    await changes.note(db, key.workspace_id, number, "A rule was removed", by_admin=True)
    await filters.publish(db, settings, number)


@router.get("/mailboxes/{address}/sessions")
async def list_portal_sessions(db: ApiDb, address: Name) -> Sessions:
    """Browsers that are signed in to the portal as this mailbox."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    return Sessions(
        items=[
            SessionOut(created_at=row["created_at"], ip=row["ip"], device=security.device(row["user_agent"]))
            for row in await sessions.of_mailbox(db, number)
        ]
    )


@router.delete("/mailboxes/{address}/sessions", status_code=204)
async def end_portal_sessions(db: ApiDb, key: Keyed, address: Name) -> None:
    """Sign everybody out of the portal and of webmail. Password and app passwords stay."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    await sessions.end_others(db, number)
    await changes.note(db, key.workspace_id, number, "Everybody was signed out", by_admin=True)


@router.get("/mailboxes/{address}/two-factor")
async def get_two_factor(db: ApiDb, address: Name) -> TwoFactorOut:
    """Whether the portal asks for a code."""
    now = await two_factor.status(db, (await mailboxes.get_mailbox(db, address))["id"])
    return TwoFactorOut(on=now.on, recovery_codes=now.recovery_codes)


@router.delete("/mailboxes/{address}/two-factor", status_code=204)
async def reset_two_factor(db: ApiDb, key: Keyed, address: Name) -> None:
    """Turn two-factor off for somebody who lost the phone; make sure that it is they who ask. The owner is told."""
    number = (await mailboxes.get_mailbox(db, address))["id"]
    await two_factor.turn_off(db, key.workspace_id, number, by_admin=True)


async def _absence(db: Connection, number: int) -> AbsenceOut:
    now = await filters.absence(db, number)
    return AbsenceOut(**asdict(now), in_force=not await filters.pending(db, number))


async def _rules(db: Connection, number: int) -> Rules:
    return Rules(
        items=[RuleOut(**row) for row in await filters.rules(db, number)],
        in_force=not await filters.pending(db, number),
    )
