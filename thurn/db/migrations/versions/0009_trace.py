"""Trace."""

from thurn.db.migrate import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
