"""Tells operators of a machine that is silent or takes no mail."""

from procrastinate import JobContext

from thurn.alerts.service import mended, notify
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one
from thurn.jobs.app import jobs, settings_of
from thurn.nodes import service

_SILENT = (
    "Nothing has been heard of it since {since} UTC. {queued} mails are in its Postfix and {leased} were about to be "
    "handed to it; they wait. Everything else goes on by the other sending addresses of the same pools. Start it "
    "again, or start another machine from its disk: then nobody is skipped and nobody gets a mail twice. Only if "
    "neither comes back, declare it lost: you are shown whom that is about."
)
_UNABLE = "{trouble} What waits goes on by the other sending addresses of the same pools."


@jobs.periodic(cron="* * * * *")
@jobs.task(name="watch_nodes", pass_context=True, queueing_lock="watch_nodes")
async def watch_nodes(context: JobContext, timestamp: int) -> None:
    """Look at all machines."""
    async with await connect(settings_of(context), "system") as db, db.transaction():
        await watch(db)


async def watch(db: Connection) -> None:
    """Raise what is wrong, close what is not any more."""
    house = (await one(db, "SELECT id FROM workspace WHERE slug = 'main'"))["id"]
    for row in await service.listed(db):
        if row["first"] or row["state"] == "invited":
            continue
        name, here = row["name"], row["state"] in ("joined", "leaving")
        subject = f"The sending machine {name} is {'back' if here else 'settled'}"
        text = "It sends again." if here else "It does not belong here any more."
        if row["long_silent"]:
            since = f"{row['seen_at'] or row['joined_at']:%Y-%m-%d %H:%M}"
            why = _SILENT.format(since=since, queued=row["queued"], leased=row["leased"])
            await notify(
                db, house, f"The sending machine {name} is silent", why, f"node:{name}",
                link=f"/house/delivery/nodes/{name}", act="See the machine",
            )  # fmt: skip
        else:
            await mended(db, house, f"node:{name}", subject=subject, text=text)
        if here and not row["silent"] and row["trouble"] and row["seen_at"] is not None:
            await notify(
                db, house, f"The sending machine {name} takes no mail", _UNABLE.format(trouble=row["trouble"]),
                f"node-unable:{name}", link=f"/house/delivery/nodes/{name}", act="See the machine",
            )  # fmt: skip
        else:
            await mended(db, house, f"node-unable:{name}", subject=subject, text=text)
