"""Absence and sorting rules."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.mailhost import forwards
from thurn.portal import changes, filters
from thurn.portal.edge import AsMailbox, MailboxDb, page
from thurn.portal.sieve import Absence, Rule
from thurn.problems import Conflict, Invalid, Problem
from thurn.web.edge import AppSettings
from thurn.web.schemas import Id

router = APIRouter()
Text = Annotated[str, Form(max_length=20_000)]
Short = Annotated[str, Form(max_length=1000)]


@router.get("/absence")
async def absence(request: Request, me: AsMailbox, db: MailboxDb, saved: bool = False) -> Response:
    """The absence reply."""
    now = await filters.absence(db, me.mailbox_id)
    values = {
        "active": now.active,
        "first_day": now.first_day or "",
        "last_day": now.last_day or "",
        "subject": now.subject,
        "body": now.body,
        "every_days": now.every_days,
    }
    return await _absence(request, me, db, values, saved=saved)


@router.post("/absence")
async def save_absence(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    settings: AppSettings,
    active: Annotated[bool, Form()] = False,
    first_day: Short = "",
    last_day: Short = "",
    subject: Short = "",
    body: Text = "",
    every_days: Short = "7",
) -> Response:
    """Save it and tell the mail server."""
    values = {
        "active": active, "first_day": first_day, "last_day": last_day, "subject": subject, "body": body,
        "every_days": every_days,
    }  # fmt: skip
    try:
        new = Absence(
            active, _day(first_day, "first_day"), _day(last_day, "last_day"), subject, body, _number(every_days)
        )
        await filters.put_absence(db, me.workspace_id, me.mailbox_id, new)
    except Invalid as refused:
        return await _absence(request, me, db, values, refused=refused)
    await filters.publish(db, settings, me.mailbox_id)
    return RedirectResponse("/mailbox/absence?saved=1", 303)


@router.get("/rules")
async def rules(request: Request, me: AsMailbox, db: MailboxDb, saved: bool = False) -> Response:
    """The rules in order, and a form for one more."""
    return await _rules(request, me, db, saved=saved)


@router.post("/rules")
async def add_rule(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    settings: AppSettings,
    field: Short = "",
    contains: Short = "",
    action: Short = "",
    argument: Short = "",
) -> Response:
    """One more rule, behind the others."""
    try:
        rule = filters.checked(field, contains, action, argument)
        await filters.add_rule(db, me.workspace_id, me.mailbox_id, rule)
    except (Invalid, Conflict) as refused:
        values = {"field": field, "contains": contains, "action": action, "argument": argument}
        return await _rules(request, me, db, values=values, refused=refused)
    if rule.action == "forward":
        await _told(me, db, rule)
    return await _published(me, db, settings)


@router.get("/rules/{number}")
async def edit_rule(request: Request, me: AsMailbox, db: MailboxDb, number: Id) -> Response:
    """The form of one rule."""
    return await _rule(request, me, db, await filters.get_rule(db, me.mailbox_id, number))


@router.post("/rules/{number}")
async def change_rule(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    settings: AppSettings,
    number: Id,
    field: Short = "",
    contains: Short = "",
    action: Short = "",
    argument: Short = "",
) -> Response:
    """Make another one of it; its place stays, and whether it is on."""
    now = await filters.get_rule(db, me.mailbox_id, number)
    try:
        rule = filters.checked(field, contains, action, argument, active=now["active"])
    except Invalid as refused:
        values = {"field": field, "contains": contains, "action": action, "argument": argument}
        return await _rule(request, me, db, now | values, refused)
    await filters.change_rule(db, me.mailbox_id, number, rule)
    if rule.action == "forward" and (now["action"], now["argument"]) != ("forward", rule.argument):
        await _told(me, db, rule)
    return await _published(me, db, settings)


@router.post("/rules/{number}/on")
async def rule_on(me: AsMailbox, db: MailboxDb, settings: AppSettings, number: Id) -> Response:
    """Switch a rule on."""
    await filters.set_active(db, me.mailbox_id, number, active=True)
    return await _published(me, db, settings)


@router.post("/rules/{number}/off")
async def rule_off(me: AsMailbox, db: MailboxDb, settings: AppSettings, number: Id) -> Response:
    """Switch a rule off; it stays where it is."""
    await filters.set_active(db, me.mailbox_id, number, active=False)
    return await _published(me, db, settings)


@router.post("/rules/{number}/up")
async def rule_up(me: AsMailbox, db: MailboxDb, settings: AppSettings, number: Id) -> Response:
    """Try a rule earlier."""
    await filters.move_up(db, me.mailbox_id, number)
    return await _published(me, db, settings)


@router.post("/rules/{number}/remove")
async def remove_rule(me: AsMailbox, db: MailboxDb, settings: AppSettings, number: Id) -> Response:
    """Remove a rule."""
    await filters.remove_rule(db, me.mailbox_id, number)
    return await _published(me, db, settings)


async def _told(me: AsMailbox, db: MailboxDb, rule: Rule) -> None:
    """That mail leaves the house is for the owner to see later, too."""
    what = f"A rule sends mail with “{rule.contains}” on to {rule.argument}"
    await changes.note(db, me.workspace_id, me.mailbox_id, what)


async def _rule(
    request: Request, me: AsMailbox, db: MailboxDb, rule: Mapping[str, Any], refused: Invalid | None = None
) -> Response:
    values = dict(rule)
    if refused is None and values["action"] == "folder":
        values["argument"] = values["argument"].replace(".", "/")
    return page(
        request, me, "portal/rule.html", 422 if refused else 200,
        rule=rule, values=values, errors={refused.field: str(refused)} if refused else {},
    )  # fmt: skip


async def _published(me: AsMailbox, db: MailboxDb, settings: AppSettings) -> Response:
    await filters.publish(db, settings, me.mailbox_id)
    return RedirectResponse("/mailbox/rules?saved=1", 303)


async def _absence(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    values: Mapping[str, object],
    *,
    saved: bool = False,
    refused: Invalid | None = None,
) -> Response:
    forwarding = await forwards.get(db, me.mailbox_id)
    return page(
        request,
        me,
        "portal/absence.html",
        422 if refused else 200,
        values=values,
        now=filters.in_words(await filters.absence(db, me.mailbox_id), date.today()),  # noqa: DTZ011 - as Dovecot
        errors={refused.field: refused.message} if refused else {},
        saved=saved,
        pending=await filters.pending(db, me.mailbox_id),
        all_forwarded=bool(forwarding.targets) and not forwarding.keep_copy,
    )


async def _rules(
    request: Request,
    me: AsMailbox,
    db: MailboxDb,
    *,
    saved: bool = False,
    values: dict[str, str] | None = None,
    refused: Problem | None = None,
) -> Response:
    field = refused.field if isinstance(refused, Invalid) else "contains"
    return page(
        request,
        me,
        "portal/rules.html",
        200 if refused is None else 409 if isinstance(refused, Conflict) else 422,
        rules=await filters.rules(db, me.mailbox_id),
        values={"field": "from", "contains": "", "action": "folder", "argument": ""} | (values or {}),
        errors={field: str(refused)} if refused else {},
        saved=saved,
        pending=await filters.pending(db, me.mailbox_id),
    )


def _day(text: str, field: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(field, "Give a day as 2026-12-24.") from None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
