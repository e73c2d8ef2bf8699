"""No change without a proof that it comes from a page of ours: dependency of every router of pages (app.py)."""

import hmac
from typing import Annotated, Any

from fastapi import Depends, Request

from thurn.portal.edge import MaybeMailbox
from thurn.web.edge import SAFE, CsrfRefused, MaybeViewer, visitor_csrf


async def _csrf_sent(request: Request) -> str | None:
    """What the request shows as proof: the header `X-CSRF-Token` or the form field `csrf`."""
    if request.method in SAFE:
        return None
    header = request.headers.get("x-csrf-token")
    if header is not None:
        return header
    if request.headers.get("content-type", "").startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        field: Any = (await request.form()).get("csrf")
        return field if isinstance(field, str) else None
    return None


async def check_csrf(
    request: Request,
    sent: Annotated[str | None, Depends(_csrf_sent)],
    viewer: MaybeViewer,
    mailbox: MaybeMailbox,
) -> None:
    """Refuse an unsafe request without the token of its session: an account's, or under /mailbox a mailbox's."""
    if request.method in SAFE:
        return
    signed_in = viewer or mailbox  # one of them at most
    expected = signed_in.csrf if signed_in else visitor_csrf(request)
    if request.scope.get("thurn.cross_site"):  # security.py has looked at what the browser says about the origin
        raise CsrfRefused
    if sent is None or not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), expected.encode()):
        raise CsrfRefused
