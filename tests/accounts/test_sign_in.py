"""Accounts, signing in and keys."""

import asyncio
import time

import pytest

from thurn.accounts import passwords, service, sessions
from thurn.db.connect import Connection, Pool
from thurn.db.fetch import one, rows
from thurn.problems import Busy, Conflict, Invalid

PASSWORD = "a long enough password"


@pytest.fixture
async def anna(system: Connection) -> int:
    return await service.create_account(
        system, email="Anna@Brotzeit.example", name=" Anna ", password=PASSWORD, workspace=1
    )


async def try_to(db: Connection, password: str, email: str = "anna@brotzeit.example", ip: str = "192.0.2.1") -> object:
    return await sessions.sign_in(db, email=email, password=password, ip=ip)


async def test_the_right_password_starts_a_session_and_only_its_hash_is_kept(system: Connection, anna: int) -> None:
    result = await try_to(system, PASSWORD, " ANNA@brotzeit.example ")
    assert isinstance(result, sessions.SignedInAs)
    stored = await one(system, "SELECT * FROM session")
    assert stored["account_id"] == anna
    assert result.token not in str(stored)
    assert stored["token_hash"] == sessions.hash_token(result.token)
    opened = await sessions.open_workspace(system, result.token, "main")
    assert opened is not None
    assert (opened["email"], opened["role"], opened["workspace_slug"]) == ("Anna@brotzeit.example", "owner", "main")


async def test_passwords_are_kept_as_argon2id_of_rfc_9106(system: Connection, anna: int) -> None:
    kept = (await one(system, "SELECT password_hash FROM account"))["password_hash"]
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_signing_in_ends_the_session_the_browser_came_with(system: Connection, anna: int) -> None:
    planted = await sessions.start_session(system, account=anna)
    result = await sessions.sign_in(system, email="anna@brotzeit.example", password=PASSWORD, previous=planted.token)
    assert isinstance(result, sessions.SignedInAs)
    assert result.token != planted.token
    assert await sessions.open_workspace(system, planted.token, None) is None


async def test_signing_out_ends_the_session_and_may_be_repeated(system: Connection, anna: int) -> None:
    session = await sessions.start_session(system, account=anna)
    for _ in range(2):
        await sessions.sign_out(system, session.token)
    assert await sessions.open_workspace(system, session.token, None) is None


async def test_a_new_password_ends_every_session(system: Connection, anna: int) -> None:
    session = await sessions.start_session(system, account=anna)
    await service.set_password(system, account=anna, password="another password")
    assert await sessions.open_workspace(system, session.token, None) is None
    assert isinstance(await try_to(system, "another password"), sessions.SignedInAs)


@pytest.mark.parametrize(
    "password", ["", "x", PASSWORD + " ", PASSWORD.upper(), "x" * 5000, "a\0b", "\ud800", "ü" * 40]
)
async def test_a_wrong_password_is_refused_and_counted(system: Connection, anna: int, password: str) -> None:
    result = await try_to(system, password)
    assert isinstance(result, sessions.SignInRefused)
    assert (await one(system, "SELECT count(*) AS n FROM guard_failure"))["n"] == 1


async def test_an_unknown_address_reads_and_takes_as_long_as_a_wrong_password(system: Connection, anna: int) -> None:
    await passwords.matches(None, "warm up")

    async def timed(email: str) -> tuple[float, object]:
        await system.execute("DELETE FROM guard_failure")
        start = time.perf_counter()
        result = await try_to(system, "wrong password", email)
        return time.perf_counter() - start, result

    # In turn, and the quickest of each: what else the machine does slows both alike, and only ever slows.
    tries = [(await timed("anna@brotzeit.example"), await timed("nobody@brotzeit.example")) for _ in range(5)]
    known, unknown = [a for a, _ in tries], [b for _, b in tries]
    assert known[0][1] == unknown[0][1]
    ratio = min(t for t, _ in known) / min(t for t, _ in unknown)
    assert 0.3 < ratio < 3


