"""JSON API of content: templates."""

import asyncio
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from thurn.content import service
from thurn.content.errors import RenderError, TemplateError
from thurn.content.program import preview
from thurn.problems import Invalid
from thurn.web.edge import ApiDb, Keyed
from thurn.web.schemas import Cursor, Id, In, Limit, Out, Text, api_router, number_of

router = api_router("content")
Kind = Literal["markdown", "html"]


class TemplateIn(In):
    """A template. It must compile."""

    name: Annotated[Text, Field(min_length=1, max_length=service.LONGEST_NAME)]
    kind: Kind
    subject: Annotated[Text, Field(min_length=1, max_length=service.LONGEST_SUBJECT)]
    source: Annotated[Text, Field(min_length=1, max_length=1_000_000, description="Markdown or HTML with Liquid.")]


class TemplateOut(Out):
    """A template without its source."""

    id: int
    name: str
    kind: Kind
    subject: str
    created_at: datetime
    updated_at: datetime


class TemplateFull(TemplateOut):
    """A template."""

    source: str


class Templates(Out):
    """A page of templates, newest first."""

    items: list[TemplateOut]
    next: str | None


class PreviewIn(In):
    """Whom the preview is for; left out: one of your contacts."""

    contact: Annotated[dict[str, Text], Field(max_length=200)] | None = None


class PreviewOut(Out):
    """A mail to look at. Links are as written, nothing is tracked."""

    subject: str
    html: str
    text: str


@router.get("/templates")
async def list_templates(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Templates:
    """Templates, newest first."""
    before = number_of(cursor)
    found = await service.template_page(db, before=None if before is None else min(before, 2**31 - 1), limit=limit)
    following = str(found[-1]["id"]) if len(found) == limit else None
    return Templates(items=[TemplateOut(**row) for row in found], next=following)


@router.post("/templates", status_code=201)
async def create_template(db: ApiDb, key: Keyed, new: TemplateIn) -> TemplateFull:
    """Save a template. One that does not compile is refused with the line and the reason."""
    number = await service.create_template(
        db, key.workspace_id, name=new.name, kind=new.kind, subject=new.subject, source=new.source
    )
    return TemplateFull(**await service.get_template(db, number))


@router.get("/templates/{template_id}")
async def get_template(db: ApiDb, template_id: Id) -> TemplateFull:
    """One template."""
    return TemplateFull(**await service.get_template(db, template_id))


@router.put("/templates/{template_id}")
async def update_template(db: ApiDb, template_id: Id, new: TemplateIn) -> TemplateFull:
    """Replace a template. Campaigns that were launched keep what they had."""
    await service.get_template(db, template_id)
    await service.update_template(db, template_id, name=new.name, kind=new.kind, subject=new.subject, source=new.source)
    return TemplateFull(**await service.get_template(db, template_id))


@router.delete("/templates/{template_id}", status_code=204)
async def delete_template(db: ApiDb, template_id: Id) -> None:
    """Delete a template; drafts that use it are left without one."""
    await service.delete_template(db, template_id)


@router.post("/templates/{template_id}/preview")
async def preview_template(db: ApiDb, template_id: Id, wanted: PreviewIn) -> PreviewOut:
    """The mail as one contact would get it."""
    row = await service.get_template(db, template_id)
    contact = wanted.contact or await service.sample_contact(db)
    try:
        made = await asyncio.to_thread(preview, row["kind"], row["subject"], row["source"], contact)
    except (TemplateError, RenderError) as fault:
        raise Invalid("source", str(fault)) from fault
    return PreviewOut(subject=made.subject, html=made.html, text=made.text)
