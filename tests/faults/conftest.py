"""A whole sending installation to be harmed, once per run of these tests."""

from collections.abc import Iterator

import pytest
from installation import installation

from thurn.settings import Settings


@pytest.fixture(scope="module")
def sending() -> Iterator[Settings]:
    """db, out and our own roles in a short state directory, and the simulated internet beside them."""
    with installation() as settings:
        yield settings
