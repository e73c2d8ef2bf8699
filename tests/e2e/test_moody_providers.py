"""Providers that limit, greylist, put off and block: only theirs waits, and people are told why and what to do.

And a list that is old: the guard pauses the campaign, and its owner is told. Nobody is missed, nobody gets it twice.
"""

import time
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from typing import Any

import e2e_house as furniture
import pytest
from e2e_house import House
from playwright.async_api import Page, expect

from thurn.accounts.service import create_account
from thurn.db.connect import Connection, connect
from thurn.db.fetch import one, rows
from thurn.delivery import egress
from thurn.delivery.jobs import end_old
from thurn.settings import Settings
from thurn.shaping import service
from thurn.shaping.rules import Rule
from thurn.simulate import client
from thurn.stack.out_plan import load_plan

# Provider -> how many people there; of some the campaign is not through when they change their mind.
DOMAINS = {
    "gmx": "gmx.example",
    "yahoo": "yahoo.example",
    "microsoft": "outlook.example",
    "google": "gmail.example",
    "other": "university.example",
}
EACH = 24
SLOW = 60  # mails a minute: our own limit where it is to be seen that the rest waits


@pytest.fixture
async def db(ready: House) -> AsyncIterator[Connection]:
    """The machinery's connection; afterwards nothing is paced and everybody is calm."""
    async with await connect(ready.settings, "system", autocommit=True) as system:
        yield system
        client.calm(ready.settings)
        for table in ("provider_limit", "pace", "shaping_state", "shaping_deed", "provider_answer"):
            await system.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]  # noqa: S608
        await system.execute("UPDATE alert SET cleared_at = now() WHERE cleared_at IS NULL AND key LIKE 'shaping:%%'")


async def campaign_to(house: House, name: str, people: list[str], **pace: Any) -> int:
    template = (await house.row("SELECT min(id) AS id FROM template"))["id"]
    lists = [await furniture.people(house, name, people)]
    sender = (await house.row("SELECT name FROM domain ORDER BY id LIMIT 1"))["name"]
    number = await furniture.draft(house, name, sender=f"post@{sender}", template=template, lists=lists)
    for column, value in pace.items():
        await house.row(f"UPDATE campaign SET {column} = %s WHERE id = %s RETURNING id", [value, number])  # noqa: S608
    await furniture.launch(house, number)
    return number


async def slow_down(db: Connection, settings: Settings, *providers: str) -> None:
    """Limit what goes to these, and hold it. The sender knows then: it reads holds together with limits."""
    table = settings.state / "out" / "lanes" / "transports"
    for provider in providers:
        await db.execute("INSERT INTO provider_limit (provider, rate_per_minute) VALUES (%s, %s)", [provider, SLOW])
        await service.hold(db, "e1", provider)

    async def held() -> bool:
        return all(f"e1 at {provider}" in table.read_text() for provider in providers)

    await furniture.eventually("the sender has seen the holds", held)


async def let_go(db: Connection, *providers: str) -> None:
    """End the holds, and forget them."""
    for provider in providers:
        await service.lift(db, "e1", provider)
    await db.execute("DELETE FROM shaping_deed WHERE provider = ANY(%s)", [list(providers)])


async def states(db: Connection, campaign: int, provider: str) -> dict[str, int]:
    found = await rows(
        db,
        "SELECT state, count(*)::int AS n FROM delivery WHERE campaign_id = %s AND provider = %s GROUP BY state",
        [campaign, provider],
    )
    return {row["state"]: row["n"] for row in found}


async def pace_of(db: Connection, provider: str) -> dict[str, Any]:
    found = await rows(db, "SELECT * FROM pace WHERE provider = %s", [provider])
    return found[0] if found else {"state": "normal", "rule": ""}


