"""Who is slowed, who is banned, and who is not: against a real database, no daemon."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from thurn.db.connect import Connection, Pool
from thurn.db.fetch import one, rows
from thurn.guard import attacks, bans, clients, jobs, limits, own, sign_ins
from thurn.problems import Conflict, Invalid, NotFound

RESI = "resi@brotzeit.example"
BAD, HOME = "203.0.113.66", "198.51.100.7"


@pytest.fixture
async def resi(system: Connection) -> int:
    row = await one(
        system,
        """WITH d AS (INSERT INTO domain (workspace_id, name, bounce_host)
                      VALUES (1, 'brotzeit.example', 'bounce.brotzeit.example') RETURNING id)
           INSERT INTO mailbox (workspace_id, domain_id, address, password_hash)
             SELECT 1, id, %s, 'x' FROM d RETURNING id""",
        [RESI],
    )
    return int(row["id"])


async def fail(db: Connection, times: int = 1, *, login: str = RESI, ip: str = BAD, mark: str = "") -> None:
    for _ in range(times):
        await sign_ins.record(db, login=login, protocol="imap", ip=ip, succeeded=False, mark=mark)


async def weigh(db: Connection, login: str = RESI, ip: str = BAD) -> sign_ins.Verdict:
    return await sign_ins.weigh(db, login=login, ip=ip)


@pytest.mark.parametrize(
    ("ip", "client"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        ("::ffff:198.51.100.7", "198.51.100.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", clients.NOBODY),
        ("unknown", clients.NOBODY),
        ("198.51.100.7' OR 1=1 --", clients.NOBODY),
        ("\0", clients.NOBODY),
    ],
)
def test_a_client_is_an_address_or_a_64(ip: str, client: str) -> None:
    assert clients.client_of(ip) == client


@pytest.mark.parametrize(
    ("failures", "ago", "seconds"), [(0, None, 0), (4, 0.0, 0), (5, 0.0, 1), (7, 0.0, 4), (7, 3.2, 1), (99, 0.0, 60),
                                     (99, 61.0, 0)]
)  # fmt: skip
def test_waiting_doubles_up_to_a_minute(failures: int, ago: float | None, seconds: int) -> None:
    assert limits.wait(failures, 5, ago) == seconds


async def test_a_guesser_is_slowed_then_banned_and_each_ban_is_longer(system: Connection) -> None:
    await fail(system, limits.FREE_BY_CLIENT - 1, login="a@x.example")
    assert (await weigh(system)).ok
    await fail(system, 5, login="b@x.example")
    slowed = await weigh(system)
    assert not slowed.ok
    assert 1 <= slowed.wait <= 60
    lengths = []
    for _ in range(4):
        while not (banned := await weigh(system, login="c@x.example")).banned:
            await fail(system)
        lengths.append(banned.wait)
        await system.execute("UPDATE guard_ban SET until = now() - interval '1 second'")
        assert (await weigh(system, login="new@x.example")).ok
    assert [round(seconds / 60) for seconds in lengths] == [10, 60, 1440, 1440]
    await system.execute("UPDATE guard_ban SET until = now() - interval '8 days'")
    await fail(system, limits.BAN_CLIENT)
    assert 590 <= (await weigh(system)).wait <= 600


async def test_an_old_phone_with_an_old_password_is_one_failure(system: Connection, resi: int) -> None:
    await fail(system, 60, mark="a1b")
    assert (await weigh(system)).ok
    row = await one(system, "SELECT count(*) AS n, max(times) AS times FROM guard_failure")
    assert row == {"n": 1, "times": 60}
    assert (await one(system, "SELECT count(*) AS n FROM mailbox_sign_in"))["n"] == 1


async def test_many_who_guess_one_mailbox_wait_and_its_owner_does_not(system: Connection, resi: int) -> None:
    await sign_ins.record(system, login=RESI, protocol="imap", ip=HOME, succeeded=True)
    for n in range(12):
        await fail(system, ip=f"203.0.113.{n}")
    assert not (await weigh(system, ip="192.0.2.200")).ok
    assert (await weigh(system, ip=HOME)).ok
    assert (await weigh(system, ip="198.51.100.99")).ok, "the neighbourhood of an address that signed in"
    assert (await weigh(system, login="xaver@brotzeit.example", ip="192.0.2.200")).ok


async def test_an_ipv6_guesser_does_not_get_away_with_another_address_of_its_network(system: Connection) -> None:
    for n in range(limits.BAN_CLIENT):
        await fail(system, login=f"{n}@x.example", ip=f"2001:db8:1:2::{n:x}")
    assert (await weigh(system, ip="2001:db8:1:2:ffff::1")).banned
    assert (await weigh(system, ip="2001:db8:1:3::1")).ok


async def test_signing_in_to_an_own_mailbox_does_not_wash_off_the_failures_with_others(system: Connection) -> None:
    for n in range(limits.BAN_CLIENT):
        await fail(system, login=f"{n}@x.example")
        await sign_ins.record(system, login="own@x.example", protocol="imap", ip=BAD, succeeded=True)
    assert (await weigh(system)).banned


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", ""])
async def test_our_own_doors_are_never_banned(system: Connection, ip: str) -> None:
    for n in range(limits.BAN_CLIENT + 5):
        await fail(system, login=f"{n}@x.example", ip=ip)
    assert (await weigh(system, ip=ip)).ok
    assert await bans.listed(system) == []


async def test_who_is_on_the_list_is_never_banned(system: Connection) -> None:
    await fail(system, limits.BAN_CLIENT)
    assert await bans.allow(system, "203.0.113.0/24", note="office") == "203.0.113.0/24"
    assert (await weigh(system, login="new@x.example")).ok
    await fail(system, limits.BAN_CLIENT + 5)
    assert (await weigh(system, login="new@x.example")).ok
    assert [row["network"] for row in await bans.allowed(system)] == ["203.0.113.0/24"]
    await bans.disallow(system, "203.0.113.0/24")
    with pytest.raises(NotFound):
        await bans.disallow(system, "203.0.113.0/24")


async def test_what_follows_from_the_settings_is_not_taken_off_the_list(system: Connection) -> None:
    await system.execute("INSERT INTO guard_allow (network, origin) VALUES ('192.0.2.1', 'settings')")
    with pytest.raises(Conflict, match="settings"):
        await bans.disallow(system, "192.0.2.1")


async def test_bans_are_made_and_lifted_by_hand(system: Connection) -> None:
    assert await bans.ban_by_hand(system, " 203.0.113.9/24 ", length=timedelta(days=3)) == "203.0.113.0/24"
    assert (await weigh(system)).banned
    assert [(row["client"], row["cause"]) for row in await bans.listed(system)] == [("203.0.113.0/24", "by hand")]
    await bans.lift(system, "203.0.113.0/24")
    assert (await weigh(system)).ok
    with pytest.raises(NotFound):
        await bans.lift(system, "203.0.113.0/24")
    assert await bans.ban_by_hand(system, "2001:db8::1", length=timedelta(hours=1)) == "2001:db8::/64"


@pytest.mark.parametrize(
    "text",
    ["", "x", "0.0.0.0/0", "::/0", "10.0.0.0/8", "192.0.2.7; DROP TABLE guard_ban", "\0", "192.0.2.999", "9" * 5000],
)
async def test_what_is_no_network_or_half_the_world_is_not_banned(system: Connection, text: str) -> None:
    with pytest.raises(Invalid):
        await bans.ban_by_hand(system, text, length=timedelta(hours=1))
    with pytest.raises(Invalid):
        await bans.allow(system, text)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.0/16", "::1"])
async def test_nobody_bans_the_server_itself_by_hand(system: Connection, text: str) -> None:
    with pytest.raises(Conflict):
        await bans.ban_by_hand(system, text, length=timedelta(hours=1))


async def test_a_lifted_ban_starts_anew_with_the_shortest(system: Connection) -> None:
    await fail(system, limits.BAN_CLIENT)
    await bans.lift(system, BAD)
    await fail(system, limits.BAN_CLIENT)
    assert 590 <= (await weigh(system)).wait <= 600


async def test_the_owner_sees_sign_ins_and_the_password_of_a_device(system: Connection, resi: int) -> None:
    password = await one(
        system,
        """INSERT INTO app_password (workspace_id, mailbox_id, name, secret_hash)
           VALUES (1, %s, 'Phone', 'x') RETURNING id""",
        [resi],
    )
    for _ in range(3):
        await sign_ins.record(
            system, login=RESI.upper(), protocol="imap", ip=HOME, succeeded=True, client="K-9\0 Mail",
            app_password_id=password["id"],
        )  # fmt: skip
    await fail(system)
    seen = await sign_ins.recent(system, resi, 10)
    assert [(row["ip"], row["succeeded"], row["client"], row["app_password"]) for row in seen] == [
        (BAD, False, "", ""),
        (HOME, True, "K-9 Mail", "Phone"),
    ]
    used = await one(system, "SELECT last_used_ip, last_used_at IS NOT NULL AS used FROM app_password")
    assert used == {"last_used_ip": HOME, "used": True}
    assert (await one(system, "SELECT used_at IS NOT NULL AS used FROM mailbox"))["used"]


async def test_webmails_own_connections_are_no_sign_ins(system: Connection, resi: int) -> None:
    row = await one(
        system,
        """INSERT INTO app_password (workspace_id, mailbox_id, name, scope, secret_hash)
           VALUES (1, %s, 'w', 'webmail', 'x') RETURNING id""",
        [resi],
    )
    await sign_ins.record(
        system, login=RESI, protocol="imap", ip="127.0.0.1", succeeded=True, app_password_id=row["id"]
    )
    assert await sign_ins.recent(system, resi, 10) == []


@pytest.mark.parametrize("login", ["", "\0", "x" * 100_000, "' OR 1=1 --", "%", "\ud800", "a\r\nb"])
async def test_a_hostile_login_is_just_another(app_pool: Pool, login: str) -> None:
    async with app_pool.connection() as db, db.transaction():
        for succeeded in (False, True):
            assert (await sign_ins.allowed(db, login=login, ip=BAD)).ok
            await sign_ins.record(
                db, login=login, protocol="portal", ip=login, succeeded=succeeded, client=login, mark=login
            )


async def test_tries_at_the_same_time_are_one_after_the_other(app_pool: Pool) -> None:
    async with app_pool.connection() as first, first.transaction():
        assert (await sign_ins.allowed(first, login=RESI, ip=BAD)).ok
        async with app_pool.connection() as second, second.transaction():
            refused = await sign_ins.allowed(second, login=RESI, ip=HOME)
    assert (refused.ok, refused.wait) == (False, 1)


async def test_the_queries_before_a_password_are_bounded_by_a_key(
    system: Connection, analyze: Callable[[str], None]
) -> None:
    await system.execute(
        """INSERT INTO guard_failure (client, login, mark, door)
           SELECT ('10.' || n % 200 || '.' || n / 200 % 200 || '.1')::cidr, n || '@x.example', n::text, 'imap'
           FROM generate_series(1, 20000) n"""
    )
    await system.execute(
        """INSERT INTO guard_ban (client, cause, until)
           SELECT ('10.' || n % 200 || '.' || n / 200 || '.1')::cidr, 'sign-ins', now() + interval '1 hour'
           FROM generate_series(1, 20000) n"""
    )
    analyze("guard_failure, guard_ban")
    plans: list[dict[str, Any]] = []
    for query in (
        "SELECT count(*) FROM guard_failure WHERE login = 'a' AND at > now() - interval '1 hour'",
        "SELECT count(*) FROM guard_failure WHERE client = '10.1.1.1' AND at > now() - interval '1 hour'",
        "SELECT 1 FROM guard_ban WHERE client >>= '10.1.1.1'::inet AND until > now()",
    ):
        plans += await rows(system, f"EXPLAIN {query}")  # type: ignore[arg-type]
    assert "Seq Scan" not in str(plans)


async def test_what_had_to_wait_brings_a_ban_nearer_and_keeps_nobody_else_waiting(system: Connection) -> None:
    for n in range(limits.BAN_CLIENT - 1):
        await sign_ins.record(system, login=RESI, protocol="imap", ip=BAD, succeeded=False, mark=str(n), checked=n == 0)
    assert (await weigh(system, ip="192.0.2.200")).ok
    await sign_ins.record(system, login=RESI, protocol="imap", ip=BAD, succeeded=False, mark="last", checked=False)
    assert (await weigh(system)).banned


async def test_this_server_and_its_proxies_are_never_banned(system: Connection, tmp_path: Path, clean: Any) -> None:
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 198.51.100.20\n"
        "        /32 host LOCAL\n     |-- 198.51.100.255\n        /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text(
        "20010db8000000000000000000000020 02 40 00 00 eth0\n00000000000000000000000000000001 01 80 10 80 lo\n"
    )
    addresses = own.own_addresses(tmp_path)
    assert addresses == {"198.51.100.20", "2001:db8::20"}
    proxied = clean.model_copy(update={"trusted_proxies": ["203.0.113.0/24", "nonsense"]})
    await bans.allow(system, "192.0.2.7", note="office")
    for _ in range(2):
        await own.enlist(system, own.never_banned(proxied, addresses))
    await fail(system, limits.BAN_CLIENT + 1)
    assert await bans.listed(system) == []
    await own.enlist(system, own.never_banned(clean, addresses))
    assert [(row["network"], row["origin"]) for row in await bans.allowed(system)] == [
        ("192.0.2.7/32", "by hand"),
        ("198.51.100.20/32", "settings"),
        ("2001:db8::20/128", "settings"),
    ]
    assert own.own_addresses(tmp_path / "nothing") == set()


async def test_what_is_old_is_forgotten(system: Connection, resi: int) -> None:
    await fail(system, limits.BAN_CLIENT - 1)
    await sign_ins.record(system, login=RESI, protocol="imap", ip=HOME, succeeded=True)
    await bans.ban_by_hand(system, "192.0.2.9", length=timedelta(hours=1))
    await jobs.forget(system)
    tables = ("guard_failure", "guard_ban", "guard_known", "mailbox_sign_in")
    assert [(await one(system, f"SELECT count(*) AS n FROM {table}"))["n"] for table in tables] == [19, 1, 1, 2]  # type: ignore[arg-type]  # noqa: S608
    for table, column in zip(tables, ("at", "until", "at", "at"), strict=True):
        await system.execute(f"UPDATE {table} SET {column} = now() - interval '91 days'")  # type: ignore[arg-type]  # noqa: S608
    await jobs.forget(system)
    assert [(await one(system, f"SELECT count(*) AS n FROM {table}"))["n"] for table in tables] == [0] * 4  # type: ignore[arg-type]  # noqa: S608


async def test_people_are_told_while_many_guess_one_mailbox_and_when_a_password_seems_stolen(
    system: Connection, resi: int
) -> None:
    await attacks.look(system)
    assert await rows(system, "SELECT 1 FROM alert") == []
    for n in range(35):
        await fail(system, ip=f"203.0.{n}.1")
    for n in range(5):
        await sign_ins.record(system, login=RESI, protocol="imap", ip=f"192.{n}.2.1", succeeded=True)
    for _ in range(2):
        await attacks.look(system)
    told = await rows(system, "SELECT workspace_id, key, level FROM alert ORDER BY key")
    assert told == [
        {"workspace_id": 1, "key": f"guessing:{RESI}", "level": "warn"},
        {"workspace_id": 1, "key": f"stolen:{RESI}", "level": "bad"},
    ]
    await system.execute("UPDATE guard_failure SET at = at - interval '31 minutes'")
    await attacks.look(system)
    open_ones = await rows(system, "SELECT key FROM alert WHERE cleared_at IS NULL")
    assert open_ones == [{"key": f"stolen:{RESI}"}]
