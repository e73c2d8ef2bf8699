"""JSON API of what belongs to mailboxes: aliases, forwarding, app passwords, rights to send, copies for the record."""

from typing import Annotated

from fastapi import Query

from thurn.mailhost import aliases, app_passwords, forwards, mailboxes, rights
from thurn.mailhost.schemas import (
    Aliases,
    AliasOf,
    AliasOut,
    AliasTo,
    AppPasswordIn,
    AppPasswordMade,
    AppPasswordOut,
    AppPasswords,
    Copies,
    CopyIn,
    CopyOut,
    ForwardingIO,
    SenderIn,
    Senders,
)
from thurn.web.edge import ApiDb, Keyed
from thurn.web.schemas import BigId, Cursor, Id, Limit, Name, Text, api_router, text_of

router = api_router("mailhost")


@router.get("/aliases")
async def list_aliases(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Aliases:
    """Aliases by address, each with everybody it leads to."""
    found = await aliases.page(db, after=text_of(cursor), limit=limit)
    return Aliases(items=[AliasOut(**row) for row in found], next=found[-1]["address"] if len(found) == limit else None)


@router.post("/aliases", status_code=204)
async def make_alias(db: ApiDb, key: Keyed, new: AliasTo) -> None:
    """Let mail to an address, or to `@domain` for everything else there, go to a mailbox or to an address anywhere."""
    await aliases.add(db, key.workspace_id, address=new.address, target=new.target)


@router.delete("/aliases/{alias}", status_code=204)
async def drop_alias(db: ApiDb, alias: Name, target: Annotated[Text, Query(min_length=1, max_length=320)]) -> None:
    """Let it lead to `target` no longer."""
    await aliases.remove(db, address=alias, target=target)


@router.put("/domains/{name}/alias-of", status_code=204)
async def lead_domain(db: ApiDb, name: Name, to: AliasOf) -> None:
    """Make every address of the domain the same address of another one of yours; null ends that."""
    await aliases.lead_domain(db, name, to.target)


@router.get("/mailboxes/{address}/forwarding")
async def get_forwarding(db: ApiDb, address: Name) -> ForwardingIO:
    """Where its mail goes on to."""
    found = await forwards.get(db, (await mailboxes.get_mailbox(db, address))["id"])
    return ForwardingIO(targets=list(found.targets), keep_copy=found.keep_copy)


@router.put("/mailboxes/{address}/forwarding")
async def put_forwarding(db: ApiDb, key: Keyed, address: Name, wanted: ForwardingIO) -> ForwardingIO:
    """Send its mail on to these from now on. Spam is not."""
    row = await mailboxes.get_mailbox(db, address)
    kept = await forwards.put(db, key.workspace_id, row["id"], targets=wanted.targets, keep_copy=wanted.keep_copy)
    return ForwardingIO(targets=list(kept.targets), keep_copy=kept.keep_copy)


@router.get("/mailboxes/{address}/app-passwords")
async def list_app_passwords(db: ApiDb, address: Name) -> AppPasswords:
    """Its app passwords, without the secrets, which nobody can read again."""
    found = await app_passwords.of_mailbox(db, (await mailboxes.get_mailbox(db, address))["id"])
    return AppPasswords(items=[AppPasswordOut(**row) for row in found])


@router.post("/mailboxes/{address}/app-passwords", status_code=201)
async def make_app_password(db: ApiDb, key: Keyed, address: Name, new: AppPasswordIn) -> AppPasswordMade:
    """Make one; its secret is in the answer and nowhere else."""
    row = await mailboxes.get_mailbox(db, address)
    number, secret = await app_passwords.create(db, key.workspace_id, row["id"], name=new.name)
    return AppPasswordMade(id=number, password=secret)


@router.delete("/mailboxes/{address}/app-passwords/{app_password_id}", status_code=204)
async def revoke_app_password(db: ApiDb, address: Name, app_password_id: BigId) -> None:
    """Take one away."""
    await app_passwords.revoke(db, (await mailboxes.get_mailbox(db, address))["id"], app_password_id)


@router.get("/mailboxes/{address}/send-as")
async def list_senders(db: ApiDb, address: Name) -> Senders:
    """Addresses it may send as besides its own and its aliases."""
    return Senders(items=await rights.may_send_as(db, (await mailboxes.get_mailbox(db, address))["id"]))


@router.post("/mailboxes/{address}/send-as", status_code=204)
async def allow_sender(db: ApiDb, key: Keyed, address: Name, new: SenderIn) -> None:
    """Let it send as another address of your domains."""
    row = await mailboxes.get_mailbox(db, address)
    await rights.allow_sending(db, key.workspace_id, row["id"], new.sender)


@router.delete("/mailboxes/{address}/send-as/{alias}", status_code=204)
async def forbid_sender(db: ApiDb, address: Name, alias: Name) -> None:
    """Undo it."""
    await rights.forbid_sending(db, (await mailboxes.get_mailbox(db, address))["id"], alias)


@router.get("/copies")
async def list_copies(db: ApiDb) -> Copies:
    """Rules that copy mail for the record."""
    return Copies(items=[CopyOut(**row) for row in await rights.copies(db)])


@router.post("/copies", status_code=201)
async def add_copy(db: ApiDb, key: Keyed, new: CopyIn) -> Copies:
    """Copy what a mailbox or a whole domain receives or sends; returns every rule."""
    await rights.add_copy(
        db, key.workspace_id, direction=new.direction, address=new.address, copy_to=new.copy_to, outside=new.outside,
        by=f"API key {key.key_id}",
    )  # fmt: skip
    return Copies(items=[CopyOut(**row) for row in await rights.copies(db)])


@router.delete("/copies/{copy_id}", status_code=204)
async def remove_copy(db: ApiDb, copy_id: Id) -> None:
    """End one."""
    await rights.remove_copy(db, copy_id)
