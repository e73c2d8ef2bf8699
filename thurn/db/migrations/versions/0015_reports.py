"""DMARC and TLS reports, and reputation."""

from thurn.db.migrate import run_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