@pytest.mark.parametrize("email", ["", "\0", "x" * 10_000, "' OR 1=1 --", "%", "\ud800"])
async def test_a_hostile_address_is_just_unknown(system: Connection, anna: int, email: str) -> None:
    assert isinstance(await try_to(system, PASSWORD, email), sessions.SignInRefused)


async def test_guessing_one_address_gets_slow_and_the_right_password_waits_too(system: Connection, anna: int) -> None:
    waits: list[int] = []
    async with system.transaction():  # in which time stands still: a second may pass between two tries here
        for n in range(5):
            result = await try_to(system, "wrong", ip=f"192.0.2.{n}")
            assert isinstance(result, sessions.SignInRefused)
            assert result.wait == 0
        for n in range(3):
            slowed = await try_to(system, PASSWORD)
            assert isinstance(slowed, sessions.SignInRefused)
            waits.append(slowed.wait)
            await system.execute(
                "INSERT INTO guard_failure VALUES ('203.0.113.9', 'anna@brotzeit.example', %s, 'web')", [str(n)]
            )
    assert waits == sorted(waits)
    assert 1 <= waits[0] < waits[-1] <= 60
    await system.execute("UPDATE guard_failure SET at = at - interval '61 seconds'")
    assert isinstance(await try_to(system, PASSWORD), sessions.SignedInAs)


async def test_guessing_many_addresses_from_one_place_gets_slow(system: Connection, anna: int) -> None:
    await system.execute(
        """INSERT INTO guard_failure (client, login, mark, door)
           SELECT '192.0.2.9', n || '@x.example', '', 'web' FROM generate_series(1, 12) n"""
    )
    slowed = await try_to(system, PASSWORD, ip="192.0.2.9")
    assert isinstance(slowed, sessions.SignInRefused)
    assert slowed.wait > 0
    assert isinstance(await try_to(system, PASSWORD, ip="192.0.2.10"), sessions.SignedInAs)


async def test_guesses_at_the_same_time_are_not_all_free(app_pool: Pool, anna: int) -> None:
    async def guess(n: int) -> object:
        async with app_pool.connection() as db, db.transaction():
            return await try_to(db, f"wrong {n}")

    results = await asyncio.gather(*[guess(n) for n in range(12)])
    async with app_pool.connection() as db:
        counted = (await one(db, "SELECT count(*) AS n FROM guard_failure"))["n"]
    assert counted <= 6
    assert all(isinstance(result, sessions.SignInRefused) for result in results)


async def test_a_flood_of_sign_ins_leaves_connections_for_everybody_else(app_pool: Pool, anna: int) -> None:
    """Each waits for its turn at the hash and holds a connection meanwhile: past a few, they are sent away at once."""
    results = await asyncio.gather(*[passwords.matches(None, f"wrong {n}") for n in range(20)], return_exceptions=True)
    assert results.count(False) == 5
    assert sum(isinstance(result, Busy) for result in results) == 15
    assert await passwords.matches(None, "later") is False


@pytest.mark.parametrize("email", ["", "x", "a@b", "a b@x.example", "a@x.example\nBcc: b@x.example", "a@@x.example"])
async def test_an_address_that_is_none_makes_no_account(system: Connection, email: str) -> None:
    with pytest.raises(Invalid) as refused:
        await service.create_account(system, email=email, password=PASSWORD, workspace=1)
    assert refused.value.field == "email"
    assert await rows(system, "SELECT 1 FROM account") == []


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "long enough \0"])
async def test_a_password_that_is_too_short_or_too_long_makes_no_account(system: Connection, password: str) -> None:
    with pytest.raises(Invalid) as refused:
        await service.create_account(system, email="a@x.example", password=password, workspace=1)
    assert refused.value.field == "password"


async def test_an_address_has_one_account_whatever_its_case(system: Connection, anna: int) -> None:
    with pytest.raises(Conflict):
        await service.create_account(system, email="ANNA@brotzeit.EXAMPLE", password=PASSWORD, workspace=1)


def test_generated_passwords_differ_and_are_long() -> None:
    made = {passwords.generate() for _ in range(100)}
    assert len(made) == 100
    assert {len(password) for password in made} == {20}
