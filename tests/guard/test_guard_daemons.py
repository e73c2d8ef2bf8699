"""What Dovecot and Postfix ask, asked without them: hostile questions, and a database that is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from thurn.db.connect import Connection, Pool, make_pool
from thurn.db.fetch import rows
from thurn.guard import bans, daemons, limits, policy, postfix_check
from thurn.guard.dovecot_daemon import client_name
from thurn.settings import Settings

BAD = "203.0.113.66"


@pytest.fixture
async def dovecot(clean: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client that knows the secret."""
    async for client in speak(clean):
        yield client


async def speak(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = daemons.create_app(settings)
    headers = {"Authorization": f"Bearer {daemons.secret(settings)}"}
    transport = httpx.ASGITransport(app)
    inner = app._app
    async with (
        inner.router.lifespan_context(inner),
        httpx.AsyncClient(transport=transport, base_url="http://guard", headers=headers) as client,
    ):
        yield client


async def ask(client: httpx.AsyncClient, command: str, content: bytes | dict[str, Any]) -> int:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = await client.post("/sign-in", params={"command": command}, content=body)
    assert answer.status_code == 200
    return int(answer.json()["status"])


def report(mark: str = "a1b", **more: Any) -> dict[str, Any]:
    return {"login": "resi@x.example", "remote": BAD, "protocol": "imap", "pwhash": mark, "success": False, **more}


async def test_nobody_without_the_secret_is_heard(dovecot: httpx.AsyncClient, system: Connection) -> None:
    for headers in ({"Authorization": "Bearer guess"}, {"Authorization": ""}):
        answer = await dovecot.post("/sign-in", params={"command": "report"}, json=report(), headers=headers)
        assert answer.status_code == 403
    assert await rows(system, "SELECT 1 FROM guard_failure") == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"[]", b"null", b'"x"', b"1e999", b"{" * 10_000, b'{"login":"' + b"x" * 100_000 + b'"}', b"\xff\xfe",
        b"[" * 60_000,
        b'{"login":{"a":1},"remote":[1],"protocol":"imap","pwhash":null,"app_password":{}}',
        b'{"login":"\\u0000\\ud800","remote":"\\u0000","protocol":"imap","pwhash":"\\u0000","device_id":"\\u0000"}',
        b'{"login":"a","remote":"1.2.3.4","protocol":"imap","success":true,"app_password":"99999999999999999999"}',
        b'{"login":"a","remote":"1.2.3.4","protocol":"imap","success":"yes","app_password":"-1"}',
        b'{"login":"a","remote":"1.2.3.4; DROP TABLE guard_ban","protocol":"\' OR 1=1","pwhash":"x"}',
    ],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_keeps_nobody_out(dovecot: httpx.AsyncClient, body: bytes) -> None:
    for command in ("allow", "report", "", "x"):
        assert await ask(dovecot, command, body) == 0


async def test_a_client_waits_then_is_refused_and_may_try_elsewhere(
    dovecot: httpx.AsyncClient, system: Connection
) -> None:
    for number in range(limits.FREE_BY_CLIENT + 3):  # 8 s to wait
        assert await ask(dovecot, "report", report(str(number), login=f"{number}@x.example")) == 0
    assert 1 <= await ask(dovecot, "allow", report()) <= limits.LONGEST_TARPIT
    for number in range(limits.BAN_CLIENT):  # what it tries although it has to wait
        await ask(dovecot, "report", report(f"w{number}", policy_reject=True))
    assert await ask(dovecot, "allow", report()) == -1
    assert await ask(dovecot, "allow", report(remote="192.0.2.1")) == 0
    [banned] = await bans.listed(system)
    await ask(dovecot, "report", report("more", policy_reject=True))
    assert await bans.listed(system) == [banned]
    assert await rows(system, "SELECT 1 FROM guard_failure") == [], "a banned client fills no table"


