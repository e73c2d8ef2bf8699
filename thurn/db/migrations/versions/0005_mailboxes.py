"""Mailboxes."""

from thurn.db.migrate import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
