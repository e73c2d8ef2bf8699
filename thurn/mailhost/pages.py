"""Pages of mailhost: domains with their DNS records, and mailboxes."""

from fastapi import APIRouter

from thurn.mailhost import alias_pages, bulk_pages, domain_pages, mailbox_pages, mailbox_parts, removed_pages

router = APIRouter()
router.include_router(domain_pages.router, prefix="/w/{workspace}/domains")
for pages in (
    alias_pages,
    bulk_pages,
    removed_pages,
    mailbox_parts,
):  # before those of one mailbox, whose address could be any word
    router.include_router(pages.router, prefix="/w/{workspace}/mailboxes")
router.include_router(mailbox_pages.router, prefix="/w/{workspace}/mailboxes")
