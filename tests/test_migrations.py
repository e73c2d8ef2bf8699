"""An installation of an earlier version comes along with what is in it."""

from collections.abc import Iterator

import psycopg
import pytest
from argon2 import PasswordHasher

from thurn.db.connect import conninfo
from thurn.db.migrate import migrate, newest_revision, prepare_database
from thurn.db.revision import newest
from thurn.mailhost.keys import generate
from thurn.secrets import Secrets
from thurn.settings import Settings


@pytest.fixture
def earlier(settings: Settings) -> Iterator[Settings]:
    """A database of its own, as the first version left it."""
    admin = f"host={settings.state}/db/run user=postgres dbname=postgres"
    older = settings.model_copy(update={"database_url": f"host={settings.state}/db/run dbname=earlier"})
    prepare_database(older, admin)
    assert migrate(older, "0001") == "0001"
    yield older
    with psycopg.connect(admin, autocommit=True) as db:
        db.execute("DROP DATABASE earlier WITH (FORCE)")


def test_mailboxes_keys_and_aliases_of_the_first_version_go_on_working(earlier: Settings) -> None:
    hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("Brezn und Radi")
    sealed = Secrets(earlier.state).seal(generate("ed25519-sha256").private_der, "dkim:brotzeit.example")
    with psycopg.connect(conninfo(earlier, "system")) as db:
        db.execute(
            """INSERT INTO domain (workspace_id, name, bounce_host, verified_at, proven_at)
               VALUES (1, 'brotzeit.example', 'bounce.brotzeit.example', now(), now())"""
        )
        db.execute(
            """INSERT INTO dkim_key (workspace_id, domain_id, selector, algorithm, private_key, public_key)
               VALUES (1, 1, 't2611e', 'ed25519-sha256', %s, 'x')""",
            [sealed],
        )
        db.execute(
            """INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
               VALUES (1, 1, 'anna@brotzeit.example', %s)""",
            [hashed],
        )
        db.execute(
            """INSERT INTO alias (workspace_id, domain_id, address, target)
               VALUES (1, 1, 'hallo@brotzeit.example', 'anna@brotzeit.example')"""
        )
        db.execute("INSERT INTO sign_in_failure (email, ip) VALUES ('a@x.example', '192.0.2.1')")
    assert migrate(earlier) == newest_revision()
    with psycopg.connect(conninfo(earlier, "dovecot")) as db:
        assert db.execute("SELECT address, password FROM mta.dovecot_user").fetchall() == [
            ("anna@brotzeit.example", "{ARGON2ID}" + hashed)
        ]
    with psycopg.connect(conninfo(earlier, "postfix")) as db:
        found = db.execute("SELECT targets FROM mta.aliases('hallo@brotzeit.example')").fetchall()
        assert found == [("anna@brotzeit.example",)]
        assert db.execute("SELECT logins FROM mta.logins('hallo@brotzeit.example')").fetchall() == found
    with psycopg.connect(conninfo(earlier, "system")) as db:
        assert db.execute("SELECT state FROM dkim_key").fetchall() == [("active",)]
        assert db.execute("SELECT may_send, send_limit FROM mailbox").fetchall() == [(True, 500)]


def test_migrating_twice_changes_nothing(earlier: Settings) -> None:
    assert migrate(earlier) == migrate(earlier) == newest_revision()


def test_the_newest_revision_is_known_without_the_library_for_changes() -> None:
    assert newest() == newest_revision()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"e1": 1, "behind": 2}, {"e1": 2, "behind": 3}),
        ({"e1": 2, "first": 1}, {"e1": 2, "first": 1}),
        ({"e1": 2, "first": 1, "behind": 2}, {"e1": 2, "first": 1, "behind": 3}),
    ],
)
def test_relays_keep_their_place_before_and_behind_our_own_addresses(
    earlier: Settings, before: dict[str, int], after: dict[str, int]
) -> None:
    migrate(earlier, "0021")
    with psycopg.connect(conninfo(earlier, "system")) as db:
        db.execute("INSERT INTO pool (name) VALUES ('alone')")
        db.execute("INSERT INTO egress (name, kind) VALUES ('only', 'relay')")
        db.execute(
            """INSERT INTO pool_egress (pool_id, egress_id, rank)
               SELECT p.id, e.id, 1 FROM pool p, egress e WHERE p.name = 'alone' AND e.name = 'only'"""
        )
        for name, rank in before.items():
            db.execute("INSERT INTO egress (name, kind) VALUES (%s, 'relay') ON CONFLICT DO NOTHING", [name])
            db.execute(
                """INSERT INTO pool_egress (pool_id, egress_id, rank)
                   SELECT p.id, e.id, %s FROM pool p, egress e WHERE p.name = 'default' AND e.name = %s
                   ON CONFLICT (pool_id, egress_id) DO UPDATE SET rank = excluded.rank""",
                [rank, name],
            )
    assert migrate(earlier) == newest_revision()
    with psycopg.connect(conninfo(earlier, "system")) as db:
        found = db.execute("SELECT e.name, p.rank FROM pool_egress p JOIN egress e ON e.id = p.egress_id").fetchall()
    assert dict(found) == {**after, "only": 1}


@pytest.mark.parametrize("ready", [False, True])
def test_open_sessions_are_kept_whichever_way_they_were_noted_before(earlier: Settings, ready: bool) -> None:
    """`ready`: for a while 0024 itself had made what 0025 adds."""
    migrate(earlier, "0024")
    with psycopg.connect(conninfo(earlier, "dovecot")) as db:
        db.execute("SELECT mta.note_session('4711', 'anna@brotzeit.example', 'app 1')")
    if ready:
        migrate(earlier, "0025")
        with psycopg.connect(conninfo(earlier, "owner")) as db:
            db.execute("UPDATE alembic_version SET version_num = '0024'")
    assert migrate(earlier) == newest_revision()
    with psycopg.connect(conninfo(earlier, "dovecot")) as db:
        db.execute("SELECT mta.note_session('4712', 'anna@brotzeit.example', 'own x', 'postfix')")
    with psycopg.connect(conninfo(earlier, "system")) as db:
        found = db.execute("SELECT pid, opened_by, served_by FROM mta.open_session ORDER BY pid").fetchall()
    assert found == [(4711, "app 1", "dovecot"), (4712, "own x", "postfix")]
