"""Background jobs of delivery."""

from procrastinate import JobContext

from thurn.alerts import mended, notify
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one
from thurn.delivery import egress
from thurn.delivery.egress_check import check
from thurn.jobs.app import jobs, settings_of
from thurn.problems import NotFound
from thurn.settings import Settings


@jobs.periodic(cron="17 * * * *")
@jobs.task(name="check_egresses", pass_context=True, queueing_lock="check_egresses")
async def check_egresses(context: JobContext, timestamp: int) -> None:
    """Look at every sending address."""
    # Autocommit: no transaction is held open while DNS takes its time.
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await check_all(db, settings_of(context))


@jobs.periodic(cron="* * * * *")
@jobs.task(name="end_retries", pass_context=True, queueing_lock="end_retries")
async def end_retries(context: JobContext, timestamp: int) -> None:
    """Give up campaigns' mail that no server took within its time."""
    async with await connect(settings_of(context), "system", autocommit=True) as db:
        await end_old(db, settings_of(context).retry_hours)


async def end_old(db: Connection, hours: int) -> int:
    """Ask `keeper` to end campaigns' mail that `out` has had for so long; returns how many mails."""
    done = await db.execute(
        """INSERT INTO give_up (node, queue_id, campaign_id, delivery_id, rule)
           SELECT q.node, q.queue_id, q.campaign_id, q.delivery_id, 'its time is over'
           FROM queue_entry q JOIN delivery d ON d.campaign_id = q.campaign_id AND d.id = q.delivery_id
           WHERE d.state IN ('handed_over', 'deferred') AND d.handed_over_at < now() - make_interval(hours => %s)
           ON CONFLICT (node, queue_id) DO NOTHING""",
        [hours],
    )
    return done.rowcount


async def check_all(db: Connection, settings: Settings) -> None:
    """Look at each; tell the operators what cannot be sent from well, and when that is over."""
    house = (await one(db, "SELECT id FROM workspace WHERE slug = 'main'"))["id"]
    for row in await egress.listed(db):
        try:
            found = await check(db, row["name"], settings)
        except NotFound:
            continue  # removed meanwhile
        bad = [each for each in found["checks"] if each["level"] == "bad"]
        key = f"egress:{row['name']}"
        async with db.transaction():
            if bad and found["state"] == "on":
                text = "\n".join(f"{each['what']} {each['fix']}".strip() for each in bad)
                await notify(
                    db, house, f"The sending address {row['name']} is not in order", text, key,
                    link="/house/delivery/addresses", act="See the address",
                )  # fmt: skip
            else:
                await mended(
                    db, house, key, subject=f"The sending address {row['name']} is in order",
                    text="What was wrong with it has been mended, or it is out of use.",
                )  # fmt: skip
