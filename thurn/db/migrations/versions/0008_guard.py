"""Guard."""

from thurn.db.migrate import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
