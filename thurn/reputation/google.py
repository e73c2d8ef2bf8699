"""Google Postmaster Tools (API v2): what Gmail says about our domains. Where to ask is fixed here, whatever a key says.

Access is a service account's key (its address added to the domains in Postmaster Tools) or a user's refresh token.
https://developers.google.com/workspace/gmail/postmaster/reference/rest
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from thurn.problems import Invalid

TOKENS = "https://oauth2.googleapis.com/token"
API = "https://gmailpostmastertools.googleapis.com/v2"
SCOPE = "https://www.googleapis.com/auth/postmaster"
DAYS = 14
_LARGEST = 2 * 1024 * 1024
_PAGES = 20
METRICS = {
    "spam_rate": "SPAM_RATE",
    "auth_rate": "AUTH_SUCCESS_RATE",
    "tls_rate": "TLS_ENCRYPTION_RATE",
    "error_rate": "DELIVERY_ERROR_RATE",
}


class Unanswered(Exception):
    """Why nothing came back, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Day:
    """What Gmail says about a domain and a day; a figure it does not give is missing."""

    domain: str
    day: date
    figures: Mapping[str, float]


def check(given: Mapping[str, str]) -> dict[str, str]:
    """Access as it is sealed: of a service account's JSON key, or client_id, client_secret and refresh_token."""
    text = given.get("key", "").strip()
    if text:
        try:
            key = json.loads(text)
            wanted = {name: key[name] for name in ("client_email", "private_key")}
            if not all(isinstance(value, str) for value in wanted.values()):
                raise TypeError
            _private(wanted["private_key"])
        except (ValueError, TypeError, KeyError) as error:
            raise Invalid(
                "key", "This is no service account's key: the JSON file that Google lets you download."
            ) from error
        return wanted
    user = {name: given.get(name, "").strip() for name in ("client_id", "client_secret", "refresh_token")}
    if not all(user.values()):
        raise Invalid("key", "Paste a service account's key, or client id, client secret and refresh token of a user.")
    if any(len(value) > 2000 or not value.isprintable() for value in user.values()):
        raise Invalid("key", "One of these values cannot be what Google gave you.")
    return user


def _private(pem: str) -> RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("no RSA key")
    return key


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assertion(access: Mapping[str, str], now: float) -> str:
    """A signed JWT that is changed for a token (RFC 7523)."""
    claims = {"iss": access["client_email"], "scope": SCOPE, "aud": TOKENS, "iat": int(now), "exp": int(now) + 600}
    head = _encoded(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    return f"{signed}.{_encoded(_private(access['private_key']).sign(signed.encode(), PKCS1v15(), SHA256()))}"


async def ask(client: httpx.AsyncClient, access: Mapping[str, str], today: date) -> list[Day]:
    """The last two weeks of every domain this access sees. Raises `Unanswered`."""
    token = await _token(client, access)
    head = {"Authorization": f"Bearer {token}"}
    listed = await _call(client, "GET", f"{API}/domains?pageSize=200", headers=head)
    names = [str(each.get("name", "")) for each in _list(listed.get("domains"))]
    found: list[Day] = []
    for name in names:
        domain = name.removeprefix("domains/")
        if name == domain or not domain.replace("-", "").replace(".", "").isalnum():
            continue
        found += await _domain(client, head, domain, today)
    return found


async def _token(client: httpx.AsyncClient, access: Mapping[str, str]) -> str:
    if "private_key" in access:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(access, time.time()),
        }
    else:
        form = {"grant_type": "refresh_token", **access}
    said = await _call(client, "POST", TOKENS, data=form)
    token = said.get("access_token")
    if not isinstance(token, str):
        raise Unanswered("Google gave no token for this access.")
    return token


async def _domain(client: httpx.AsyncClient, head: dict[str, str], domain: str, today: date) -> list[Day]:
    start, end = today - timedelta(days=DAYS), today
    body: dict[str, Any] = {
        "metricDefinitions": [
            {"name": name, "baseMetric": {"standardMetric": metric}} for name, metric in METRICS.items()
        ],
        "timeQuery": {"dateRanges": {"dateRanges": [{"start": _date(start), "end": _date(end)}]}},
        "aggregationGranularity": "DAILY",
        "pageSize": 200,
    }
    days: dict[date, dict[str, float]] = {}
    for _ in range(_PAGES):
        said = await _call(client, "POST", f"{API}/domains/{domain}/domainStats:query", headers=head, json=body)
        for stat in _list(said.get("domainStats")):
            name, day, value = stat.get("name"), _day(stat.get("date")), _number(stat.get("value"))
            if name in METRICS and day is not None and value is not None:
                days.setdefault(day, {})[str(name)] = value
        following = said.get("nextPageToken")
        if not following:
            break
        body["pageToken"] = following
    return [Day(domain, day, figures) for day, figures in sorted(days.items())]


def _date(day: date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}


def _day(given: Any) -> date | None:
    try:
        return date(int(given["year"]), int(given["month"]), int(given["day"]))
    except (TypeError, KeyError, ValueError):
        return None


def _number(given: Any) -> float | None:
    if not isinstance(given, dict):
        return None
    for name in ("doubleValue", "floatValue"):
        value = given.get(name)
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
    return None


def _list(given: Any) -> list[dict[str, Any]]:
    return [each for each in given if isinstance(each, dict)][:1000] if isinstance(given, list) else []


async def _call(client: httpx.AsyncClient, method: str, url: str, **how: Any) -> dict[str, Any]:
    """A JSON object from Google; redirects are not followed."""
    try:
        async with client.stream(method, url, **how) as answer:
            data = b""
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > _LARGEST:
                    raise Unanswered("Google's answer was too long.")
    except httpx.HTTPError as error:
        raise Unanswered(f"Google could not be reached: {type(error).__name__}.") from error
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if answer.status_code in (400, 401, 403):
        raise Unanswered(f"Google refuses this access ({answer.status_code}): {_why(said)}")
    if answer.status_code != 200 or not isinstance(said, dict):
        raise Unanswered(f"Google answered {answer.status_code}. Thurn asks again in six hours.")
    return said


def _why(said: Any) -> str:
    error = said.get("error") if isinstance(said, dict) else None
    text = error.get("message") if isinstance(error, dict) else said.get("error_description", error) if error else ""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text or "no reason given")).split())[:200]
