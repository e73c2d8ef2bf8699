"""Background jobs of audience."""

from procrastinate import JobContext

from thurn.audience.importer import run_import
from thurn.jobs.app import jobs, settings_of


@jobs.task(name="import_contacts", pass_context=True, retry=20)
async def import_contacts(context: JobContext, import_id: int, workspace: int) -> None:
    """Import an uploaded file; safe to run again at any time."""
    await run_import(settings_of(context), import_id=import_id, workspace=workspace)
