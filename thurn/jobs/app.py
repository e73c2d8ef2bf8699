"""The job engine: Procrastinate over our PostgreSQL. Features define tasks in their `jobs.py`."""

from typing import Any, cast

import procrastinate
from psycopg.types.json import Jsonb

from thurn.db.connect import Connection, conninfo
from thurn.settings import Settings

TASK_MODULES = [
    "thurn.alerts.jobs",
    "thurn.audience.jobs",
    "thurn.campaigns.jobs",
    "thurn.certificates.jobs",
    "thurn.delivery.jobs",
    "thurn.feedback.jobs",
    "thurn.dmarc.jobs",
    "thurn.guard.jobs",
    "thurn.mailhost.jobs",
    "thurn.trace.jobs",
    "thurn.webmail.jobs",
    "thurn.spam.jobs",
    "thurn.portal.jobs",
    "thurn.reputation.jobs",
    "thurn.relays.jobs",
    "thurn.nodes.jobs",
]

# A blueprint, so that tasks can be declared before anybody knows which installation they serve.
jobs = procrastinate.Blueprint()


def make_app(settings: Settings) -> procrastinate.App:
    """The engine of one installation, with every task registered. Once a process: the tasks are named on the way."""
    connector = procrastinate.PsycopgConnector(conninfo=conninfo(settings, "system"), min_size=1, max_size=4)
    app = procrastinate.App(
        connector=connector, import_paths=TASK_MODULES, worker_defaults={"additional_context": {"settings": settings}}
    )
    app.perform_import_paths()  # type: ignore[no-untyped-call]  # Procrastinate leaves it untyped
    app.add_tasks_from(jobs, namespace="thurn")
    return app


def settings_of(context: procrastinate.JobContext) -> Settings:
    """The installation a task runs for; the task needs `pass_context=True`."""
    return cast("Settings", context.additional_context["settings"])


async def defer(db: Connection, task: str, *, lock: str | None = None, **arguments: Any) -> None:
    """Enqueue `task` (`thurn:<name>`) in the transaction of `db`: job and change come true together or not at all."""
    await db.execute(
        """SELECT procrastinate_defer_jobs_v1(ARRAY[
             ROW('default', %s, 0, %s, NULL, %s, NULL)::procrastinate_job_to_defer_v1])""",
        [task, lock, Jsonb(arguments)],
    )
