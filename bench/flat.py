"""`flat`: what claim, hand-over and fold of a mail cost in a ledger of 10,000,000 rows, against one of 10,000.

The rows lie in one campaign, the worst case: one partition. The mails are claimed as the sender does, their outcomes
appended and folded as the worker does. Best of several rounds, for other work disturbs. Writes var/bench/flat.json.
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

from common import save
from house import add_campaign, house

from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection, connect
from thurn.delivery.claims import Lane, begin_life, claim, open_lanes
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.settings import Settings

MAILS = 2000  # a round
BATCH = 100
ROUNDS = 5


async def cost(db: Connection, campaign: int) -> float:
    """Microseconds a mail in the quickest round."""
    life = await begin_life(db, "main")
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.monotonic()
        for _ in range(MAILS // BATCH):
            assert await open_lanes(db)
            taken = await claim(db, Lane(1, campaign, "other"), life, BATCH)
            now = datetime.now(UTC)
            async with db.transaction():
                await append(db, [Outcome(campaign, c.delivery, "handed_over", now, c.attempt, "Q") for c in taken])
                await append(db, [Outcome(campaign, c.delivery, "delivered", now, source="log") for c in taken])
            while await fold(db):
                pass
        best = min(best, (time.monotonic() - began) / MAILS)
    return best * 1e6


async def _only(db: Connection, campaign: int, settings: Settings, rows: int) -> float:
    """The cost with one campaign of `rows` rows, most of them behind it."""
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
    await db.execute("VACUUM ANALYZE delivery")
    return await cost(db, campaign)


async def run(settings: Settings, rows: int) -> dict[str, Any]:
    """First the small ledger, then the large one beside it."""
    async with await connect(settings, "system", autocommit=True) as db:
        few = await _only(db, await add_campaign(db, MAILS * ROUNDS, name="Small"), settings, 10_000)
        await db.execute("UPDATE campaign SET state = 'sent'")
        many = await _only(db, await add_campaign(db, MAILS * (ROUNDS + 1), name="Large"), settings, rows)
    return {
        "what": f"claim, hand-over and fold of a mail, µs, with {rows:,} ledger rows against 10,000;"
                f" load {os.getloadavg()[0]:.1f}",
        "unit": "microseconds a mail", "ours": round(many), "peer": round(few), "ratio": round(many / few, 3),
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
