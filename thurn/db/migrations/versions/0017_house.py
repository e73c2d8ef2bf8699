"""Mail for people, what came later."""

from thurn.db.migrate import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