def letters(settings: Settings, recipient: str, subject: str) -> list[str]:
    """Texts of the mails with this subject that somebody holds."""
    mails = [message_from_bytes(held.data, policy=default) for held in client.messages(settings, recipient)]
    return [mail.get_content() for mail in mails if mail["Subject"] == subject]


async def test_one_provider_that_blocks_or_defers_us_waits_alone_and_nobody_is_missed_or_mailed_twice(
    ready: House, main: House, db: Connection, window: Any
) -> None:
    settings, operator = ready.settings, "plain.operator@university.example"
    await create_account(db, email=operator, name="Olga", password=main.password, workspace=main.id)
    client.mood(settings, "gmx", "rate", per_minute=120)  # ten at once: more come, however slow we are
    client.mood(settings, "yahoo", "tempfail")
    client.mood(settings, "microsoft", "block")
    await slow_down(db, settings, "yahoo", "microsoft")
    kinds = ["grey" if n % 4 == 0 else "plain" for n in range(EACH)]
    people = [
        f"{'plain' if provider in ('yahoo', 'microsoft') else kind}.{n}.mood@{domain}"
        for provider, domain in DOMAINS.items()
        for n, kind in enumerate(kinds)
    ]
    began = time.monotonic()
    number = await campaign_to(ready, "Moods", people)

    async def greylisted() -> list[dict[str, Any]]:
        return await rows(
            db,
            """SELECT deferrals, extract(epoch FROM settled_at - handed_over_at)::float AS after FROM delivery
               WHERE campaign_id = %s AND recipient LIKE 'grey.%%' AND provider IN ('google', 'other')""",
            [number],
        )

    async def greeted() -> bool:
        return [row["deferrals"] > 0 for row in await greylisted()] == [True] * 12

    # Each suspension has `out` reloaded, and what is just being put off then is left alone by Postfix for a minute.
    await furniture.eventually("greylisted mail was put off once", greeted)
    await let_go(db, "yahoo", "microsoft")

    async def stopped() -> bool:
        stands = [(await pace_of(db, provider))["state"] for provider in ("yahoo", "microsoft")]
        return stands == ["suspended", "suspended"]

    await furniture.eventually("Yahoo and Microsoft are suspended", stopped)
    print(f"both were suspended {time.monotonic() - began:.1f} s after the launch")
    assert {name: (await pace_of(db, name))["rule"] for name in ("yahoo", "microsoft")} == {
        "yahoo": "yahoo-complaints",
        "microsoft": "microsoft-blocked",
    }

    async def others_are_through() -> bool:
        stand = [await states(db, number, provider) for provider in ("gmx", "google", "other")]
        return stand == [{"delivered": EACH}] * 3

    await furniture.eventually("everybody elsewhere has it", others_are_through)
    print(f"the others were through {time.monotonic() - began:.1f} s after the launch")

    async def acted_on() -> set[str]:
        return {row["provider"] for row in await rows(db, "SELECT provider FROM shaping_deed")}

    async def gmx_too() -> bool:
        return "gmx" in await acted_on()

    # Greylisting is no trouble: it slows nothing, and the second try comes soon.
    await furniture.eventually("shaping has seen what GMX said", gmx_too)
    assert await acted_on() == {"gmx", "yahoo", "microsoft"}
    came = await greylisted()
    assert len(came) == 12
    assert all(row["deferrals"] in (1, 2) for row in came)  # 2: the second try came too early for the receiver
    assert all(row["after"] < 20 for row in came), came
    print("greylisted mail came after", sorted(round(row["after"], 1) for row in came))

    # The operator is told what happened, why, and what to do; on the page and by mail.
    page: Page = await window(main)
    await page.goto(f"{settings.url}/house/delivery")
    held = page.get_by_role("region", name="Held back now")
    for words in (
        "Microsoft has put this sending address on its block list.", "Ask for removal with the form",
        "olcsupport.office.com", "part of their network is on our block list (S3140)",
        "Yahoo defers everything from here", "[TSS04]",
    ):  # fmt: skip
        await expect(held).to_contain_text(words)

    async def letter() -> list[str]:
        return letters(settings, operator, "Nothing goes to Microsoft Outlook.com from e1 for now")

    (told,) = await furniture.eventually("the operator got a mail", letter)
    for words in ("What to do: Ask for removal", "Their reply: 550", "nobody was suppressed"):
        assert words in " ".join(told.split())

    # All the same: who waits, waits; nobody is suppressed; and the pause does not prolong itself.
    waiting = await states(db, number, "microsoft")
    assert 3 <= waiting.pop("bounced") < EACH
    assert waiting
    until = (await pace_of(db, "yahoo"))["until"]
    client.calm(settings)
    await db.execute("DELETE FROM provider_limit")
    assert (await one(db, "SELECT count(*) AS n FROM suppression WHERE address LIKE '%%.mood@%%'"))["n"] == 0
    assert (await pace_of(db, "yahoo"))["until"] == until

    # One is told by a person that it may go on, the other finds out by itself when its time is over.
    await held.get_by_role("button", name="Try again: Microsoft Outlook.com from e1").click()
    await db.execute(
        """UPDATE shaping_state SET state = state || jsonb_build_object('until', now() + interval '1 second')
           WHERE provider = 'yahoo'"""
    )
    await db.execute("UPDATE pace SET suspended_until = now() + interval '1 second' WHERE provider = 'yahoo'")
    await furniture.sent(ready, number)
    print(f"all were through {time.monotonic() - began:.1f} s after the launch")

    async def carefully_on() -> bool:
        return bool((await pace_of(db, "yahoo"))["state"] == "slowed")

    await furniture.eventually("Yahoo goes on carefully", carefully_on)
    blocked = await rows(
        db, "SELECT recipient, hard FROM delivery WHERE campaign_id = %s AND state = 'bounced'", [number]
    )
    assert {row["recipient"].partition("@")[2] for row in blocked} == {"outlook.example"}
    assert not any(row["hard"] for row in blocked)
    expected = set(people) - {row["recipient"] for row in blocked}
    truth = client.truth(settings, campaign=number, expected=expected, dkim=False)
    assert (truth.recipients, truth.missing, truth.duplicates, truth.unexpected) == (len(expected), 0, 0, 0)


