"""The page and the API of a campaign's pace."""

import httpx
import made_up
import pytest
from page_check import check

from thurn.accounts.sessions import SignedInAs
from thurn.db.connect import Connection

Signed = tuple[httpx.AsyncClient, SignedInAs]
HOSTILE = '"><script>alert(1)</script>{{ 7*7 }}'


async def campaign_in(system: Connection, state: str) -> int:
    row = await (await system.execute("SELECT id FROM campaign WHERE state = %s LIMIT 1", [state])).fetchone()
    return int((row or {})["id"])


def typed(session: SignedInAs, **fields: object) -> dict[str, object]:
    return {
        "csrf": session.csrf, "speed_limit": "1500", "speed_unit": "hour", "priority": "low", "limited": "1",
        "days": ["1", "5"], "opens": "9:00", "closes": "17:30", "zone": "Europe/Berlin", **fields,
    }  # fmt: skip


async def test_a_pace_is_set_while_the_campaign_is_sent_and_shown_again(signed_in: Signed, system: Connection) -> None:
    client, session = signed_in
    await made_up.bakery(system)
    number = await campaign_in(system, "sending")
    here = f"/w/main/campaigns/{number}/pace"
    check((await client.get(here)).text)
    answer = await client.post(here, data=typed(session))
    assert answer.status_code == 303
    page = check((await client.get(here)).text)
    values = {each.get("name"): each.get("value") for each in page.all("input") if each.get("type") == "text"}
    assert values == {
        "speed_limit": "1500", "opens": "09:00", "closes": "17:30", "zone": "Europe/Berlin"
    }  # fmt: skip
    row = await (await system.execute("SELECT * FROM campaign WHERE id = %s", [number])).fetchone()
    assert row is not None
    assert (row["window_days"], row["priority"], row["speed_unit"]) == ([1, 5], "low", "hour")
    await client.post(here, data=typed(session, limited="", speed_limit=""))
    row = await (await system.execute("SELECT * FROM campaign WHERE id = %s", [number])).fetchone()
    assert row is not None
    assert (row["window_days"], row["speed_limit"]) == (None, None)


async def test_outside_its_hours_the_progress_says_when_it_goes_on(signed_in: Signed, system: Connection) -> None:
    client, _ = signed_in
    await made_up.bakery(system)
    number = await campaign_in(system, "sending")
    await system.execute(
        """UPDATE campaign SET window_days = ARRAY[extract(isodow FROM now() AT TIME ZONE 'UTC')::int %% 7 + 1],
           window_from = '09:00', window_until = '10:00', window_zone = 'UTC' WHERE id = %s""",
        [number],
    )
    assert "It waits for its hours" in check((await client.get(f"/w/main/campaigns/{number}/progress")).text).words()


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed_limit": "0"}, {"speed_limit": "-5"}, {"speed_limit": "9" * 9}, {"speed_limit": HOSTILE},
        {"days": []}, {"days": ["8", "x"]}, {"opens": "25:00"}, {"closes": HOSTILE}, {"zone": "Mars/Olympus"},
        {"zone": "../../etc/passwd"}, {"zone": HOSTILE}, {"priority": "highest"},
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_beside_its_field(
    signed_in: Signed, system: Connection, wrong: dict[str, object]
) -> None:
    client, session = signed_in
    await made_up.bakery(system)
    number = await campaign_in(system, "draft")
    answer = await client.post(f"/w/main/campaigns/{number}/pace", data=typed(session, **wrong))
    assert answer.status_code == 422
    page = check(answer.text)
    assert [each for each in page.all("span") if "err" in each.get("class", "").split()]


async def test_a_draft_tells_its_pace_before_it_is_sent(signed_in: Signed, system: Connection) -> None:
    client, session = signed_in
    await made_up.bakery(system)
    number = await campaign_in(system, "draft")
    await client.post(f"/w/main/campaigns/{number}/pace", data=typed(session))
    words = check((await client.get(f"/w/main/campaigns/{number}/check")).text).words()
    assert "At most 1,500 mails an hour; Monday and Friday, 09:00 to 17:30 (Europe/Berlin); low priority" in words
