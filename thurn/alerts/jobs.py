"""The mail of an alert."""

from procrastinate import JobContext, RetryStrategy

from thurn.db.connect import connect
from thurn.jobs.app import jobs, settings_of
from thurn.mail.system import send

_RETRY = RetryStrategy(max_attempts=20, linear_wait=10)


@jobs.task(name="mail_owners", pass_context=True, retry=_RETRY)
async def mail_owners(context: JobContext, workspace: int, subject: str, text: str) -> None:
    """Write to every owner of a workspace. Tried again when `out` is away; a second copy is better than none."""
    settings = settings_of(context)
    async with await connect(settings, "system") as db:
        cursor = await db.execute(
            """SELECT a.email FROM membership m JOIN account a ON a.id = m.account_id
               WHERE m.workspace_id = %s AND m.role = 'owner' ORDER BY a.id LIMIT 50""",
            [workspace],
        )
        owners = [row["email"] for row in await cursor.fetchall()]
        await send(db, settings, workspace, owners, subject=subject, text=text)
