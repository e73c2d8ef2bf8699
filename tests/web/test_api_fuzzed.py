"""The JSON API, served as in real life, under requests nobody would write by hand (schemathesis)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from thurn.accounts.service import create_api_key
from thurn.db.connect import Connection
from thurn.heartbeat import alive
from thurn.settings import Settings
from thurn.web.app import create_app

schema = schemathesis.openapi.from_dict(create_app(Settings(state=Path("/nowhere"))).openapi())
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[int]:
    """The role `web` as a process of its own; gives its process id."""
    (settings.state / "run").mkdir(exist_ok=True)
    code = "from thurn.settings import load_settings; from thurn.web.serve import main; main(load_settings())"
    environment = {**os.environ, "THURN_STATE": str(settings.state)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        _wait(settings)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "the web must stop by itself when asked"


def _url(settings: Settings) -> str:
    """Of the process itself: no Caddy is in front of it here."""
    return f"http://127.0.0.1:{settings.port['web']}"


def _wait(settings: Settings) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{_url(settings)}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the web did not come up")


@pytest.fixture
async def key(system: Connection) -> str:
    return (await create_api_key(system, 1, "fuzz"))[1]


def test_the_web_serves_and_beats_and_stays_small(server: int, settings: Settings) -> None:
    assert alive(settings, "web")
    answer = httpx.get(f"{_url(settings)}/sign-in")
    assert answer.status_code == 200
    assert "content-security-policy" in answer.headers
    status = Path(f"/proc/{server}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    print(f"resident: {resident:.0f} MB")
    assert resident < 160


@schema.parametrize()
@profile(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_api(case: schemathesis.Case, server: int, settings: Settings, key: str) -> None:
    case.call_and_validate(
        base_url=_url(settings), headers={"Authorization": f"Bearer {key}"}, checks=list(CHECKS), timeout=60
    )
