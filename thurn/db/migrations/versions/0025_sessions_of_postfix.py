"""Which password somebody hands in mail with, so that this ends with the password, too."""

from thurn.db.migrate import run_sql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
