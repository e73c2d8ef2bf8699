"""Relays and warm-up."""

from thurn.db.migrate import run_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
