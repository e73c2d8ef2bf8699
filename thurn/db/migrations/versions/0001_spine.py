"""The first schema, and Procrastinate's own tables beside it."""

from pathlib import Path

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything; the roles exist already (thurn/db/roles.py)."""
    run = op.get_bind().exec_driver_sql
    run(Path(__file__).with_suffix(".sql").read_text().replace("%", "%%"))
    run(SchemaManager.get_schema().replace("%", "%%"))
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO thurn_system")
    run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO thurn_system, thurn_app")
    # The app may hand a job over, and look at nothing else of the job tables.
    run("GRANT SELECT, INSERT, UPDATE ON procrastinate_jobs TO thurn_app")
    run("GRANT SELECT, INSERT ON procrastinate_events TO thurn_app")


def downgrade() -> None:
    """There is nothing before the first schema."""
    raise NotImplementedError("restore a backup instead")
