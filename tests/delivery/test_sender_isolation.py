"""What is wrong with one campaign or one mail stays there: the sender serves everybody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from thurn.campaigns.service import preflight
from thurn.campaigns.snapshot import snapshot
from thurn.db.connect import Connection, Pool, in_workspace
from thurn.delivery.claims import Claim
from thurn.delivery.compose import Composer
from thurn.delivery.composers import Composers, NotReady
from thurn.delivery.sender import Sender
from thurn.mail.smtp import Session
from thurn.mail.tokens import VerpTokens
from thurn.secrets import Secrets
from thurn.settings import Settings

MakeCampaign = Callable[..., Awaitable[int]]
HOSTILE = [
    "news\r\nBcc: victim@elsewhere.example@house.example",
    "news\r@house.example",
    "néws@house.example",
    "news> <other@house.example",
    "a@b@house.example",
    "two words@house.example",
]


async def _domain(system: Connection) -> None:
    await system.execute(
        "INSERT INTO domain (workspace_id, name, bounce_host, verified_at)"
        " VALUES (1, 'house.example', 'bounce.house.example', now())"
    )


@pytest.mark.parametrize("column", ["from_address", "reply_to"])
@pytest.mark.parametrize("address", HOSTILE)
async def test_an_address_that_is_none_does_not_get_past_the_check(
    system: Connection, app_pool: Pool, clean: Settings, make_campaign: MakeCampaign, address: str, column: str
) -> None:
    await _domain(system)
    campaign = await make_campaign(1, state="draft")

    async def bad() -> list[str]:
        async with in_workspace(app_pool, 1) as db:
            return [f.what for f in await preflight(db, 1, campaign, clean) if f.level == "bad"]

    before = await bad()
    await system.execute(f"UPDATE campaign SET {column} = %s WHERE id = %s", [address, campaign])  # noqa: S608 - two names
    assert [what for what in await bad() if what not in before] == [
        f"“{address}” is not an address that can stand in a mail."
    ]


@pytest.mark.parametrize("address", HOSTILE[:3])
async def test_a_sender_that_cannot_be_a_header_is_said_to_the_operator(
    system: Connection, clean: Settings, make_campaign: MakeCampaign, address: str
) -> None:
    await _domain(system)
    campaign = await make_campaign(1)
    await system.execute("UPDATE campaign SET from_address = %s WHERE id = %s", [address, campaign])
    secrets = Secrets(clean.state)
    with pytest.raises(NotReady, match="can't stand in a mail"):
        await Composers(clean, secrets, VerpTokens(secrets.derive("verp"))).get(system, campaign)


async def test_a_campaign_that_breaks_is_paused_and_the_others_are_sent(
    system: Connection, clean: Settings, make_campaign: MakeCampaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = await make_campaign(2), await make_campaign(3)
    for campaign in (broken, good):
        await snapshot(system, campaign, clean)
    sender = Sender(clean)
    sender._life = await sender._begin()
    await sender._board.read(system, clean.node, frozenset({"e1"}))

    async def get(db: Connection, campaign: int) -> Any:
        if campaign == broken:
            raise RuntimeError("a key that cannot be read")
        return object()

    monkeypatch.setattr(sender._composers, "get", get)
    claiming = asyncio.create_task(sender._claim(system))
    async with asyncio.timeout(60):
        while sender._ready.qsize() < 3 and not claiming.done():
            await asyncio.sleep(0.01)
    sender._stop()
    await claiming
    assert {sender._ready.get_nowait()[0].campaign for _ in range(3)} == {good}
    row = await (await system.execute("SELECT state, state_reason FROM campaign WHERE id = %s", [broken])).fetchone()
    assert row is not None
    assert row["state"] == "paused"
    assert "could not prepare" in row["state_reason"]


async def test_a_mail_that_cannot_be_made_fails_and_does_not_end_the_sender(clean: Settings) -> None:
    class Broken:
        def compose(self, *given: object) -> None:
            raise TypeError("no such thing")

    sender = Sender(clean)
    sender._board.names = {1: "e1"}
    await sender._hand_over(
        cast("Session", None), Claim(1, 2, 1, "a@reader.example", "other", {}), cast("Composer", Broken())
    )
    (outcome,) = sender._outcomes
    assert (outcome.kind, outcome.delivery_id, outcome.attempt) == ("failed", 2, 1)
    assert "no such thing" in (outcome.reply or "")


@pytest.mark.parametrize(
    ("names", "suspended"), [({}, frozenset()), ({1: "e1"}, frozenset({("e1", "other")}))], ids=["removed", "suspended"]
)
async def test_what_was_claimed_for_a_lane_that_has_closed_since_goes_back(
    clean: Settings, names: dict[int, str], suspended: frozenset[tuple[str, str]]
) -> None:
    sender = Sender(clean)
    sender._board.names, sender._board.suspended = names, suspended
    await sender._hand_over(cast("Session", None), Claim(1, 2, 1, "a@x.example", "other", {}), cast("Composer", None))
    (outcome,) = sender._outcomes
    assert (outcome.kind, outcome.reply) == ("returned", None)
