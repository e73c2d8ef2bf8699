"""Bounces from mailboxes and webhooks."""

from thurn.db.migrate import run_sql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
