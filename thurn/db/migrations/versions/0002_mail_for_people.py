"""Mail for people: what several of its features share. Each feature has a revision of its own after this one."""

from thurn.db.migrate import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """The SQL file beside this one."""
    run_sql(__file__)
