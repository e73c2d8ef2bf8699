"""An installation with a database and little else, and campaigns in it, for the benchmarks that need no mail server."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.stack.control import down, start_stack


@contextmanager
def house(roles: list[str]) -> Iterator[Settings]:
    """The roles in a state directory of their own below BENCH_DIR (/tmp), gone afterwards."""
    state = Path(tempfile.mkdtemp(prefix="tb-", dir=os.environ.get("BENCH_DIR", "/tmp")))
    state.chmod(0o755)
    (state / "thurn.toml").write_text('hostname = "mail.bench.example"\nsimulate = true\n')
    try:
        yield start_stack(state, roles)
    finally:
        down(state)
        shutil.rmtree(state)


async def add_campaign(db: Connection, contacts: int, *, name: str = "Bench") -> int:
    """A campaign that is being launched, to `contacts` new contacts on a list of its own; returns its id."""
    row = await (
        await db.execute(
            """INSERT INTO campaign (workspace_id, name, from_address, state, kind, subject, source, started_at)
               VALUES (1, %s, 'post@bench.example', 'launching', 'markdown', 'News', 'Hello', now()) RETURNING id""",
            [name],
        )
    ).fetchone()
    campaign = int((row or {})["id"])
    await db.execute(
        """WITH l AS (INSERT INTO list (workspace_id, name) VALUES (1, 'L' || %(campaign)s) RETURNING id),
                c AS (INSERT INTO contact (workspace_id, email, fields)
                      SELECT 1, 'r' || i || '.' || %(campaign)s || '@sink' || i %% 200 || '.example',
                             '{"first_name": "Ada", "city": "Bamberg"}'
                      FROM generate_series(1, %(n)s) i RETURNING id),
                m AS (INSERT INTO list_member (list_id, contact_id, workspace_id) SELECT l.id, c.id, 1 FROM l, c)
           INSERT INTO campaign_list (campaign_id, list_id, workspace_id) SELECT %(campaign)s, id, 1 FROM l""",
        {"campaign": campaign, "n": contacts},
    )
    await db.execute(
        "INSERT INTO provider_domain (domain, provider) SELECT 'sink' || i || '.example', 'other'"
        " FROM generate_series(0, 199) i ON CONFLICT DO NOTHING"
    )
    return campaign
