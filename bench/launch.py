"""`launch`: the snapshot of a campaign to 1,000,000 contacts, against a bare `INSERT … SELECT` of the same rows.

The peer writes the same rows into the same partitioned table with the same indexes, in one statement, and looks at
nothing: no consent, no suppression, no provider, no numbers. Writes var/bench/launch.json.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from common import analyze, save
from house import add_campaign, house

from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import connect
from thurn.settings import Settings

_BARE = """
INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider, send_at)
SELECT %s, c.workspace_id, c.id, c.email, 'other', 'epoch' FROM list_member m JOIN campaign_list cl USING (list_id)
JOIN contact c ON c.id = m.contact_id WHERE cl.campaign_id = %s
"""


async def run(settings: Settings, contacts: int) -> dict[str, Any]:
    """Both, each with a checkpoint before it."""
    async with await connect(settings, "system", autocommit=True) as db:
        campaign = await add_campaign(db, contacts)
        analyze(settings)
        began = time.monotonic()
        await snapshot(db, campaign, settings)
        ours = time.monotonic() - began
        row = await (
            await db.execute("SELECT count(*) AS n FROM delivery WHERE campaign_id = %s", [campaign])
        ).fetchone()
        assert row == {"n": contacts}
        # A campaign of the same partition, so that both write into as large an index.
        await db.execute("DELETE FROM delivery WHERE campaign_id = %s", [campaign])
        await db.execute("VACUUM delivery")
        began = time.monotonic()
        await db.execute(_BARE, [campaign, campaign])
        bare = time.monotonic() - began
    return {
        "what": f"snapshot of {contacts:,} contacts, seconds; load {os.getloadavg()[0]:.1f}",
        "unit": "seconds", "ours": round(ours, 1), "peer": round(bare, 1), "ratio": round(ours / bare, 2),
        "load": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """Run in a temporary installation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with house(["db"]) as settings:
        save("launch", asyncio.run(run(settings, arguments.contacts)))


if __name__ == "__main__":
    main()
