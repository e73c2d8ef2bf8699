"""A campaign in the database, as the tests of delivery have it, and a second machine."""

from pathlib import Path

import pytest

from tests.delivery.conftest import make_campaign
from thurn.db.connect import Connection
from thurn.db.fetch import one
from thurn.nodes.watch import Watch
from thurn.settings import Settings

__all__ = ["make_campaign"]


@pytest.fixture
async def joined(clean: Settings, system: Connection, tmp_path: Path) -> Settings:
    """A machine `two` that has joined, with a sending address `n2` in the pool; its settings."""
    state = tmp_path / "two"
    (state / "secrets").mkdir(parents=True)
    (state / "run" / "ctl").mkdir(parents=True)
    (state / "secrets" / "db-node").write_text("p\n")
    await system.execute(
        """INSERT INTO node (name, login, verifier, state, joined_at, seen_at, able)
           VALUES ('two', 'thurn_node_two', 'p', 'joined', now(), now(), true)"""
    )
    await system.execute("INSERT INTO node (name, state, seen_at, able) VALUES ('main', 'joined', now(), true)")
    await system.execute("INSERT INTO egress (name, node, bind4) VALUES ('n2', 'two', '127.0.0.2')")
    await system.execute(
        "INSERT INTO pool_egress (pool_id, egress_id) SELECT p.id, e.id FROM pool p, egress e WHERE e.name = 'n2'"
    )
    keeper(clean).look()
    url = f"host={clean.state}/db/run dbname=thurn"
    return Settings(state=state, node="two", joined="http://main.example", database_url=url, hostname="two.example")


def keeper(settings: Settings) -> Watch:
    """The first machine's, whose cluster takes root at its word."""
    url = f"host={settings.state}/db/run user=postgres dbname=thurn"
    found = Watch(settings)
    found._settings = settings.model_copy(update={"database_url": url})
    found._settings.__dict__.pop("port", None)
    return found


async def number(system: Connection, name: str) -> int:
    return int((await one(system, "SELECT id FROM egress WHERE name = %s", [name]))["id"])
