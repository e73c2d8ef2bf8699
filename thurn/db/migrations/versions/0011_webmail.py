"""Webmail."""

from thurn.db.migrate import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
