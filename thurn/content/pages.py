"""Pages of content: templates, and the editor with its preview."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from thurn.content import previews, service
from thurn.content.errors import RenderError, TemplateError
from thurn.content.program import preview
from thurn.db.connect import Connection
from thurn.problems import Conflict, Invalid
from thurn.web.edge import AppSettings, Db, SignedIn, Viewer
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/templates")

LIMIT = 25
_STARTERS = Path(__file__).parent / "starters"
STARTERS = {
    "markdown": ("A letter", "letter.md"),
    "html": ("A letter, in HTML", "letter.html"),
}
Id = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("")
async def templates(
    request: Request,
    viewer: SignedIn,
    db: Db,
    before: Id = None,
    after: Id = None,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The table, newest first; with a search, what the name or the subject holds."""
    q = q.replace("\0", "")
    found = await service.template_page(db, before=before, after=after, limit=LIMIT + 1, query=q)
    more = len(found) > LIMIT
    shown = found[-LIMIT:] if after else found[:LIMIT]
    here = request.url.replace_query_params(**({"q": q} if q else {})).replace(scheme="", netloc="")
    has_older, has_newer = (True, more) if after else (more, before is not None)
    return page(
        request,
        viewer,
        "content/list.html",
        block="rows",
        templates=shown,
        total=await service.count_templates(db),
        q=q,
        newer=str(here.include_query_params(after=shown[0]["id"])) if has_newer and shown else "",
        older=str(here.include_query_params(before=shown[-1]["id"])) if has_older and shown else "",
    )


class Written:
    """The editor's form as it came."""

    def __init__(
        self,
        name: Annotated[str, Form()] = "",
        kind: Annotated[str, Form()] = "markdown",
        subject: Annotated[str, Form()] = "",
        source: Annotated[str, Form()] = "",
    ) -> None:
        self.name, self.subject = name.replace("\0", ""), subject.replace("\0", "")
        self.kind = "html" if kind == "html" else "markdown"
        self.source = source.replace("\0", "").replace("\r\n", "\n")

    def values(self) -> dict[str, str]:
        """The arguments of `create_template` and `update_template`."""
        return {"name": self.name, "kind": self.kind, "subject": self.subject, "source": self.source}


Filled = Annotated[Written, Depends()]


