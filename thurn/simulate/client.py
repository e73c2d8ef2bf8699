"""Talks to a running simulated internet's control: what the demo, the tests and the command line use."""

import time
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from thurn.settings import Settings
from thurn.simulate.moods import Refusal
from thurn.simulate.truth import Truth


class ControlError(RuntimeError):
    """The simulated internet does not run, or said no; the text says which."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message in a simulated mailbox."""

    id: int
    at: float  # Unix time
    sender: str  # of the envelope
    recipient: str
    campaign: str
    message_id: str
    data: bytes
    peer: str = ""  # the address it came from
    helo: str = ""  # what that called itself


def _call(settings: Settings, method: str, path: str, body: Any = None, **query: Any) -> Any:
    url = f"http://127.0.0.1:{settings.port['sim_http']}{path}"
    params = {name: value for name, value in query.items() if value is not None}
    try:
        with httpx.Client(trust_env=False, timeout=600) as http:
            response = http.request(method, url, params=params, json=body)
    except httpx.HTTPError as error:
        raise ControlError(f"The simulated internet does not answer at {url}: {error}") from error
    if response.status_code != 200:
        raise ControlError(response.json()["error"])
    return response.json()


def publish(settings: Settings, records: Iterable[dict[str, Any]]) -> None:
    """Publish DNS records ({name, type, value, ttl?}); those of the same name and type are replaced."""
    _call(settings, "POST", "/zones", list(records))


def published(settings: Settings) -> list[dict[str, Any]]:
    """What is published now."""
    records: list[dict[str, Any]] = _call(settings, "GET", "/zones")
    return records


def withdraw(settings: Settings, domain: str | None = None) -> None:
    """Take a domain's records down, with what is below it; without a domain everything."""
    _call(settings, "DELETE", "/zones", domain=domain)


def truth(
    settings: Settings,
    *,
    campaign: int | str | None = None,
    expected: Iterable[str] | None = None,
    dkim: bool = True,
    sample: int | None = None,
) -> Truth:
    """Count what happened; see `truth.count_truth`. With signatures about 2 ms a message and core."""
    body = None if expected is None else {"expected": list(expected)}
    return Truth(**_call(settings, "POST", "/truth", body, campaign=campaign, dkim=int(dkim), sample=sample))


def messages(settings: Settings, recipient: str) -> list[Held]:
    """What a recipient holds, newest first, a hundred at most."""
    rows = _call(settings, "GET", "/messages", recipient=recipient)
    return [Held(**{**row, "data": b64decode(row["data"])}) for row in rows]


def status(settings: Settings) -> dict[str, Any]:
    """{pending: steps to come, accepted: messages, refusals: {kind: n}, actions: {kind: n}}."""
    result: dict[str, Any] = _call(settings, "GET", "/status")
    return result


def wait_until_quiet(settings: Settings, timeout: float = 120.0) -> bool:
    """Wait until nothing more comes of the mail accepted so far; False when `timeout` seconds were not enough."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if status(settings)["pending"] == 0:
            return True
        time.sleep(0.2)
    return False


def mood(
    settings: Settings, provider: str, kind: Refusal, *, seconds: float = 3600, per_minute: float = 0,
    share: float = 1, client: str = "",
) -> None:  # fmt: skip
    """Put a provider into a mood: a rate it enforces, or a share of mails put off or blocked; see `moods.Mood`."""
    body = {"provider": provider, "kind": kind, "seconds": seconds, "per_minute": per_minute, "share": share}
    _call(settings, "POST", "/moods", body | {"client": client})


def calm(settings: Settings) -> None:
    """Every provider takes everything again."""
    _call(settings, "DELETE", "/moods")


def reset(settings: Settings) -> None:
    """Forget every mail and what came of it; published records stay."""
    _call(settings, "POST", "/reset")
