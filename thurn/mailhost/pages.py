"""Pages of mailhost: domains with their DNS records, and mailboxes."""

from fastapi import APIRouter

from thurn.mailhost import domain_pages, mailbox_pages

router = APIRouter()
router.include_router(domain_pages.router, prefix="/w/{workspace}/domains")
router.include_router(mailbox_pages.router, prefix="/w/{workspace}/mailboxes")
