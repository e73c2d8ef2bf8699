"""Microsoft SNDS: what Outlook.com says about our addresses, by the link of its automated data access (CSV).

The link holds the key. Only Microsoft's own hosts are ever asked, over HTTPS, without following redirects.
https://sendersupport.olc.protection.outlook.com/snds/FAQ.aspx
"""

import csv
import io
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import parse_qs, urlsplit

import httpx

from thurn.problems import Invalid

HOSTS = ("sendersupport.olc.protection.outlook.com", "substrate.office.com")
DATA = "https://sendersupport.olc.protection.outlook.com/snds/data.aspx"
_KEY = re.compile(r"[A-Za-z0-9_-]{8,200}")
_PATH = re.compile(r"/(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_.-]*")
_LARGEST = 4 * 1024 * 1024
_ROWS = 5000
_RESULTS = frozenset({"GREEN", "YELLOW", "RED"})
_TIMES = ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")


class Unanswered(Exception):
    """Why nothing came back, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Day:
    """What Outlook.com saw of an address on a day. `complaints`: its words, `< 0.1%`, as it gives no number below."""

    ip: str
    day: date
    figures: Mapping[str, str | int]


def check(given: Mapping[str, str]) -> dict[str, str]:
    """The link as it is sealed, from the link or its key."""
    text = given.get("key", "").strip()
    if _KEY.fullmatch(text):
        return {"url": f"{DATA}?key={text}"}
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    keys = parse_qs(parts.query).get("key", [])
    ours = parts.scheme == "https" and parts.hostname in HOSTS and port is None and "@" not in parts.netloc
    if not ours or not _PATH.fullmatch(parts.path) or len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise Invalid("key", "Paste the link that SNDS shows under “Automated Data Access”, or the key in it.")
    return {"url": f"https://{parts.hostname}{parts.path}?key={keys[0]}"}


async def ask(client: httpx.AsyncClient, access: Mapping[str, str]) -> list[Day]:
    """The newest day of every address this access sees. Raises `Unanswered`."""
    try:
        async with client.stream("GET", access["url"]) as answer:
            data = b""
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > _LARGEST:
                    raise Unanswered("Microsoft's answer was too long.")
    except httpx.HTTPError as error:
        raise Unanswered(f"Microsoft could not be reached: {type(error).__name__}.") from error
    if answer.status_code in (301, 302, 303, 307, 308, 400, 401, 403, 404):
        raise Unanswered(
            f"Microsoft does not take this link any more ({answer.status_code}). Make a new one under “Automated Data "
            "Access” in SNDS and give it to Thurn."
        )
    if answer.status_code not in (200, 204):
        raise Unanswered(f"Microsoft answered {answer.status_code}. Thurn asks again in six hours.")
    text = data.decode("utf-8-sig", "replace")
    if text.lstrip()[:1] in ("<", "{", "["):
        raise Unanswered("Microsoft answered with a page instead of figures. Make a new link in SNDS.")
    return read(text)


def read(text: str) -> list[Day]:
    """Rows of the CSV file; what is none is passed over. Columns: see the FAQ, “Automated Data Access”."""
    found: list[Day] = []
    lines = (line for line in io.StringIO(text.replace("\0", ""), newline=None) if len(line) < 4000)
    try:
        for row in csv.reader(lines):
            if len(found) >= _ROWS:
                break
            day = _row(row)
            if day is not None:
                found.append(day)
    except csv.Error:
        pass
    return found


def _row(row: list[str]) -> Day | None:
    if len(row) < 8:
        return None
    try:
        ip = str(ipaddress.ip_address(row[0].strip()))
    except ValueError:
        return None
    day, result = _time(row[1]), row[6].strip().upper()
    if day is None or result not in _RESULTS:
        return None
    complaints = row[7].strip()
    figures: dict[str, str | int] = {
        "recipients": _number(row[5]), "filter": result.lower(),
        "complaints": complaints if re.fullmatch(r"[<>]? ?\d{1,3}(\.\d{1,3})?%", complaints) else "",
        "traps": _number(row[10]) if len(row) > 10 else 0,
    }  # fmt: skip
    return Day(ip, day, figures)


def _time(text: str) -> date | None:
    for form in _TIMES:
        try:
            return datetime.strptime(text.strip(), form).date()  # noqa: DTZ007 - a day of Microsoft's, no instant
        except ValueError:
            continue
    return None


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,12}", text.strip()) else 0
