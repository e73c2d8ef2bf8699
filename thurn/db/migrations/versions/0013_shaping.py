"""Shaping by what servers answer."""

from thurn.db.migrate import run_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
