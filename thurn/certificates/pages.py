"""The page of certificates, a tab of the domains."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from thurn.certificates import service
from thurn.web.edge import Db, SignedIn
from thurn.web.render import page

router = APIRouter()
LIMIT = 50


@router.get("/w/{workspace}/domains/certificates")
async def certificates(
    request: Request, viewer: SignedIn, db: Db, after: Annotated[str, Query(max_length=255)] = ""
) -> Response:
    """Which host shows which certificate, what is wrong with it, and why."""
    after = "".join(filter(str.isprintable, after))
    found = await service.certificates(db, after=after, limit=LIMIT + 1)
    here = request.url.path
    return page(
        request,
        viewer,
        "certificates/list.html",
        certificates=found[:LIMIT],
        trouble=await service.in_trouble(db),
        words=service.WORDS,
        purposes=service.PURPOSES,
        first=here if after else "",
        older=f"{here}?after={found[LIMIT - 1]['host']}" if len(found) > LIMIT else "",
    )
