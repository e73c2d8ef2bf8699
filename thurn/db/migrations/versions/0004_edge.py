"""Edge."""

from thurn.db.migrate import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
