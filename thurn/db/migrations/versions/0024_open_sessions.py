"""Which password opened which session, so that it ends with the password."""

from thurn.db.migrate import run_sql

revision = "0024"
down_revision = "0022"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