async def test_what_comes_from_the_server_itself_is_neither_counted_nor_refused(
    dovecot: httpx.AsyncClient, system: Connection
) -> None:
    for number in range(limits.BAN_CLIENT + 1):
        await ask(dovecot, "report", report(str(number), remote="127.0.0.1"))
    assert await ask(dovecot, "allow", report(remote="127.0.0.1")) == 0
    assert await rows(system, "SELECT 1 FROM guard_failure") == []


@pytest.fixture
async def nowhere(tmp_path: Path) -> Settings:
    """An installation whose database does not run."""
    return Settings(state=tmp_path)


async def test_without_the_database_people_sign_in_and_it_is_said_in_time(nowhere: Settings) -> None:
    async for client in speak(nowhere):
        async with asyncio.timeout(5):
            assert await ask(client, "allow", report()) == 0
            assert await ask(client, "report", report()) == 0


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('"name" "Kontakt" "version" "3.1" "os" "x"', "Kontakt 3.1"),
        ('("NAME" "Mail")', "Mail"),
        ('"version" "2"', "2"),
        ("NIL", ""),
        ("", ""),
        ('"name"', ""),
        ('"name" NIL', ""),
    ],
)
def test_a_program_says_its_name(said: str, name: str) -> None:
    assert client_name(said) == name


@pytest.fixture
async def pool(clean: Settings) -> AsyncIterator[Pool]:
    async with make_pool(clean, "system", size=2) as made:
        yield made


async def decide(pool: Pool, settings: Settings, context: str, **attributes: str) -> str:
    return await policy.answer(pool, settings, {"policy_context": context, "client_address": BAD, **attributes})


async def test_postfix_puts_off_who_collects_addresses_and_refuses_who_guesses(
    pool: Pool, clean: Settings, system: Connection
) -> None:
    for number in range(limits.UNKNOWN_RECIPIENTS * 2):
        recipient = f"{number}@x.example"
        assert await decide(pool, clean, "asked", recipient=recipient) == "DUNNO"
        assert await decide(pool, clean, "known", recipient=recipient.upper()) == "DUNNO"
    answers = [
        await decide(pool, clean, "asked", recipient=f"x{n}@x.example") for n in range(limits.UNKNOWN_RECIPIENTS)
    ]
    assert answers[:-1] == ["DUNNO"] * (limits.UNKNOWN_RECIPIENTS - 1)
    assert answers[-1].startswith("DEFER 4.7.1")
    assert (await decide(pool, clean, "door")).startswith("REJECT 5.7.1")
    assert await decide(pool, clean, "", recipient="a@x.example") == "DUNNO"
    await system.execute("UPDATE guard_ban SET cause = 'sign-ins'")
    assert await decide(pool, clean, "asked", recipient="a@x.example") == "DUNNO"
    assert (await decide(pool, clean, "door")).startswith("REJECT")
    for ip in ("127.0.0.1", "unknown", "", "' OR 1=1"):
        assert await decide(pool, clean, "door", client_address=ip) == "DUNNO"


async def test_who_signed_in_collects_nothing(pool: Pool, clean: Settings) -> None:
    asked = {"policy_context": "asked", "client_address": BAD, "sasl_username": "resi"}
    for number in range(limits.UNKNOWN_RECIPIENTS + 1):
        assert await postfix_check.check(pool, clean, asked | {"recipient": f"{number}@x.example"}) == "DUNNO"


def test_what_postfix_could_not_find_takes_little_memory() -> None:
    unknown = postfix_check.Unknown()
    for number in range(20_000):
        unknown.asked(f"c{number}", "x" * 10_000, 0.0)
    assert len(unknown.clients) == 10_000
    assert len(next(iter(unknown.clients["c19999"]))) == 320
    unknown.known("c19999", "x" * 10_000)
    assert "c19999" not in unknown.clients
    for number in range(limits.UNKNOWN_RECIPIENTS):
        unknown.asked("slow", f"{number}", number * limits.REMEMBERED.total_seconds())
    assert len(unknown.clients["slow"]) < limits.UNKNOWN_RECIPIENTS
