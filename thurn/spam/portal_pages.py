"""What the owner of a mailbox sees: what is held for them, and their own wishes. Every query names the mailbox."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.db.fetch import one as one_row
from thurn.portal.edge import AsMailbox, MailboxDb, MailboxViewer, page
from thurn.problems import Conflict, Invalid, Problem
from thurn.spam import delivery, preferences, quarantine
from thurn.spam.held_pages import HeldId, shown
from thurn.spam.reading import read
from thurn.spam.wish_pages import Text, Whose, context, wish_of
from thurn.web.edge import AppSettings

router = APIRouter()
LIMIT = 20
HERE = "/mailbox/held"


@router.get("")
async def table(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """What is held for this mailbox, newest first."""
    found = await quarantine.held(db, me.mailbox_id, before=before, limit=LIMIT + 1)
    _, effective = await preferences.get(db, await _domain(db, me), me.mailbox_id)
    return page(
        request,
        me,
        "spam/portal_held.html",
        mails=[shown(row) for row in found[:LIMIT]],
        held=await quarantine.count(db, me.mailbox_id),
        older=f"{HERE}?before={found[LIMIT - 1]['id']}" if found[LIMIT:] else "",
        first=before is None,
        outcome=preferences.outcome(effective),
        done=done,
    )


@router.get("/wishes")
async def wishes(request: Request, me: AsMailbox, db: MailboxDb, saved: str = "") -> Response:
    """The mailbox's own wishes and senders."""
    return await _wishes(request, me, db, saved=bool(saved))


@router.post("/wishes")
async def save(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    junk_at: Text = "",
    refuse_at: Text = "",
    greylist: Text = "",
    digest: Text = "",
    digest_hour: Text = "",
) -> Response:
    """Replace the wishes."""
    given = {"junk_at": junk_at, "refuse_at": refuse_at, "greylist": greylist, "digest": digest,
             "digest_hour": digest_hour}  # fmt: skip
    try:
        wish = wish_of(given)
        await preferences.put(db, me.workspace_id, await _domain(db, me), me.mailbox_id, wish=wish)
    except Invalid as refused:
        return await _wishes(request, me, db, refused=refused, given=given)
    return RedirectResponse(f"{HERE}/wishes?saved=1", 303)


@router.post("/wishes/senders")
async def add_sender(
    request: Request, me: AsMailbox, db: MailboxDb, sender: Text = "", verdict: Text = "block"
) -> Response:
    """Put somebody on the own list."""
    try:
        await preferences.add_sender(
            db, me.workspace_id, await _domain(db, me), me.mailbox_id,
            sender=sender, verdict="allow" if verdict == "allow" else "block",
        )  # fmt: skip
    except (Invalid, Conflict) as refused:
        return await _wishes(request, me, db, refused=refused, given={"sender": sender, "verdict": verdict})
    return RedirectResponse(f"{HERE}/wishes?saved=1", 303)


@router.post("/wishes/senders/remove")
async def remove_sender(me: AsMailbox, db: MailboxDb, sender: Annotated[str, Form(max_length=400)] = "") -> Response:
    """Take somebody off it."""
    await preferences.remove_sender(db, await _domain(db, me), me.mailbox_id, sender=sender)
    return RedirectResponse(f"{HERE}/wishes?saved=1", 303)


@router.get("/{held_id}")
async def one(request: Request, me: AsMailbox, db: MailboxDb, held_id: HeldId) -> Response:
    """One of them, as text."""
    return await _mail(request, me, db, held_id)


@router.post("/{held_id}/release")
async def release(request: Request, me: AsMailbox, db: MailboxDb, settings: AppSettings, held_id: HeldId) -> Response:
    """Let it through into the own inbox."""
    try:
        async with db.transaction():
            await delivery.release(db, settings, held_id, me.mailbox_id)
    except Conflict as refused:
        return await _mail(request, me, db, held_id, refused=str(refused))
    return RedirectResponse(f"{HERE}?done=released", 303)


@router.post("/{held_id}/delete")
async def delete(me: AsMailbox, db: MailboxDb, held_id: HeldId) -> Response:
    """Delete it for good."""
    await quarantine.get(db, held_id, me.mailbox_id)
    await quarantine.delete(db, [held_id], me.mailbox_id)
    return RedirectResponse(f"{HERE}?done=deleted", 303)


async def _domain(db: Connection, me: MailboxViewer) -> int:
    row = await one_row(db, "SELECT domain_id FROM mailbox WHERE id = %s", [me.mailbox_id])
    return int(row["domain_id"])


async def _mail(request: Request, me: MailboxViewer, db: Connection, held_id: int, refused: str = "") -> Response:
    row = await quarantine.get(db, held_id, me.mailbox_id, message=True)
    return page(
        request, me, "spam/portal_mail.html", 409 if refused else 200,
        mail=shown(row), reading=read(row["message"]), refused=refused, held=await quarantine.count(db, me.mailbox_id),
    )  # fmt: skip


async def _wishes(
    request: Request,
    me: MailboxViewer,
    db: Connection,
    *,
    refused: Problem | None = None,
    given: dict[str, str] | None = None,
    saved: bool = False,
) -> Response:
    whose = Whose(await _domain(db, me), me.mailbox_id, me.address, f"{HERE}/wishes", "your organisation")
    status = 409 if isinstance(refused, Conflict) else 422 if refused else 200
    found = await context(db, whose, refused=refused, given=given, saved=saved)
    return page(request, me, "spam/portal_wishes.html", status, held=await quarantine.count(db, me.mailbox_id), **found)
