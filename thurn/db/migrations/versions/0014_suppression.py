"""What is suppressed, and replies."""

from thurn.db.migrate import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
