"""Campaigns by relays: Postfix signs in at stand-ins; passwords do not mix, and a broken relay is gone round."""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from otherrelay import Relay, relay

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
from campaigns import launch, wait_until_settled
from installation import installation

from thurn.db.connect import connect
from thurn.relays import service
from thurn.relays.watch import try_one
from thurn.settings import Settings
from thurn.simulate import client
from thurn.stack.out_plan import load_plan

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd warns of a name of its own
pytestmark = pytest.mark.stack

PEOPLE = 36


@pytest.fixture(scope="module")
def sending() -> Iterator[Settings]:
    """db, out and our own roles, and the simulated internet beside them."""
    with installation() as settings:
        yield settings


async def test_two_domains_at_one_server_sign_in_as_themselves(sending: Settings) -> None:
    with relay({"anna": "one", "berta": "two: with # signs"}) as other:
        async with await connect(sending, "system", autocommit=True) as db:
            # Domains are made with the first campaign of theirs; nothing goes out by the relay yet.
            for domain in ("anna.example", "berta.example"):
                campaign, everybody = await launch(sending, 1, domain=domain)
                await asyncio.to_thread(wait_until_settled, sending, campaign, len(everybody))
            before = await _settled(sending)
            for user, password in other.users.items():
                await service.add(
                    db, _at(other, user, password), settings=sending, use="domain", domain=f"{user}.example"
                )  # fmt: skip
            await _loaded(sending, "r1", "r2")
            first, _ = await launch(sending, PEOPLE, domain="anna.example")
            second, _ = await launch(sending, PEOPLE, domain="berta.example")
            for campaign in (first, second):
                found = await asyncio.to_thread(wait_until_settled, sending, campaign, PEOPLE)
                assert found["delivered"] == PEOPLE, (found, other.came)
            came = {(user, sender.partition("@")[2]) for user, sender, _ in other.came}
            assert came == {("anna", "bounce.anna.example"), ("berta", "bounce.berta.example")}
            assert len({recipient for _, _, recipient in other.came}) == len(other.came) == 2 * PEOPLE
            assert await _settled(sending) == before, "nothing went directly"
            for path in (sending.state / "out" / "etc").glob("password-*"):
                assert path.stat().st_mode & 0o777 == 0o600
                assert path.stat().st_uid == 0
            assert "two: with" not in (sending.state / "out" / "plan.json").read_text()
            for each in await service.listed(db):
                await service.remove(db, each["id"])
    await _gone(sending, "r1", "r2")
    assert list((sending.state / "out" / "etc").glob("password-*")) == []


async def test_a_relay_that_breaks_is_gone_round_and_nobody_is_skipped_or_gets_it_twice(sending: Settings) -> None:
    with relay({"us": "secret"}) as other:
        async with await connect(sending, "system", autocommit=True) as db:
            number = await service.add(db, _at(other, "us", "secret"), settings=sending, use="first")
            name = (await service.get(db, number))["name"]
            await _loaded(sending, name)
            other.refuse = "451 4.3.0 Come back later"
            campaign, everybody = await launch(sending, PEOPLE)
            await _until(lambda: len(other.sign_ins) > 0)
            other.users.clear()  # the account is closed over there
            found = await try_one(db, sending, number)
            assert found.trouble == "password"
            await asyncio.to_thread(wait_until_settled, sending, campaign, len(everybody))
            truth = client.truth(sending, campaign=campaign, expected=everybody, dkim=False)
            assert (truth.missing, truth.duplicates, other.came) == (0, 0, [])
            alerts = await (await db.execute("SELECT subject FROM alert WHERE cleared_at IS NULL")).fetchall()
            assert [alert["subject"] for alert in alerts] == ["The relay localhost does not take our mail"]
            await service.remove(db, number)


def _at(other: Relay, user: str, password: str) -> service.Relay:
    return service.Relay("localhost", other.port, "starttls", user, password, other.fingerprint)


async def _settled(settings: Settings) -> int:
    return int(client.status(settings)["accepted"])


async def _loaded(settings: Settings, *names: str) -> None:
    """Until Postfix knows them: keeper looks every two seconds."""
    await _until(lambda: set(names) <= {egress.name for egress in load_plan(settings.state).egresses})


async def _gone(settings: Settings, *names: str) -> None:
    """Until nothing is on its way there and Postfix has forgotten them."""
    await _until(lambda: not set(names) & {egress.name for egress in load_plan(settings.state).egresses})


async def _until(condition, seconds: float = 180) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.1)
