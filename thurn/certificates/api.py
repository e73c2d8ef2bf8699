"""JSON API of certificates."""

import datetime as dt
from typing import Literal

from pydantic import Field

from thurn.certificates import service
from thurn.web.edge import ApiDb
from thurn.web.schemas import Cursor, Limit, Out, api_router, text_of

router = api_router("certificates")


class CertificateOut(Out):
    """What clients were shown for a host when we last looked."""

    host: str
    purpose: Literal["web", "webmail", "mail", "mta-sts", "autoconfig", "autodiscover", "tracking"]
    state: Literal["good", "soon", "bad", "self-signed", "unused"] = Field(
        description="`soon`: it runs out within 14 days; `unused`: DNS does not lead here, so none is asked for."
    )
    issuer: str
    serial: str = Field(description="Hexadecimal.")
    not_after: dt.datetime | None
    used_by: list[str] = Field(description="Services that show it: https, imap, smtp.")
    problem: str = Field(description="What is wrong, why, and what to do; empty if nothing is.")
    checked_at: dt.datetime


class Certificates(Out):
    """A page of certificates."""

    items: list[CertificateOut]
    next: str | None


@router.get("/certificates")
async def list_certificates(db: ApiDb, limit: Limit = 25, cursor: Cursor = None) -> Certificates:
    """Certificates of this workspace's hosts, by host. The first workspace has the installation's own, too."""
    found = await service.certificates(db, after=text_of(cursor) or "", limit=limit)
    return Certificates(
        items=[CertificateOut(**row) for row in found], next=found[-1]["host"] if len(found) == limit else None
    )
