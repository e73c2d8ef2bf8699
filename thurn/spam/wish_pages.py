"""What a domain or a mailbox wishes to happen with spam: the same form for both, and for the owner in the portal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, service
from thurn.mailhost.names import readable
from thurn.problems import Conflict, Invalid, Problem
from thurn.spam import preferences
from thurn.spam.preferences import Effective, Preferences
from thurn.spam.wishes import NEVER
from thurn.web.edge import Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter()

_JUNK = {4: "Strict, from 4 points", 6: "Normal, from 6 points", 9: "Lenient, from 9 points", NEVER: "Never"}
_REFUSE = {10: "Strict, from 10 points", 15: "Normal, from 15 points", 25: "Lenient, from 25 points", NEVER: "Never"}
_FIELDS = ("junk_at", "refuse_at", "greylist", "digest", "digest_hour")
Text = Annotated[str, Form(max_length=400)]


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose wishes a page is about; `above`: who is asked where it wishes nothing."""

    domain_id: int
    mailbox_id: int | None
    title: str
    here: str
    above: str


async def context(
    db: Connection,
    whose: Whose,
    *,
    refused: Problem | None = None,
    given: Mapping[str, str] | None = None,
    saved: bool = False,
) -> dict[str, Any]:
    """What the form shows. `given`: what was typed and cannot be taken."""
    own, effective = await preferences.get(db, whose.domain_id, whose.mailbox_id)
    above = (await preferences.get(db, whose.domain_id))[1] if whose.mailbox_id is not None else Effective()
    field = getattr(refused, "field", "sender") if refused else ""
    return {
        "whose": whose,
        "options": options(own, above),
        "own": {name: _text(getattr(own, name)) for name in _FIELDS},
        "outcome": preferences.outcome(effective),
        "senders": await preferences.senders(db, whose.domain_id, whose.mailbox_id),
        "errors": {field: str(refused)} if refused else {},
        "given": dict(given or {}),
        "saved": saved,
    }


def options(own: Preferences, above: Effective) -> dict[str, list[tuple[str, str]]]:
    """The choices of every field; the first is to leave it to those above, with what that means."""

    def points(known: Mapping[int, str], mine: int | None, theirs: int) -> list[tuple[str, str]]:
        named = {**known, **({mine: f"From {mine} points"} if mine is not None and mine not in known else {})}
        default = known.get(theirs, f"from {theirs} points")
        return [("", f"Default: {default[0].lower()}{default[1:]}"), *((str(k), named[k]) for k in sorted(named))]

    def switch(theirs: bool) -> list[tuple[str, str]]:
        return [("", f"Default: {'on' if theirs else 'off'}"), ("yes", "On"), ("no", "Off")]

    return {
        "junk_at": points(_JUNK, own.junk_at, above.junk_at),
        "refuse_at": points(_REFUSE, own.refuse_at, above.refuse_at),
        "greylist": switch(above.greylist),
        "digest": switch(above.digest),
        "digest_hour": [("", f"Default: {above.digest_hour}:00"), *((str(h), f"{h}:00") for h in range(24))],
    }


def wish_of(fields: Mapping[str, str]) -> Preferences:
    """The form's fields as wishes. Raises `Invalid`."""

    def number(name: str) -> int | None:
        text = fields.get(name, "")
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 4:
            raise Invalid(name, "Choose one of these.")
        return int(text)

    def switch(name: str) -> bool | None:
        return {"yes": True, "no": False}.get(fields.get(name, ""))

    return Preferences(
        number("junk_at"), number("refuse_at"), switch("greylist"), switch("digest"), number("digest_hour")
    )


def _text(value: object) -> str:
    return {None: "", True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


async def domain(db: Connection, viewer: Viewer, name: str) -> Whose:
    """A domain's page."""
    row = await service.get_domain(db, name)
    here = f"/w/{viewer.workspace_slug}/domains/{row['name']}/spam"
    return Whose(row["id"], None, readable(row["name"]), here, "Thurn")


async def mailbox(db: Connection, viewer: Viewer, address: str) -> Whose:
    """A mailbox's page."""
    row = await mailboxes.get_mailbox(db, address)
    here = f"/w/{viewer.workspace_slug}/mailboxes/{row['address']}/spam"
    return Whose(row["domain_id"], row["id"], row["address"], here, "its domain")


_FINDERS = {"domains": domain, "mailboxes": mailbox}


def _routes(kind: str) -> None:
    find = _FINDERS[kind]

    @router.get(f"/{kind}/{{name}}/spam", name=f"{kind}_spam")
    async def show(request: Request, viewer: SignedIn, db: Db, name: str, saved: str = "") -> Response:
        return await _page(request, viewer, db, await find(db, viewer, name), saved=bool(saved))

    @router.post(f"/{kind}/{{name}}/spam", name=f"{kind}_spam_save")
    async def save(
        request: Request, viewer: SignedIn, db: Db, name: str,
        junk_at: Text = "", refuse_at: Text = "", greylist: Text = "", digest: Text = "", digest_hour: Text = "",
    ) -> Response:  # fmt: skip
        whose = await find(db, viewer, name)
        given = dict(zip(_FIELDS, (junk_at, refuse_at, greylist, digest, digest_hour), strict=True))
        try:
            await preferences.put(db, viewer.workspace_id, whose.domain_id, whose.mailbox_id, wish=wish_of(given))
        except Invalid as refused:
            return await _page(request, viewer, db, whose, refused=refused, given=given)
        return RedirectResponse(f"{whose.here}?saved=1", 303)

    @router.post(f"/{kind}/{{name}}/spam/senders", name=f"{kind}_spam_sender")
    async def add(
        request: Request, viewer: SignedIn, db: Db, name: str, sender: Text = "", verdict: Text = "block"
    ) -> Response:
        whose = await find(db, viewer, name)
        try:
            await preferences.add_sender(
                db, viewer.workspace_id, whose.domain_id, whose.mailbox_id,
                sender=sender, verdict="allow" if verdict == "allow" else "block",
            )  # fmt: skip
        except (Invalid, Conflict) as refused:
            return await _page(
                request, viewer, db, whose, refused=refused, given={"sender": sender, "verdict": verdict}
            )
        return RedirectResponse(f"{whose.here}?saved=1", 303)

    @router.post(f"/{kind}/{{name}}/spam/senders/remove", name=f"{kind}_spam_sender_remove")
    async def remove(viewer: SignedIn, db: Db, name: str, sender: Text = "") -> Response:
        whose = await find(db, viewer, name)
        await preferences.remove_sender(db, whose.domain_id, whose.mailbox_id, sender=sender)
        return RedirectResponse(f"{whose.here}?saved=1", 303)


for _kind in _FINDERS:
    _routes(_kind)


async def _page(
    request: Request,
    viewer: Viewer,
    db: Connection,
    whose: Whose,
    *,
    refused: Problem | None = None,
    given: Mapping[str, str] | None = None,
    saved: bool = False,
) -> Response:
    status = 409 if isinstance(refused, Conflict) else 422 if refused else 200
    found = await context(db, whose, refused=refused, given=given, saved=saved)
    return page(request, viewer, "spam/wishes.html", status, **found)
