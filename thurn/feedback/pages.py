"""Pages of feedback: what came back by mail, and what Thurn made of it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from thurn.db.connect import Row
from thurn.feedback import returned
from thurn.web.edge import Db, SignedIn
from thurn.web.render import page

router = APIRouter(prefix="/w/{workspace}/feedback")
LIMIT = 25
Key = Annotated[int | None, Query(ge=1, le=2**62)]
ReportId = Annotated[int, Path(ge=1, le=2**62)]


def shown(row: Row) -> Row:
    """A line with its kind and match in words."""
    return {
        **row,
        "word": returned.KINDS.get(row["kind"], row["kind"]),
        "by": returned.MATCHED_BY.get(row["matched_by"], row["matched_by"]),
    }


@router.get("")
async def table(
    request: Request,
    viewer: SignedIn,
    db: Db,
    before: Key = None,
    after: Key = None,
    q: Annotated[str, Query(max_length=320)] = "",
    kind: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """What came back, newest first; filtered by kind, address or subject."""
    q = q.replace("\0", "").strip()
    unmatched = True if kind == "unmatched" and viewer.operator else None
    kind = kind if kind in returned.KINDS or unmatched else ""
    found = await returned.returned_page(
        db, operator=viewer.operator, unmatched=unmatched, before=before, after=after, limit=LIMIT, query=q,
        kind="" if unmatched else kind,
    )  # fmt: skip
    kept = {**({"q": q} if q else {}), **({"kind": kind} if kind else {})}
    here = request.url.replace_query_params(**kept).replace(scheme="", netloc="")
    counts = await returned.kinds(db, operator=viewer.operator)
    choices = [(each, word) for each, word in returned.KINDS.items() if counts.get(each) or each == kind]
    if viewer.operator and counts["unmatched"]:
        choices.append(("unmatched", "Belongs to no mail of ours"))
    return page(
        request, viewer, "feedback/returned.html", block="rows", q=q, kind=kind, counts=counts, choices=choices,
        mails=[shown(row) for row in found.items], filtered=bool(q or kind or before or after),
        newer=str(here.include_query_params(after=found.newer)) if found.newer else "",
        older=str(here.include_query_params(before=found.older)) if found.older else "",
    )  # fmt: skip


@router.get("/{report_id}")
async def one(request: Request, viewer: SignedIn, db: Db, report_id: ReportId) -> Response:
    """One of them, with the mail as text."""
    row = await returned.get(db, report_id, operator=viewer.operator)
    return page(
        request, viewer, "feedback/returned_mail.html", mail=shown(row), source=returned.source(row["raw"]),
        kept=returned.RAW_DAYS,
    )  # fmt: skip