async def test_what_postfix_holds_for_a_blocked_address_is_carried_by_another_of_the_pool(
    ready: House, db: Connection
) -> None:
    settings = ready.settings
    await egress.add(db, settings, name="e2", bind4="127.0.0.2", helo="out2.brotzeit.example", pool="default")

    async def loaded() -> bool:
        return {"e1", "e2"} == {each.name for each in load_plan(settings.state).egresses}

    await furniture.eventually("Postfix knows the second address", loaded)
    rule = Rule(
        "poor-reputation", "move", "451 4.7.1 Deferred because of its poor reputation", "451 4.7.1 Greylisted",
        patterns=("poor reputation",), count=2, minutes=60,
    )  # fmt: skip
    await service.add_rule(db, rule)
    client.mood(settings, "google", "tempfail", client="127.0.0.1")
    people = [f"plain.{n}.moving@gmail.example" for n in range(40)]
    try:
        number = await campaign_to(ready, "Moving", people)
        await furniture.sent(ready, number)
        lane = await one(db, "SELECT moves, state FROM pace WHERE provider = 'google'")
        assert (lane["moves"], lane["state"]) == (True, "suspended")
        by_first = await one(
            db,
            "SELECT count(*) AS n FROM delivery WHERE campaign_id = %s AND egress = 1 AND deferrals > 0", [number],
        )  # fmt: skip
        print(f"{by_first['n']} that the first address had were carried by the second")
        assert by_first["n"] >= 2
        peers = {held.peer for each in people for held in client.messages(settings, each)}
        assert peers == {"127.0.0.2"}
        truth = client.truth(settings, campaign=number, expected=people, dkim=False)
        assert (truth.recipients, truth.missing, truth.duplicates) == (40, 0, 0)
    finally:
        await service.remove_rule(db, "poor-reputation")
        await db.execute("DELETE FROM egress WHERE name = 'e2'")


