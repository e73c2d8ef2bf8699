"""Spam."""

from thurn.db.migrate import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
