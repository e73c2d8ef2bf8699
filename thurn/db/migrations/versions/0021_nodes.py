"""More than one sending node."""

from thurn.db.migrate import run_sql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