async def test_a_mail_that_nobody_takes_in_its_time_is_a_soft_bounce_with_the_last_reply(
    ready: House, db: Connection
) -> None:
    client.mood(ready.settings, "other", "tempfail")  # of one small server: it tells nothing about us
    number = await campaign_to(ready, "Too late", [f"plain.{n}.late@university.example" for n in range(5)])

    async def put_off() -> bool:
        return await states(db, number, "other") == {"deferred": 5}

    await furniture.eventually("all were put off", put_off)
    hours = ready.settings.retry_hours
    assert await end_old(db, hours) == 0
    old = "UPDATE delivery SET handed_over_at = now() - make_interval(hours => %s, secs => 1) WHERE campaign_id = %s"
    async with db.transaction():  # `worker` does the same every minute: not between these two
        await db.execute(old, [hours, number])
        assert await end_old(db, hours) == 5
    await furniture.sent(ready, number)
    found = await rows(db, "SELECT state, category, hard, reply FROM delivery WHERE campaign_id = %s", [number])
    assert {(row["state"], row["category"], row["hard"]) for row in found} == {("bounced", "expired", False)}
    assert all("temporarily deferred because of its poor reputation" in row["reply"] for row in found)
    assert (await one(db, "SELECT count(*) AS n FROM suppression WHERE address LIKE '%%.late@%%'"))["n"] == 0


async def test_an_old_list_pauses_its_campaign_and_its_owner_is_told_and_may_go_on(
    installation: Settings, db: Connection, window: Any
) -> None:
    house = await furniture.open_house(installation, "clearance")
    await furniture.verified_domain(house, "clearance-sale.example")
    await furniture.letter(house)
    people = [f"{'unknown' if n % 5 == 0 else 'plain'}.{n}.old@university.example" for n in range(160)]
    number = await campaign_to(house, "Old addresses", people, speed_limit=300)  # 12 s for what the guard needs not see
    page: Page = await window(house)
    await page.goto(f"{house.url}/campaigns/{number}/progress")

    async def paused() -> bool:
        return await furniture.state_of(house, number) == "paused"

    await furniture.eventually("the guard paused it", paused)
    await house.row("UPDATE campaign SET speed_limit = NULL WHERE id = %s RETURNING id", [number])
    await page.reload()
    main_part = page.get_by_role("main")
    for words in ("Paused by guard", "The guard has paused it.", "mails bounced hard", "paused from 5.00% on"):
        await expect(main_part).to_contain_text(words)
    await page.goto(house.url)
    await expect(page.get_by_role("main")).to_contain_text("“Old addresses” was paused by the guard")

    async def letter() -> list[str]:
        return letters(installation, house.email, "“Old addresses” was paused by the guard")

    (text,) = await furniture.eventually("the owner got a mail", letter)
    for words in ("mails bounced hard", "who has not got it yet waits and is not lost", "the list is old"):
        assert words in " ".join(text.split())
    assert (await furniture.tallies(house, number)).get("handed_over", 0) < len(people)

    await page.goto(f"{house.url}/campaigns/{number}/progress")
    await page.get_by_role("button", name="Go on").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("What was counted until now is forgiven")
    await dialog.get_by_role("button", name="Send to").click()
    await furniture.sent(house, number)
    truth = client.truth(installation, campaign=number, expected=people, dkim=False)
    assert (truth.missing, truth.duplicates, truth.refused) == (0, 0, {"unknown": 32})
    open_alerts = await rows(db, "SELECT 1 FROM alert WHERE key = %s AND cleared_at IS NULL", [f"guard:{number}"])
    assert open_alerts == [], "the alert is closed by going on"
