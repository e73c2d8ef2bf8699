"""Our own addresses between relays before and behind them, and other addresses for what a blocked one holds."""

from thurn.db.migrate import run_sql

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
