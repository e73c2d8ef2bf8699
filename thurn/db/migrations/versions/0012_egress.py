"""Sending addresses, pools, providers and their limits."""

from thurn.db.migrate import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
