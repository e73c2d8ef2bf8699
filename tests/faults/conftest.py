"""A whole sending installation to be killed, once per run of these tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from thurn.settings import Settings
from thurn.stack.control import down, start_stack

ROLES = ["db", "simulate", "out", "feedback", "worker", "sender"]


@pytest.fixture(scope="module")
def sending() -> Iterator[Settings]:
    """db, out, our roles and the simulated internet, in a short state directory."""
    state = Path(tempfile.mkdtemp(prefix="thurn-f-", dir="/tmp"))
    state.chmod(0o755)
    (state / "thurn.toml").write_text('hostname = "mail.house.example"\nsimulate = true\nretry_first = 5\n')
    try:
        yield start_stack(state, ROLES)
    finally:
        down(state)
        shutil.rmtree(state, ignore_errors=True)
