"""Settling leases whose end nobody saw, with a queue and connections that say what a test wants."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection
from thurn.delivery import reconcile
from thurn.delivery.claims import Lane, begin_life, claim
from thurn.delivery.fold import fold
from thurn.delivery.outcomes import Outcome, append
from thurn.mail.tokens import VerpTokens
from thurn.settings import Settings

MakeCampaign = Callable[..., Awaitable[int]]
TOKENS = VerpTokens(b"v" * 32)


@pytest.fixture(autouse=True)
def quick(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (clean.state / "log" / "out.mail.log").unlink(missing_ok=True)  # other tests write one that nobody reads
    monkeypatch.setattr(reconcile, "_SETTLE", 0.0)
    monkeypatch.setattr(reconcile, "_LINGER", 0.2)
    monkeypatch.setattr(reconcile, "_LOOK", 0.01)
    monkeypatch.setattr(reconcile, "client_ports", lambda _: {40_000})
    listed(monkeypatch, [set()])


def listed(monkeypatch: pytest.MonkeyPatch, listings: list[set[tuple[int, int]]]) -> list[float]:
    """Let the queue show `listings` one after the other; returns when it was listed."""
    times: list[float] = []

    async def queue(settings: Settings, tokens: VerpTokens) -> set[tuple[int, int]]:
        times.append(time.monotonic())
        return set(listings[min(len(times), len(listings)) - 1])

    monkeypatch.setattr(reconcile, "_queue", queue)
    return times


async def _leased(system: Connection, settings: Settings, make: MakeCampaign) -> tuple[int, reconcile.Unknown]:
    campaign = await make(1)
    await snapshot(system, campaign, settings)
    life = await begin_life(system, settings.node)
    (mine,) = await claim(system, Lane(1, campaign, "other"), life, 1)
    return life, reconcile.Unknown(campaign, mine.delivery, mine.attempt)


async def test_a_port_that_a_new_connection_was_given_is_not_waited_for(
    system: Connection, clean: Settings, make_campaign: MakeCampaign
) -> None:
    life, lease = await _leased(system, clean, make_campaign)
    async with asyncio.timeout(60):
        done = await reconcile.settle(system, clean, TOKENS, [life], [lease], {40_000}, lambda: {40_000, 40_001})
    assert done == (0, 1)


async def test_an_open_connection_is_waited_for(
    system: Connection, clean: Settings, make_campaign: MakeCampaign
) -> None:
    life, lease = await _leased(system, clean, make_campaign)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await reconcile.settle(system, clean, TOKENS, [life], [lease], {40_000}, lambda: {40_001})


async def test_the_server_has_time_to_write_down_what_it_read_before_the_queue_is_listed(
    system: Connection, clean: Settings, make_campaign: MakeCampaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was reset is in no table, and its last mail may not be in the queue yet."""
    life, lease = await _leased(system, clean, make_campaign)
    times = listed(monkeypatch, [{(lease.campaign, lease.delivery)}])
    before = time.monotonic()
    assert await reconcile.settle(system, clean, TOKENS, [life], [lease], set()) == (1, 0)
    assert times[0] - before >= 0.2


@pytest.mark.parametrize(("second", "lost"), [(True, 0), (False, 1)])
async def test_a_mail_is_lost_only_when_no_listing_shows_it(
    system: Connection,
    clean: Settings,
    make_campaign: MakeCampaign,
    monkeypatch: pytest.MonkeyPatch,
    second: bool,
    lost: int,
) -> None:
    _, lease = await _leased(system, clean, make_campaign)
    then = datetime.now(UTC) - timedelta(minutes=1)
    await append(system, [Outcome(lease.campaign, lease.delivery, "handed_over", then, lease.attempt)])
    await fold(system)
    listed(monkeypatch, [set(), {(lease.campaign, lease.delivery)} if second else set()])
    assert await reconcile.declare_lost(system, clean, TOKENS) == lost
