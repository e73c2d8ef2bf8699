"""`flat`: what claim, hand-over and fold of a mail cost in a ledger of 10,000,000 rows, against one of 10,000.

The rows lie in one campaign, the worst case: one partition. The mails are claimed as the sender does, their outcomes
appended and folded as the worker does. CPU time, ours and that of PostgreSQL's backend, in rounds by turns and the best
of them: the clock would measure what else the machine does. Writes var/bench/flat.json.
"""

import argparse
import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import analyze, save
from house import add_campaign, house

from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection, connect
from thurn.delivery.claims import Lane, begin_life, claim, open_lanes
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.settings import Settings

MAILS = 2000  # a round
BATCH = 100
ROUNDS = 4


def _cpu(backend: int) -> float:
    """CPU seconds of this process and of a backend."""
    fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost(db: Connection, campaign: int, life: int) -> tuple[float, float]:
    """Microseconds of CPU a mail in one round, and by the clock."""
    backend = db.info.backend_pid
    began, spent = time.monotonic(), _cpu(backend)
    for _ in range(MAILS // BATCH):
        assert await open_lanes(db)
        taken = await claim(db, Lane(1, campaign, "other"), life, BATCH)
        now = datetime.now(UTC)
        async with db.transaction():
            await append(db, [Outcome(campaign, c.delivery, "handed_over", now, c.attempt, "Q") for c in taken])
            await append(db, [Outcome(campaign, c.delivery, "delivered", now, source="log") for c in taken])
        while await fold(db):
            pass
    return (_cpu(backend) - spent) / MAILS * 1e6, (time.monotonic() - began) / MAILS * 1e6


async def _fill(db: Connection, campaign: int, settings: Settings, rows: int) -> None:
    """A campaign of `rows` rows, most of them behind it."""
    await snapshot(db, campaign, settings)
    row = await (await db.execute("SELECT count(*) AS n FROM delivery WHERE campaign_id = %s", [campaign])).fetchone()
    have = int((row or {})["n"])
    # What was sent before: delivered, of contacts long gone.
    await db.execute(
        """INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, send_at, state, egress,
                                 handed_over_at, settled_at)
           SELECT %s, 1, -i, 'old' || i || '@sink.example', 'other', 'epoch', 'delivered', 1, now(), now()
           FROM generate_series(1, %s) i""",
        [campaign, max(0, rows - have)],
    )


async def run(settings: Settings, rows: int) -> dict[str, Any]:
    """The small campaign and the large one by turns."""
    few: list[tuple[float, float]] = []
    many: list[tuple[float, float]] = []
    async with await connect(settings, "system", autocommit=True) as db:
        small = await add_campaign(db, MAILS * (ROUNDS + 1), name="Small")
        await _fill(db, small, settings, 10_000)
        large = await add_campaign(db, MAILS * (ROUNDS + 1), name="Large")
        await _fill(db, large, settings, rows)
        analyze(settings, "delivery")
        life = await begin_life(db, "main")
        for _ in range(ROUNDS):
            few.append(await cost(db, small, life))
            many.append(await cost(db, large, life))
    ours, peer = min(cpu for cpu, _ in many), min(cpu for cpu, _ in few)
    return {
        "what": f"claim, hand-over and fold of a mail, µs of CPU, with {rows:,} ledger rows against 10,000;"
                f" load {os.getloadavg()[0]:.1f}",
        "unit": "microseconds a mail", "ours": round(ours), "peer": round(peer), "ratio": round(ours / peer, 3),
        "by_the_clock": [round(min(clock for _, clock in each)) for each in (many, few)],
        "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    with house(["db"]) as settings:
        save("flat", asyncio.run(run(settings, arguments.rows)))


if __name__ == "__main__":
    main()
