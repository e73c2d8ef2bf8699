"""Moves."""

from thurn.db.migrate import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
