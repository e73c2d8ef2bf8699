"""`thurn queue …` and `thurn campaign pace …`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from thurn.cli import build
from thurn.db.connect import Connection
from thurn.db.fetch import one, rows
from thurn.settings import Settings

MakeCampaign = Callable[..., Awaitable[int]]


@pytest.fixture(autouse=True)
def house(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THURN_STATE", str(clean.state))
    monkeypatch.setenv("THURN_HOSTNAME", "mail.thurn.example")


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(lambda: CliRunner().invoke(build(), list(arguments)))


async def data(*arguments: str) -> Any:
    done = await run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def test_an_empty_queue_says_so() -> None:
    assert (await run("queue", "list")).stdout == "Nothing waits.\n"
    assert await data("queue", "list") == {"waiting": [], "lanes": [], "holds": []}


async def test_mail_is_held_shown_and_released(system: Connection) -> None:
    said = await run("queue", "hold", "--provider", "gmx", "--reason", "They\n asked  us to wait")
    number = (await data("queue", "hold", "--workspace", "main"))["id"]
    assert f"thurn queue release {number - 1}" in said.stdout
    shown = (await run("queue", "list")).stdout
    assert "every workspace, gmx They asked us to wait" in shown
    assert [(each["provider"], each["reason"]) for each in (await data("queue", "list"))["holds"]] == [
        ("gmx", "They asked us to wait"), (None, ""),
    ]  # fmt: skip
    assert await data("queue", "release", str(number)) == {"id": number}
    assert (await run("queue", "release", str(number - 1))).stdout == "Released.\n"
    assert await rows(system, "SELECT * FROM hold") == []


async def test_a_retry_is_asked_for_once_however_often_it_is_said(system: Connection) -> None:
    for _ in range(2):
        assert "Within two seconds" in (await run("queue", "retry")).stdout
        assert await data("queue", "retry", "--provider", "gmx") == {"provider": "gmx"}
    asked = await rows(system, "SELECT provider FROM queue_retry ORDER BY provider")
    assert [row["provider"] for row in asked] == ["gmx", None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("hold", "--provider", "'; DROP TABLE hold"), "There is no provider"),
        (("hold", "--workspace", "nobody’s"), "There is no workspace"),
        (("release", "4711"), "There is no such hold"),
        (("release", "9" * 30), "There is no such hold"),
        (("retry", "--provider", "x" * 5000), "There is no provider"),
    ],
)
async def test_what_cannot_be_done_to_the_queue_is_refused_in_a_sentence(
    system: Connection, arguments: tuple[str, ...], says: str
) -> None:
    done = await run("queue", *arguments)
    assert (done.exit_code, says in done.output) == (1, True), done.output
    assert len(done.output) < 1000
    assert await rows(system, "SELECT 1 FROM hold UNION ALL SELECT 1 FROM queue_retry") == []


async def test_the_same_is_not_held_twice() -> None:
    assert (await run("queue", "hold")).exit_code == 0
    again = await run("queue", "hold")
    assert (again.exit_code, "held already" in again.output) == (1, True)


async def test_a_campaigns_pace_is_shown_changed_and_taken_back(
    system: Connection, make_campaign: MakeCampaign
) -> None:
    number = str(await make_campaign(1))
    assert "as fast as it goes, at any time" in (await run("campaign", "pace", number)).stdout
    said = await run(
        "campaign", "pace", number, "--speed", "2000/hour", "--days", "mon-fri", "--from", "09:00", "--until", "17:00",
        "--zone", "Europe/Berlin", "--priority", "high",
    )  # fmt: skip
    for words in ("at most 2,000 mails an hour", "Monday to Friday, 09:00 to 17:00 (Europe/Berlin)", "high priority"):
        assert words in said.stdout
    found = await data("campaign", "pace", number)
    assert (found["speed_limit"], found["speed_unit"], found["priority"]) == (2000, "hour", "high")
    assert found["window"] == {"days": [1, 2, 3, 4, 5], "opens": "09:00", "closes": "17:00", "zone": "Europe/Berlin"}
    back = await data("campaign", "pace", number, "--speed", "none", "--days", "any", "--priority", "normal")
    assert back == {"speed_limit": None, "speed_unit": "minute", "priority": "normal", "window": None}
    row = await one(system, "SELECT speed_limit, priority FROM campaign WHERE id = %s", [int(number)])
    assert (row["speed_limit"], row["priority"]) == (None, "normal")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--speed", "fast"), ("--speed", "0/minute"), ("--speed", "9" * 40 + "/hour"), ("--speed", "-5/minute"),
        ("--speed", "5/fortnight"), ("--days", "someday"), ("--days", "mon", "--from", "25:00"),
        ("--days", "mon", "--until", "noon"), ("--days", "mon", "--zone", "../../etc/passwd"),
        ("--priority", "highest"),
    ],
)  # fmt: skip
async def test_a_pace_that_makes_no_sense_changes_nothing(
    system: Connection, make_campaign: MakeCampaign, arguments: tuple[str, ...]
) -> None:
    number = await make_campaign(1)
    before = await one(system, "SELECT * FROM campaign WHERE id = %s", [number])
    done = await run("campaign", "pace", str(number), *arguments)
    assert done.exit_code == 1, done.output
    assert done.output.strip().endswith((".", "none.")), done.output
    assert await one(system, "SELECT * FROM campaign WHERE id = %s", [number]) == before


@pytest.mark.parametrize("number", ["4711", "9" * 30])
async def test_a_campaign_that_is_not_there_is_said_to_be_missing(number: str) -> None:
    done = await run("campaign", "pace", number)
    assert (done.exit_code, f"There is no campaign {number}." in done.output) == (1, True), done.output
