"""Control over what is queued."""

from thurn.db.migrate import run_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