@router.get("/new")
async def new(
    request: Request,
    viewer: SignedIn,
    db: Db,
    settings: AppSettings,
    start: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """An empty editor, or one with a starter in it."""
    written = Written()
    if start in STARTERS:
        name, file = STARTERS[start]
        source = (_STARTERS / file).read_text(encoding="utf-8")
        written = Written(
            name=name, kind=start, subject="News for {{ contact.first_name | default: 'you' }}", source=source
        )
    return await _editor(request, viewer, db, settings, written, None)


@router.post("/new")
async def create(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, written: Filled) -> Response:
    """Save a new template, or show what is wrong."""
    try:
        template = await service.create_template(db, viewer.workspace_id, **written.values())
    except (Invalid, Conflict) as refused:
        return await _editor(request, viewer, db, settings, written, None, refused)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/templates/{template}?saved=1", 303)


@router.post("/preview")
async def look(request: Request, viewer: SignedIn, db: Db, settings: AppSettings, written: Filled) -> Response:
    """What the mail would look like: a fragment beside the editor, or the editor with it where there is no script."""
    if "HX-Request" not in request.headers:
        return await _editor(request, viewer, db, settings, written, None)
    shown = await _preview(db, viewer, settings, written)
    return page(request, viewer, "content/edit.html", block="preview", **_context(written, None, {}, shown))


@router.get("/preview/{token}")
async def framed(viewer: SignedIn, settings: AppSettings, token: str) -> Response:
    """A preview as a document of its own, for the <iframe>."""
    html = previews.find(settings, viewer.workspace_id, viewer.account_id, token)
    if html is None:
        raise HTTPException(404)
    return HTMLResponse(html, headers=previews.HEADERS)


@router.get("/{template}")
async def edit(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, template: int, saved: bool = False
) -> Response:
    """The editor with a template in it."""
    row = await service.get_template(db, template)
    written = Written(row["name"], row["kind"], row["subject"], row["source"])
    return await _editor(request, viewer, db, settings, written, template, saved=saved)


@router.post("/{template}")
async def update(
    request: Request, viewer: SignedIn, db: Db, settings: AppSettings, template: int, written: Filled
) -> Response:
    """Save a template, or show what is wrong."""
    await service.get_template(db, template)
    try:
        await service.update_template(db, template, **written.values())
    except (Invalid, Conflict) as refused:
        return await _editor(request, viewer, db, settings, written, template, refused)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/templates/{template}?saved=1", 303)


@router.post("/{template}/delete")
async def delete(viewer: SignedIn, db: Db, template: int) -> Response:
    """Delete a template."""
    await service.delete_template(db, template)
    return RedirectResponse(f"/w/{viewer.workspace_slug}/templates", 303)


@router.get("/{template}/mail")
async def mail(viewer: SignedIn, db: Db, template: int) -> Response:
    """A saved template as the newest contact would see it, as a document of its own."""
    row = await service.get_template(db, template)
    try:
        seen = await asyncio.to_thread(
            preview, row["kind"], row["subject"], row["source"], await service.sample_contact(db)
        )
    except (TemplateError, RenderError) as fault:
        raise HTTPException(422, str(fault)) from fault
    return HTMLResponse(seen.html, headers=previews.HEADERS)


# ---------------------------------------------------------------- the editor


async def _editor(
    request: Request,
    viewer: Viewer,
    db: Connection,
    settings: AppSettings,
    written: Written,
    template: int | None,
    refused: Invalid | Conflict | None = None,
    *,
    saved: bool = False,
) -> Response:
    """The whole page; 422 or 409 with what was written when it was refused."""
    errors = {}
    if refused is not None:
        errors[refused.field if isinstance(refused, Invalid) else "name"] = str(refused)
    status = 200 if refused is None else 409 if isinstance(refused, Conflict) else 422
    shown = await _preview(db, viewer, settings, written)
    return page(
        request,
        viewer,
        "content/edit.html",
        status,
        fields=await service.known_fields(db),
        drafts=await service.drafts_using(db, template) if template else 0,
        saved=saved,
        **_context(written, template, errors, shown),
    )


def _context(written: Written, template: int | None, errors: dict[str, str], shown: dict[str, Any]) -> dict[str, Any]:
    return {"written": written, "template_id": template, "errors": errors, "shown": shown}


async def _preview(db: Connection, viewer: Viewer, settings: AppSettings, written: Written) -> dict[str, Any]:
    """What the preview shows: nothing yet, an error and its line, or a mail."""
    shown: dict[str, Any] = {"error": None, "line": 0, "token": "", "subject": "", "text": "", "contact": ""}
    if not written.source.strip():
        return shown
    contact = await service.sample_contact(db)
    kind, subject = "html" if written.kind == "html" else "markdown", written.subject.strip() or "(no subject yet)"
    try:
        seen = await asyncio.to_thread(preview, kind, subject, written.source, contact)  # type: ignore[arg-type]
    except (TemplateError, RenderError) as fault:
        line = fault.line if isinstance(fault, TemplateError) else 0
        message = fault.message if isinstance(fault, TemplateError) else str(fault)
        return {**shown, "error": message, "line": line, "excerpt": _excerpt(written.source, line)}
    token = previews.keep(settings, viewer.workspace_id, viewer.account_id, seen.html)
    return {**shown, "token": token, "subject": seen.subject, "text": seen.text, "contact": contact["email"]}


def _excerpt(source: str, line: int) -> list[tuple[int, str]]:
    """The line with the fault, and one before and behind it."""
    if not line:
        return []
    lines = source.split("\n")
    return [(n, lines[n - 1][:200]) for n in range(max(1, line - 1), min(len(lines), line + 1) + 1)]
