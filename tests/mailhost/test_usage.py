"""When a mailbox will be full, and who is told that it nearly is."""

from datetime import date, timedelta

import pytest

from thurn.db.connect import Connection
from thurn.mailhost import mailboxes, usage

ANNA = "anna@brotzeit.example"
FIRST = date(2026, 3, 1)
MB = 1024**2


def days(*sizes: int) -> list[tuple[date, int]]:
    return [(FIRST + timedelta(days=n), size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "used", "quota", "found"),
    [
        (days(*(n * MB for n in range(10))), 9 * MB, 100 * MB, 91),
        (days(*(n * MB for n in range(7))), 6 * MB, 100 * MB, None),  # not even a week
        ([], 5, 100, None),
        (days(*[5 * MB] * 30), 5 * MB, 100 * MB, None),
        (days(*(50 - n for n in range(30))), 20, 100, None),
        (days(*(n for n in range(30))), 29, 10**6, None),  # not in two years
        (days(*(n for n in range(30))), 120, 100, None),  # full already
        (days(*(n * 10 for n in range(30))), 99, 100, 1),
        ([(FIRST, 0), (FIRST + timedelta(days=50), 50)], 50, 100, 50),
    ],
)
def test_the_forecast_goes_on_as_it_went(sizes: list[tuple[date, int]], used: int, quota: int, found: int | None):
    assert usage.forecast(sizes, used, quota) == found


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (1, "about 1 day"), (4, "about 4 days"), (20, "about 3 weeks"), (150, "about 5 months"),
     (349, "about 11 months"), (400, "about a year"), (700, "about 2 years")],
)  # fmt: skip
def test_it_is_said_as_exactly_as_it_is_known(number: int | None, text: str):
    assert usage.in_words(number) == text


def test_the_warning_says_what_is_so_and_what_to_do():
    box = {"address": ANNA, "bytes_used": 999, "quota_bytes": 1000}
    subject, text = usage.words(box, "https://mail.example/mailbox/storage")
    assert subject == "Your mailbox is 99% full"
    assert "https://mail.example/mailbox/storage" in text
    assert "wait outside" in text


@pytest.mark.usefixtures("people")
async def test_what_each_day_held_is_kept_and_told(db: Connection, system: Connection) -> None:
    await system.execute("UPDATE mailbox SET bytes_used = 1000, quota_bytes = 10000 WHERE address = %s", [ANNA])
    row = await mailboxes.get_mailbox(db, ANNA)
    assert await usage.full_in(db, row) == ""
    await system.execute(
        """INSERT INTO mailbox_size (workspace_id, mailbox_id, day, bytes)
           SELECT 1, %s, current_date - n, 1000 - 20 * n FROM generate_series(1, 95) n""",
        [row["id"]],
    )
    await usage.note_day(system)
    await usage.note_day(system)
    found = await (await system.execute("SELECT count(*) AS n, min(day) FROM mailbox_size")).fetchone()
    assert found is not None
    assert found["n"] == 91
    assert await usage.full_in(db, row) == "about a year"
