"""Warm-up of sending addresses."""

from thurn.db.migrate import run_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
