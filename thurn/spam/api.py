"""JSON API of spam: what is held, and what domains and mailboxes wish."""

from dataclasses import asdict
from typing import Annotated

from fastapi import Path, Query

from thurn.db.connect import Connection, Row
from thurn.mailhost import mailboxes, service
from thurn.spam import delivery, preferences, quarantine
from thurn.spam.preferences import Preferences
from thurn.spam.reading import read
from thurn.spam.reasons import reasons
from thurn.spam.schemas import (
    EffectiveOut,
    HeldFull,
    HeldOut,
    HeldPage,
    Released,
    SenderIn,
    SenderOut,
    Senders,
    SymbolOut,
    WishIn,
    WishOut,
)
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import Cursor, Limit, Name, api_router, number_of

router = api_router("spam")
HeldId = Annotated[int, Path(ge=1, le=2**62)]


@router.get("/quarantine")
async def list_held(
    db: ApiDb,
    limit: Limit = 25,
    cursor: Cursor = None,
    mailbox: Annotated[str | None, Query(max_length=320)] = None,
    q: Annotated[str, Query(max_length=200)] = "",
) -> HeldPage:
    """Mail that was refused as spam and is held for 30 days, newest first."""
    box = None if mailbox is None else (await mailboxes.get_mailbox(db, mailbox))["id"]
    found = await quarantine.held(db, box, before=number_of(cursor), query=q, limit=limit)
    return HeldPage(items=[HeldOut(**_held(row)) for row in found], next=_next(found, limit))


@router.get("/quarantine/{held_id}")
async def get_held(db: ApiDb, held_id: HeldId) -> HeldFull:
    """One held mail, as text."""
    row = await quarantine.get(db, held_id, message=True)
    reading = read(row["message"])
    symbols = [SymbolOut(**symbol) for symbol in row["symbols"]]
    return HeldFull(**_held(row), symbols=symbols, text=reading.text, shortened=reading.shortened, files=reading.files)


@router.post("/quarantine/{held_id}/release")
async def release_held(db: ApiDb, settings: AppSettings, held_id: HeldId) -> Released:
    """Let it through: into the inbox it was for, and nobody else's. The filter learns that it is no spam."""
    row = await delivery.release(db, settings, held_id)
    return Released(address=row["address"])


@router.delete("/quarantine/{held_id}", status_code=204)
async def delete_held(db: ApiDb, held_id: HeldId) -> None:
    """Delete it for good."""
    await quarantine.get(db, held_id)
    await quarantine.delete(db, [held_id])


# ---------------------------------------------------------------- wishes


@router.get("/domains/{name}/spam")
async def get_domain_spam(db: ApiDb, name: Name) -> WishOut:
    """What the domain wishes."""
    return await _wish(db, (await service.get_domain(db, name))["id"])


@router.put("/domains/{name}/spam")
async def set_domain_spam(db: ApiDb, key: Keyed, name: Name, wish: WishIn) -> WishOut:
    """Replace what the domain wishes."""
    domain = await service.get_domain(db, name)
    await preferences.put(db, key.workspace_id, domain["id"], wish=Preferences(**wish.model_dump()))
    return await _wish(db, domain["id"])


@router.get("/domains/{name}/senders")
async def list_domain_senders(db: ApiDb, name: Name) -> Senders:
    """Whom the domain always or never takes mail from."""
    return await _senders(db, (await service.get_domain(db, name))["id"])


@router.post("/domains/{name}/senders", status_code=201)
async def add_domain_sender(db: ApiDb, key: Keyed, name: Name, new: SenderIn) -> Senders:
    """Put a sender on the domain's list."""
    domain = await service.get_domain(db, name)
    await preferences.add_sender(db, key.workspace_id, domain["id"], sender=new.sender, verdict=new.verdict)
    return await _senders(db, domain["id"])


@router.delete("/domains/{name}/senders/{sender}", status_code=204)
async def remove_domain_sender(db: ApiDb, name: Name, sender: Name) -> None:
    """Take a sender off the domain's list."""
    await preferences.remove_sender(db, (await service.get_domain(db, name))["id"], sender=sender)


@router.get("/mailboxes/{address}/spam")
async def get_mailbox_spam(db: ApiDb, address: Name) -> WishOut:
    """What the mailbox wishes."""
    box = await mailboxes.get_mailbox(db, address)
    return await _wish(db, box["domain_id"], box["id"])


@router.put("/mailboxes/{address}/spam")
async def set_mailbox_spam(db: ApiDb, key: Keyed, address: Name, wish: WishIn) -> WishOut:
    """Replace what the mailbox wishes."""
    box = await mailboxes.get_mailbox(db, address)
    await preferences.put(db, key.workspace_id, box["domain_id"], box["id"], wish=Preferences(**wish.model_dump()))
    return await _wish(db, box["domain_id"], box["id"])


@router.get("/mailboxes/{address}/senders")
async def list_mailbox_senders(db: ApiDb, address: Name) -> Senders:
    """Whom the mailbox always or never takes mail from, before what its domain says."""
    box = await mailboxes.get_mailbox(db, address)
    return await _senders(db, box["domain_id"], box["id"])


@router.post("/mailboxes/{address}/senders", status_code=201)
async def add_mailbox_sender(db: ApiDb, key: Keyed, address: Name, new: SenderIn) -> Senders:
    """Put a sender on the mailbox's list."""
    box = await mailboxes.get_mailbox(db, address)
    await preferences.add_sender(
        db, key.workspace_id, box["domain_id"], box["id"], sender=new.sender, verdict=new.verdict
    )
    return await _senders(db, box["domain_id"], box["id"])


@router.delete("/mailboxes/{address}/senders/{sender}", status_code=204)
async def remove_mailbox_sender(db: ApiDb, address: Name, sender: Name) -> None:
    """Take a sender off the mailbox's list."""
    box = await mailboxes.get_mailbox(db, address)
    await preferences.remove_sender(db, box["domain_id"], box["id"], sender=sender)


# ---------------------------------------------------------------- what they share


async def _wish(db: Connection, domain_id: int, mailbox_id: int | None = None) -> WishOut:
    own, effective = await preferences.get(db, domain_id, mailbox_id)
    return WishOut(
        own=WishIn(**asdict(own)),
        effective=EffectiveOut(**asdict(effective)),
        outcome=preferences.outcome(effective),
    )


async def _senders(db: Connection, domain_id: int, mailbox_id: int | None = None) -> Senders:
    return Senders(items=[SenderOut(**row) for row in await preferences.senders(db, domain_id, mailbox_id)])


def _held(row: Row) -> Row:
    why = reasons(row["symbols"], header_from=row["header_from"], mail_from=row["mail_from"])
    shown = ("id", "at", "address", "mail_from", "header_from", "subject", "score", "required", "size")
    return {**{name: row[name] for name in shown}, "reasons": [reason.text for reason in why]}


def _next(found: list[Row], limit: int) -> str | None:
    return str(found[-1]["id"]) if len(found) == limit else None
