"""Pages of spam: the quarantine, wishes of domains and mailboxes, and what the owner of a mailbox sees of both."""

from fastapi import APIRouter

from thurn.spam import held_pages, portal_pages, wish_pages

router = APIRouter()
router.include_router(held_pages.router, prefix="/w/{workspace}/quarantine")
router.include_router(wish_pages.router, prefix="/w/{workspace}")
router.include_router(portal_pages.router, prefix="/mailbox/held")
