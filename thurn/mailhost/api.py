"""JSON API of mailhost: domains and mailboxes."""

from thurn.dns import publishing
from thurn.dns.check import check_domain
from thurn.dns.facts import facts
from thurn.dns.records import records
from thurn.mailhost import aliases, bulk, domain_settings, mailboxes, removed_api, rights_api, rotate, service
from thurn.mailhost.removed_api import Mail
from thurn.mailhost.schemas import (
    AliasIn,
    BatchOut,
    ChangeOut,
    Changes,
    Checked,
    CheckOut,
    DomainIn,
    DomainOut,
    DomainPatch,
    Domains,
    KeyOut,
    Keys,
    MailboxBatch,
    Mailboxes,
    MailboxesMade,
    MailboxFull,
    MailboxIn,
    MailboxMade,
    MailboxOut,
    MailboxPatch,
    PasswordIn,
    PasswordOut,
    PublisherIn,
    PublisherOut,
    RecordOut,
    Records,
)
from thurn.problems import NotFound
from thurn.web.edge import ApiDb, AppSettings, Keyed
from thurn.web.schemas import Cursor, Limit, Name, api_router, text_of

router = api_router("mailhost")
router.include_router(rights_api.router)
router.include_router(removed_api.router)


@router.get("/domains")
async def list_domains(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Domains:
    """Domains by name."""
    found = await service.domain_page(db, after=text_of(cursor) or "", limit=limit)
    return Domains(items=[DomainOut(**row) for row in found], next=found[-1]["name"] if len(found) == limit else None)


@router.post("/domains", status_code=201)
async def add_domain(db: ApiDb, key: Keyed, settings: AppSettings, new: DomainIn) -> DomainOut:
    """Add a domain and make its DKIM keys. Publish its `records`, then `check` it."""
    number = await service.add_domain(db, key.workspace_id, name=new.name, settings=settings)
    return DomainOut(**await service.get_domain_by_id(db, number))


@router.get("/domains/{name}")
async def get_domain(db: ApiDb, name: Name) -> DomainOut:
    """One domain."""
    return DomainOut(**await service.get_domain(db, name))


@router.patch("/domains/{name}")
async def change_domain(db: ApiDb, name: Name, change: DomainPatch) -> DomainOut:
    """Change what the domain asks of others. Publish its `records` again afterwards."""
    await domain_settings.change(db, name, **change.model_dump())
    return DomainOut(**await service.get_domain(db, name))


@router.get("/domains/{name}/keys")
async def list_keys(db: ApiDb, name: Name) -> Keys:
    """The DKIM keys. One of each algorithm is active and signs."""
    return Keys(items=[KeyOut(**key) for key in (await service.get_domain(db, name))["keys"]])


@router.post("/domains/{name}/keys", status_code=201)
async def rotate_keys(db: ApiDb, settings: AppSettings, name: Name) -> Keys:
    """Make the next pair of DKIM keys. Publish them; Thurn signs with them once all name servers have them."""
    await rotate.start(db, await service.get_domain(db, name), settings)
    return await list_keys(db, name)


@router.delete("/domains/{name}/keys", status_code=204)
async def cancel_rotation(db: ApiDb, name: Name) -> None:
    """Drop the keys that do not sign yet."""
    await rotate.cancel(db, await service.get_domain(db, name))


@router.get("/domains/{name}/publisher")
async def get_publisher(db: ApiDb, name: Name) -> PublisherOut:
    """Where the domain's DNS is kept; 404 while Thurn does not know."""
    found = await publishing.get(db, await service.get_domain(db, name))
    if found is None:
        raise NotFound("Thurn does not know where the DNS of this domain is kept.")
    return PublisherOut(**found)


@router.put("/domains/{name}/publisher")
async def put_publisher(db: ApiDb, settings: AppSettings, name: Name, new: PublisherIn) -> PublisherOut:
    """Say where the domain's DNS is kept and how to get in."""
    domain = await service.get_domain(db, name)
    await publishing.put(db, domain, settings, provider=new.provider, zone=new.zone, access=new.access)
    return await get_publisher(db, name)


@router.delete("/domains/{name}/publisher", status_code=204)
async def forget_publisher(db: ApiDb, name: Name) -> None:
    """Destroy the way in."""
    await publishing.forget(db, await service.get_domain(db, name))


@router.post("/domains/{name}/publish")
async def publish_records(db: ApiDb, settings: AppSettings, name: Name, dry_run: bool = False) -> Changes:
    """Create and replace the records of the domain in its zone; with `dry_run` say what would change.

    Records of others are never deleted: SPF is merged, and what leads elsewhere is left to you.
    """
    domain = await service.get_domain(db, name)
    found = await (publishing.preview if dry_run else publishing.publish)(db, domain, settings)
    return Changes(published=not dry_run, items=[ChangeOut(**change.as_json()) for change in found])


@router.delete("/domains/{name}", status_code=204)
async def remove_domain(db: ApiDb, name: Name, mail: Mail = "keep") -> None:
    """Remove a domain with its keys, mailboxes and aliases. Add it again to restore its mailboxes."""
    await service.remove_domain(db, name, destroy=mail == "destroy")


@router.get("/domains/{name}/records")
async def list_records(db: ApiDb, settings: AppSettings, name: Name) -> Records:
    """What DNS should say about the domain."""
    wanted = records(facts(await service.get_domain(db, name), settings))
    return Records(items=[RecordOut(**record.as_json()) for record in wanted])


@router.post("/domains/{name}/check")
async def check_records(db: ApiDb, settings: AppSettings, name: Name) -> Checked:
    """Look at DNS now and say what is right, what is not, and how to mend it. Takes some seconds at most."""
    domain = await service.get_domain(db, name)
    checks = await check_domain(db, domain["id"], settings)
    return Checked(
        domain=DomainOut(**await service.get_domain(db, name)),
        checks=[CheckOut(**check.as_json()) for check in checks],
    )


@router.get("/mailboxes")
async def list_mailboxes(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Mailboxes:
    """Mailboxes by address."""
    found = await mailboxes.mailbox_page(db, after=text_of(cursor), limit=limit)
    return Mailboxes(
        items=[MailboxOut(**row) for row in found], next=found[-1]["address"] if len(found) == limit else None
    )


@router.post("/mailboxes", status_code=201)
async def add_mailbox(db: ApiDb, key: Keyed, new: MailboxIn) -> MailboxMade:
    """Make a mailbox in one of your domains."""
    password = await mailboxes.add_mailbox(
        db,
        key.workspace_id,
        address=new.address,
        password=new.password,
        name=new.name,
        quota_bytes=new.quota_bytes,
    )
    row = await mailboxes.get_mailbox(db, new.address)
    return MailboxMade(**row, password=password if new.password is None else None)


@router.post("/mailboxes/batch")
async def add_mailboxes(db: ApiDb, key: Keyed, new: MailboxBatch) -> MailboxesMade:
    """Make up to 100 mailboxes. Each is made or refused by itself; generated passwords are shown this once."""
    wanted = [
        bulk.Wanted(number, each.address, each.name, each.password, each.quota_bytes)
        for number, each in enumerate(new.mailboxes, 1)
    ]
    return MailboxesMade(
        items=[
            BatchOut(address=made.address, password=made.password or None, problem=made.problem or None)
            async for made in bulk.make(db, key.workspace_id, wanted)
        ]
    )


@router.get("/mailboxes/{address}")
async def get_mailbox(db: ApiDb, address: Name) -> MailboxFull:
    """One mailbox."""
    return MailboxFull(**await mailboxes.get_mailbox(db, address))


@router.patch("/mailboxes/{address}")
async def update_mailbox(db: ApiDb, address: Name, change: MailboxPatch) -> MailboxFull:
    """Change its name or size, or disable it: then nobody signs in and new mail is refused."""
    await mailboxes.update_mailbox(
        db,
        address,
        name=change.name,
        quota_bytes=change.quota_bytes,
        send_limit=change.send_limit,
        may_send=change.may_send,
    )
    if change.enabled is not None:
        await mailboxes.set_enabled(db, address, enabled=change.enabled)
    return MailboxFull(**await mailboxes.get_mailbox(db, address))


@router.delete("/mailboxes/{address}", status_code=204)
async def remove_mailbox(db: ApiDb, address: Name, mail: Mail = "keep") -> None:
    """Close a mailbox, and the aliases that lead to it."""
    await mailboxes.remove_mailbox(db, address, destroy=mail == "destroy")


@router.post("/mailboxes/{address}/password")
async def set_mailbox_password(db: ApiDb, address: Name, new: PasswordIn) -> PasswordOut:
    """Replace the password; a generated one is shown this once."""
    password = await mailboxes.set_password(db, address, new.password)
    return PasswordOut(password=password if new.password is None else None)


@router.post("/mailboxes/{address}/aliases", status_code=201)
async def add_alias(db: ApiDb, key: Keyed, address: Name, alias: AliasIn) -> MailboxFull:
    """Let mail to another address arrive here."""
    await mailboxes.get_mailbox(db, address)
    await aliases.add(db, key.workspace_id, address=alias.address, target=address)
    return MailboxFull(**await mailboxes.get_mailbox(db, address))


@router.delete("/mailboxes/{address}/aliases/{alias}", status_code=204)
async def remove_alias(db: ApiDb, address: Name, alias: Name) -> None:
    """Undo it."""
    await aliases.remove(db, address=alias, target=address)
