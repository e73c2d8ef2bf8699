"""A campaign in the database, as the tests of delivery have it."""

from tests.delivery.conftest import make_campaign

__all__ = ["make_campaign"]
