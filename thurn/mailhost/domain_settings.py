"""What an operator decides about a domain; its DNS records follow."""

from typing import Any, Literal
from urllib.parse import urlsplit

from thurn.db.connect import Connection
from thurn.db.fetch import maybe
from thurn.mailhost.names import domain_name
from thurn.mailhost.service import get_domain
from thurn.problems import Conflict, Invalid

StsMode = Literal["none", "testing", "enforce"]
Policy = Literal["none", "quarantine", "reject"]
# Names below a domain that Thurn uses for something else.
_TAKEN = ("mta-sts", "autoconfig", "autodiscover", "bounce", "www")
MOST_MONTHS = 24


async def change(db: Connection, name: str, **values: Any) -> None:
    """Change what is given: mta_sts_mode, tls_reports, dmarc_policy, bimi_logo, tracking_host, rotate_months.

    `Invalid` with the field and the reason; `NotFound` for a domain of somebody else.
    """
    domain = await get_domain(db, name)
    new = {key: value for key, value in values.items() if value is not None}
    if new.get("mta_sts_mode", "none") not in ("none", "testing", "enforce"):
        raise Invalid("mta_sts_mode", "MTA-STS is none, testing or enforce.")
    if new.get("dmarc_policy", "none") not in ("none", "quarantine", "reject"):
        raise Invalid("dmarc_policy", "DMARC is none, quarantine or reject.")
    if not 0 <= int(new.get("rotate_months", 0)) <= MOST_MONTHS:
        raise Invalid("rotate_months", f"Between 1 and {MOST_MONTHS} months, or 0 for never.")
    if "bimi_logo" in new:
        new["bimi_logo"] = _logo(new["bimi_logo"])
    if "tracking_host" in new:
        new["tracking_host"] = await _tracking_host(db, domain["name"], new["tracking_host"])
    await db.execute(
        """UPDATE domain SET mta_sts_mode = %(mta_sts_mode)s, tls_reports = %(tls_reports)s,
             dmarc_policy = %(dmarc_policy)s, bimi_logo = %(bimi_logo)s, rotate_months = %(rotate_months)s,
             tracking_right_at = CASE WHEN tracking_host = %(tracking_host)s THEN tracking_right_at END,
             tracking_host = %(tracking_host)s
           WHERE id = %(id)s""",
        {**domain, **new},
    )


def _logo(text: str) -> str:
    url = text.strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    plain = url.isascii() and url.isprintable() and not set(url) & set(' ;"\\,<>')
    if parts.scheme != "https" or not parts.hostname or not plain or not parts.path.lower().endswith(".svg"):
        raise Invalid("bimi_logo", "The logo is the https:// address of an SVG file, for example https://…/logo.svg.")
    if len(url) > 500:
        raise Invalid("bimi_logo", "This address is too long: 500 characters fit.")
    return url


async def _tracking_host(db: Connection, domain: str, text: str) -> str:
    host = text.strip()
    if not host:
        return ""
    try:
        host = domain_name(host if "." in host else f"{host}.{domain}")
    except Invalid as error:
        raise Invalid("tracking_host", error.message) from error
    if not host.endswith(f".{domain}"):
        raise Invalid("tracking_host", f"The tracking host lies below {domain}, for example links.{domain}.")
    if host.removesuffix(f".{domain}") in _TAKEN:
        raise Invalid("tracking_host", f"{host} has another use. Take, for example, links.{domain}.")
    if await maybe(db, "SELECT 1 FROM domain WHERE name = %s", [host]):
        raise Conflict(f"{host} is a domain of its own here. Take another name, for example links.{domain}.")
    return host
