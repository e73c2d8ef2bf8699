"""Speed, hours and priority of a campaign: as Python says it, as PostgreSQL does it, and as the sender obeys."""

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thurn.campaigns import pace
from thurn.campaigns.pace import Pace, Window
from thurn.db.connect import Connection
from thurn.delivery.claims import open_lanes, stopped
from thurn.problems import Invalid

BERLIN = "Europe/Berlin"
OFFICE = Window(frozenset({1, 2, 3, 4, 5}), time(9), time(17), BERLIN)
NIGHT = Window(frozenset({5}), time(22), time(2), BERLIN)
SATURDAY = Window(frozenset({6}), time(0), time(0), BERLIN)

# On a busy machine every example takes its time.
patient = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
windows = st.builds(
    Window,
    st.frozensets(st.integers(1, 7), min_size=1),
    st.times().map(lambda t: t.replace(microsecond=0)),
    st.times().map(lambda t: t.replace(microsecond=0)),
    st.sampled_from((BERLIN, "America/St_Johns", "Pacific/Apia", "UTC", "Asia/Kathmandu")),
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        (OFFICE, "2026-11-24T09:00+01:00", True),
        (OFFICE, "2026-11-24T08:59+01:00", False),
        (OFFICE, "2026-11-24T17:00+01:00", False),
        (OFFICE, "2026-11-28T12:00+01:00", False),  # a Saturday
        (OFFICE, "2026-07-01T07:30+00:00", True),  # summer time
        (NIGHT, "2026-11-27T23:00+01:00", True),
        (NIGHT, "2026-11-28T01:59+01:00", True),  # still the Friday that it began
        (NIGHT, "2026-11-28T22:30+01:00", False),
        (NIGHT, "2026-11-27T01:00+01:00", False),
        (SATURDAY, "2026-11-28T00:00+01:00", True),
        (SATURDAY, "2026-11-28T23:59+01:00", True),
        (SATURDAY, "2026-11-29T00:00+01:00", False),
    ],
)
def test_a_window_is_open_at_its_own_hours(window: Window, moment: str, is_open: bool) -> None:
    assert window.is_open(datetime.fromisoformat(moment)) is is_open


@patient
@given(windows, moments)
def test_the_next_opening_is_open_and_not_long_ago(window: Window, moment: datetime) -> None:
    found = window.next_opening(moment)
    # An hour that the clock leaves out in spring opens when the clock has jumped over it.
    assert window.is_open(found) or window.is_open(found.astimezone(UTC) + timedelta(hours=1))
    assert moment - timedelta(hours=1) <= found <= moment + timedelta(days=9)


async def test_postgresql_opens_a_window_at_the_same_moments(system: Connection) -> None:
    cases: list[tuple[Window, datetime]] = []
    settings(patient, max_examples=300)(given(windows, moments)(lambda w, m: cases.append((w, m))))()
    for window, moment in cases:
        row = await (
            await system.execute(
                "SELECT in_send_window(%s::smallint[], %s, %s, %s, %s) AS open",
                [sorted(window.days), window.opens, window.closes, window.zone, moment],
            )
        ).fetchone()
        assert (row or {})["open"] is window.is_open(moment), (window, moment)


def test_a_pace_is_told_in_words() -> None:
    assert Pace().in_words() == ""
    assert Pace(1500, "hour", "low", OFFICE).in_words() == (
        "at most 1,500 mails an hour; Monday to Friday, 09:00 to 17:00 (Europe/Berlin); low priority"
    )
    assert Window(frozenset({1, 3}), time(0), time(0), "UTC").in_words() == "Monday and Wednesday, all day (UTC)"


@pytest.mark.parametrize("zone", ["", "Berlin", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\0", "x" * 5000])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="time zone"):
        pace.window([1], time(9), time(17), zone)


async def _sending(system: Connection, name: str = "News") -> int:
    row = await (
        await system.execute(
            """WITH c AS (INSERT INTO campaign (workspace_id, name, from_address, state)
                          VALUES (1, %s, 'a@house.example', 'sending') RETURNING id),
                    d AS (INSERT INTO delivery (campaign_id, workspace_id, contact_id, recipient, provider)
                          SELECT id, 1, 1, 'a@b.example', 'gmx' FROM c),
                    t AS (INSERT INTO campaign_tally (workspace_id, campaign_id, provider, measure, n)
                          SELECT 1, id, 'gmx', 'recipients', 1 FROM c)
               SELECT id FROM c""",
            [name],
        )
    ).fetchone()
    return int((row or {})["id"])


async def test_a_campaign_sends_within_its_window_only(system: Connection) -> None:
    campaign = await _sending(system)
    today = datetime.now(UTC).isoweekday()
    both = frozenset({today, today % 7 + 1})  # midnight may come any moment
    await pace.put(system, campaign, Pace(window=Window(both, time(0), time(0), "UTC")))
    assert [lane.campaign for lane in await open_lanes(system)] == [campaign]
    await pace.put(system, campaign, Pace(window=Window(frozenset({(today + 2) % 7 + 1}), time(0), time(0), "UTC")))
    assert await open_lanes(system) == []
    await system.execute("UPDATE campaign SET window_zone = 'Gone/Away'")  # and no other campaign is stopped by it
    other = await _sending(system, "Other")
    assert [lane.campaign for lane in await open_lanes(system)] == [other]


async def test_what_is_held_opens_no_lane(system: Connection) -> None:
    campaign = await _sending(system)
    for held, lanes in (((1, None), 0), ((None, "gmx"), 0), ((None, None), 0), ((None, "google"), 1)):
        await system.execute("INSERT INTO hold (workspace_id, provider) VALUES (%s, %s)", held)
        assert len(await open_lanes(system)) == lanes
        await system.execute("DELETE FROM hold")
    assert await stopped(system, [campaign]) == set()
    await system.execute("UPDATE campaign SET state = 'paused'")
    assert await stopped(system, [campaign, 10**9]) == {campaign}


async def test_the_pace_is_kept_as_it_was_given(system: Connection) -> None:
    campaign = await _sending(system)
    for wanted in (Pace(500, "hour", "high", NIGHT), Pace(1, "minute", "low", OFFICE), Pace()):
        await pace.put(system, campaign, wanted)
        assert await pace.get(system, campaign) == wanted
    row = await (await system.execute("SELECT speed, weight FROM campaign_due")).fetchone()
    assert row == {"speed": None, "weight": 4}
    await pace.put(system, campaign, Pace(90, "hour"))
    row = await (await system.execute("SELECT speed FROM campaign_due")).fetchone()
    assert row == {"speed": 1.5}
    with pytest.raises(LookupError):
        await pace.put(system, 10**9, Pace())


def test_what_somebody_types_is_read() -> None:
    assert pace.window_of("mon-fri", "9:00", "17:00", BERLIN) == OFFICE
    assert pace.window_of("Fri - Mon", "22:00", "24:00", "UTC").days == {5, 6, 7, 1}
    assert pace.window_of("sat,Sunday", "00:00", "24:00", "UTC") == Window(frozenset({6, 7}), time(0), time(0), "UTC")
    assert pace.speed_of("2,000 / hour") == {"speed_limit": 2000, "speed_unit": "hour"}
    assert pace.speed_of("none")["speed_limit"] is None


@patient
@given(st.text(max_size=12))
def test_what_cannot_be_read_is_refused_in_words(text: str) -> None:
    for read in (pace.hour_of, pace.speed_of, pace.limit_of, pace.priority_of):
        with suppress(Invalid):
            read(text)
    with pytest.raises(Invalid):
        pace.window_of(f"?{text}", "09:00", "17:00", "UTC")
