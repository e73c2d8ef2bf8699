"""JSON API of DMARC and TLS reports."""

from typing import Annotated, Literal

from fastapi import File, Query, UploadFile

from thurn.dmarc import service
from thurn.dmarc.schemas import (
    AdviceOut,
    DayOut,
    DmarcOut,
    FailureOut,
    Failures,
    ReportOut,
    Reports,
    SourceOut,
    StoredOut,
    TlsFailureOut,
    TlsOut,
    TlsPolicyOut,
    Uploaded,
    VerdictIn,
)
from thurn.feedback.archive import PACKED
from thurn.feedback.reports import upload
from thurn.mailhost.service import get_domain
from thurn.web.edge import ApiDb
from thurn.web.schemas import Cursor, Limit, Name, api_router, number_of

router = api_router("reports")
Kind = Annotated[Literal["", "dmarc", "tls"], Query(description="Only of this kind.")]


@router.get("/domains/{name}/dmarc")
async def get_dmarc(db: ApiDb, name: Name) -> DmarcOut:
    """Who sent in the name of the domain in the last 30 days, and whether a stricter policy is safe."""
    found = await service.overview(db, (await get_domain(db, name))["id"])
    return DmarcOut(
        published=found.published,
        mails=found.mails,
        passed=found.passed,
        reporters=found.reporters,
        reports=found.reports,
        left_out=found.left_out,
        advice=AdviceOut.model_validate(found.advice),
        trend=[DayOut.model_validate(day) for day in found.trend],
        sources=[SourceOut.model_validate(source) for source in found.sources],
    )


@router.post("/domains/{name}/dmarc/sources")
async def decide_source(db: ApiDb, name: Name, said: VerdictIn) -> DmarcOut:
    """Say whose a sender is; the figures follow."""
    verdict: service.Verdict = "" if said.whose == "unknown" else said.whose
    await service.decide(db, await get_domain(db, name), source=said.source, verdict=verdict)
    return await get_dmarc(db, name)


@router.get("/domains/{name}/tls")
async def get_tls(db: ApiDb, name: Name) -> TlsOut:
    """Whether others reached the domain encrypted in the last 30 days, and why not."""
    found = await service.tls(db, (await get_domain(db, name))["id"])
    failures = [
        TlsFailureOut(
            policy=each.policy, result=each.result, mx=each.mx, n=each.n, orgs=each.orgs, detail=each.detail,
            last=each.last, what=each.meaning.what, do=each.meaning.do,
        )
        for each in found.failures
    ]  # fmt: skip
    return TlsOut(
        good=found.good,
        bad=found.bad,
        reporters=found.reporters,
        trend=[DayOut.model_validate(day) for day in found.trend],
        policies=[TlsPolicyOut(**row) for row in found.policies],
        failures=failures,
    )


@router.get("/domains/{name}/reports")
async def list_reports(db: ApiDb, name: Name, limit: Limit = 25, cursor: Cursor = None, kind: Kind = "") -> Reports:
    """DMARC and TLS reports on the domain, newest first, also those that do not count."""
    domain = await get_domain(db, name)
    found = await service.reports(db, domain["id"], kind=kind, before=number_of(cursor), limit=limit)
    next_one = str(found[-1]["id"]) if len(found) == limit else None
    return Reports(items=[ReportOut(**row) for row in found], next=next_one)


@router.get("/domains/{name}/failures")
async def list_dmarc_failures(db: ApiDb, name: Name, limit: Limit = 25, cursor: Cursor = None) -> Failures:
    """Single mails that failed, from DMARC failure reports, newest first."""
    domain = await get_domain(db, name)
    found = await service.failures(db, domain["id"], before=number_of(cursor), limit=limit)
    next_one = str(found[-1]["id"]) if len(found) == limit else None
    return Failures(items=[FailureOut(**row) for row in found], next=next_one)


@router.post("/reports")
async def upload_report(
    db: ApiDb, file: Annotated[UploadFile, File(description="XML, JSON, gzip, zip or a whole mail.")]
) -> Uploaded:
    """Store DMARC or TLS reports on domains of the workspace. Each document is taken or refused by itself."""
    found = await upload(db, await file.read(PACKED + 1), name=(file.filename or "")[:100])
    return Uploaded(items=[StoredOut.model_validate(each) for each in found])
