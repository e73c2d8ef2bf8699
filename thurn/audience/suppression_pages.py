"""Pages of the suppression list: a workspace's own, and the installation's for those who run it."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse, StreamingResponse

from thurn.audience import suppression, suppression_file
from thurn.audience.barring import RULES
from thurn.audience.suppression_api import load_upload
from thurn.db.connect import Connection, Row
from thurn.db.fetch import maybe
from thurn.problems import Invalid, Problem
from thurn.web.edge import AppSettings, Db, Viewer, in_workspace, operator, signed_in
from thurn.web.render import page

LIMIT = 25
Key = Annotated[int | None, Query(ge=1, le=2**62)]
SuppressionId = Annotated[int, Path(ge=1, le=2**62)]
_LASTS = {"": "As long as the reason says", "30": "30 days", "90": "90 days", "365": "1 year"}
SOURCES = {
    "log": "The reply of the receiving server", "mail": "A mail that came back", "hand": "Put there by hand",
    "import": "A file", "api": "A program, over the API", "webhook": "A report of the provider",
}  # fmt: skip


def shown(row: Row) -> Row:
    """An entry with its reason in words."""
    rule = RULES[row["reason"]]
    return {**row, "word": rule.word, "why": rule.why, "from": SOURCES.get(row["source"], row["source"])}


def _pages(prefix: str, who: Callable[..., Any], *, everywhere: bool) -> APIRouter:
    """The same pages twice: below a workspace, and below /house."""
    router = APIRouter(prefix=prefix)
    Seen = Annotated[Viewer, Depends(who)]  # noqa: N806 - a type

    def home(viewer: Viewer) -> str:
        return "/house/suppression" if everywhere else f"/w/{viewer.workspace_slug}/suppression"

    def whose(viewer: Viewer) -> int | None:
        return None if everywhere else viewer.workspace_id

    def show(request: Request, viewer: Viewer, name: str, status: int = 200, **context: Any) -> Response:
        return page(
            request, viewer, f"audience/{name}", status, home=home(viewer), everywhere=everywhere, rules=RULES,
            reasons=[(reason, rule.word) for reason, rule in RULES.items()], lasts=list(_LASTS.items()), **context,
        )  # fmt: skip

    @router.get("")
    async def table(
        request: Request,
        viewer: Seen,
        db: Db,
        before: Key = None,
        after: Key = None,
        q: Annotated[str, Query(max_length=320)] = "",
        reason: Annotated[str, Query(max_length=20)] = "",
        done: Annotated[str, Query(max_length=20)] = "",
    ) -> Response:
        """What stands, newest first; filtered by address and reason."""
        q, reason = q.replace("\0", "").strip(), reason if reason in RULES else ""
        found = await suppression.suppression_page(
            db, everywhere=everywhere, before=before, after=after, limit=LIMIT, query=q, reason=reason
        )
        kept = {**({"q": q} if q else {}), **({"reason": reason} if reason else {})}
        here = request.url.replace_query_params(**kept).replace(scheme="", netloc="")
        return page(
            request, viewer, "audience/suppression.html", block="rows", home=home(viewer), everywhere=everywhere,
            reasons=[(each, rule.word) for each, rule in RULES.items()],
            entries=[shown(row) for row in found.items], total=found.total,
            counts=await suppression.counts(db, everywhere=everywhere), q=q, reason=reason, done=done,
            newer=str(here.include_query_params(after=found.newer)) if found.newer else "",
            older=str(here.include_query_params(before=found.older)) if found.older else "",
        )  # fmt: skip

    @router.get("/add")
    async def form(request: Request, viewer: Seen) -> Response:
        """One address by hand."""
        return show(request, viewer, "suppression_add.html", values={"address": "", "note": "", "days": ""}, errors={})

    @router.post("/add")
    async def add(
        request: Request,
        viewer: Seen,
        db: Db,
        address: Annotated[str, Form(max_length=1000)] = "",
        note: Annotated[str, Form(max_length=1000)] = "",
        days: Annotated[str, Form(max_length=5)] = "",
    ) -> Response:
        """Suppress it."""
        try:
            await suppression.add(
                db, whose(viewer), address, actor=viewer.email, note=note,
                days=int(days) if days in _LASTS and days else None,
            )  # fmt: skip
        except Invalid as refused:
            values = {"address": address, "note": note, "days": days}
            return show(request, viewer, "suppression_add.html", 422, values=values, errors={"address": str(refused)})
        return RedirectResponse(f"{home(viewer)}?done=added", 303)

    @router.get("/import")
    async def import_form(request: Request, viewer: Seen) -> Response:
        """A form for a file."""
        return show(request, viewer, "suppression_import.html", loaded=None, error="", reason="manual")

    @router.post("/import")
    async def import_file(
        request: Request,
        viewer: Seen,
        db: Db,
        settings: AppSettings,
        file: Annotated[UploadFile | str | None, File()] = None,
        reason: Annotated[str, Form(max_length=20)] = "manual",
    ) -> Response:
        """Suppress every address of a file, and say what became of each row."""
        loaded, error = None, ""
        if file is None or isinstance(file, str) or not file.filename:
            error = "Choose a file first."
        else:
            try:
                async with db.transaction():
                    loaded = await load_upload(
                        db, settings, whose(viewer), file, actor=viewer.email,
                        reason=reason if reason in RULES else "manual",
                    )  # fmt: skip
            except Problem as refused:
                error = str(refused)
        return show(
            request, viewer, "suppression_import.html", 422 if error else 200, loaded=loaded, error=error, reason=reason
        )

    @router.get("/export.csv")
    async def export(request: Request, viewer: Seen) -> Response:
        """The whole list as a file."""

        async def lines() -> AsyncIterator[bytes]:
            async with in_workspace(request.app.state.pool, viewer.workspace_id) as own:
                async for part in suppression_file.export(own, everywhere=everywhere):
                    yield part

        headers = {"Content-Disposition": 'attachment; filename="suppression.csv"', "Cache-Control": "no-store"}
        return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)

    @router.get("/{suppression_id}")
    async def one(request: Request, viewer: Seen, db: Db, suppression_id: SuppressionId) -> Response:
        """One entry: why, since when, the evidence, and what was done with the address."""
        row = await suppression.get(db, suppression_id, everywhere=everywhere)
        return show(
            request, viewer, "suppression_entry.html", entry=shown(row),
            history=await suppression.history(db, row["address"], everywhere=everywhere),
            contact=None if everywhere else await _contact(db, row["address"]),
        )  # fmt: skip

    @router.post("/{suppression_id}/remove")
    async def remove(
        viewer: Seen, db: Db, suppression_id: SuppressionId, note: Annotated[str, Form(max_length=1000)] = ""
    ) -> Response:
        """Take it back."""
        await suppression.remove(db, suppression_id, actor=viewer.email, note=note, everywhere=everywhere)
        return RedirectResponse(f"{home(viewer)}?done=removed", 303)

    return router


async def _contact(db: Connection, address: str) -> Row | None:
    return await maybe(
        db, "SELECT id FROM contact WHERE workspace_id = current_workspace() AND lower(email) = %s", [address]
    )


router = APIRouter()
router.include_router(_pages("/w/{workspace}/suppression", signed_in, everywhere=False))
router.include_router(_pages("/house/suppression", operator, everywhere=True))
