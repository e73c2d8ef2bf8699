"""JSON API of removed mailboxes, and of making many at once."""

from typing import Annotated, Literal

from fastapi import Query

from thurn.mailhost import box_import, bulk, mailboxes, removed
from thurn.mailhost.schemas import (
    MailboxFull,
    MailboxImportIn,
    MailboxImportOut,
    MailboxImportRow,
    MailboxImportRows,
    RemovedMailboxes,
    RemovedOut,
)
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import BigId, Cursor, Id, Limit, api_router, number_of, text_of

router = api_router("mailhost")
Mail = Annotated[
    Literal["keep", "destroy"],
    Query(description="What becomes of the mail: kept for 30 days, in which it can be restored, or destroyed now."),
]


@router.get("/removed-mailboxes")
async def list_removed_mailboxes(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> RemovedMailboxes:
    """Removed mailboxes whose mail is still here, by address."""
    found = await removed.page(db, after=text_of(cursor), limit=limit)
    return RemovedMailboxes(
        items=[RemovedOut(**row) for row in found], next=removed.place_of(found[-1]) if len(found) == limit else None
    )


@router.post("/removed-mailboxes/{removed_id}/restore")
async def restore_mailbox(db: ApiDb, removed_id: Id) -> MailboxFull:
    """Bring it back with its mail, password, app passwords and aliases. 409 while its address is taken."""
    return MailboxFull(**await mailboxes.get_mailbox(db, await removed.restore(db, removed_id)))


@router.delete("/removed-mailboxes/{removed_id}", status_code=204)
async def destroy_removed_mailbox(db: ApiDb, removed_id: Id) -> None:
    """Destroy its mail now. Nobody can bring it back."""
    await removed.destroy(db, removed_id)


@router.post("/mailbox-imports", status_code=201)
async def import_mailboxes(db: ApiDb, key: Keyed, settings: AppSettings, new: MailboxImportIn) -> MailboxImportOut:
    """Make up to 5,000 mailboxes in the background. Look at it until its state is `done`, then fetch its `rows`."""
    wanted = bulk.listed([(e.address, e.name, e.password, e.quota_bytes) for e in new.mailboxes])
    looked = await bulk.look_through(db, wanted)
    number = await box_import.create(db, key.workspace_id, settings, filename="API", wanted=looked)
    if any(not each.problem for each in looked):
        await box_import.start(db, key.workspace_id, number)
    return MailboxImportOut(**await box_import.get(db, number))


@router.get("/mailbox-imports/{box_import_id}")
async def get_mailbox_import(db: ApiDb, box_import_id: BigId) -> MailboxImportOut:
    """How far it is."""
    return MailboxImportOut(**await box_import.get(db, box_import_id))


@router.get("/mailbox-imports/{box_import_id}/rows")
async def list_mailbox_import_rows(
    db: ApiDb, settings: AppSettings, box_import_id: BigId, limit: Limit = 25, cursor: Cursor = None
) -> MailboxImportRows:
    """What became of each row, in order; passwords that were made are here for a day."""
    await box_import.get(db, box_import_id)
    found = await box_import.page(
        db, settings, box_import_id, after=number_of(cursor) or 0, limit=limit, passwords=True
    )
    return MailboxImportRows(
        items=[MailboxImportRow(**row | {"password": row["password"] or None}) for row in found],
        next=str(found[-1]["line"]) if len(found) == limit else None,
    )


@router.post("/mailbox-imports/{box_import_id}/cancel", status_code=204)
async def cancel_mailbox_import(db: ApiDb, box_import_id: BigId) -> None:
    """Stop it; what is made stays. 409 when it had ended."""
    await box_import.cancel(db, box_import_id)


@router.delete("/mailbox-imports/{box_import_id}/passwords", status_code=204)
async def forget_mailbox_import_passwords(db: ApiDb, box_import_id: BigId) -> None:
    """Forget the passwords that were made, now."""
    await box_import.forget(db, box_import_id)
