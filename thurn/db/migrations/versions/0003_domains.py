"""Domains."""

from thurn.db.migrate import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
