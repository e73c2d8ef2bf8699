"""How fast, when, and before whom a campaign sends: a speed limit, hours of the week, a priority. At any time."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from thurn.db.connect import Connection, Row
from thurn.problems import Invalid

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Unit = Literal["minute", "hour"]
Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """When mail may leave: days (1 Monday to 7 Sunday) and hours in a time zone of the IANA database.

    One that ends before it begins goes on after midnight, as part of the day it began; equal ends mean 24 hours.
    """

    days: frozenset[int]
    opens: time
    closes: time
    zone: str

    def is_open(self, at: datetime) -> bool:
        """Whether mail may leave at a moment. The sender asks PostgreSQL: `in_send_window` in 0016_control.sql."""
        here = at.astimezone(ZoneInfo(self.zone))
        now, today = here.time(), here.isoweekday()
        if self.opens < self.closes:
            return today in self.days and self.opens <= now < self.closes
        yesterday = (today - 2) % 7 + 1
        return (today in self.days and now >= self.opens) or (yesterday in self.days and now < self.closes)

    def next_opening(self, at: datetime) -> datetime:
        """The next moment from `at` on at which mail may leave, in the window's own time zone."""
        here = at.astimezone(ZoneInfo(self.zone))
        if self.is_open(at):
            return here
        for days in range(9):
            day = (here + timedelta(days=days)).date()
            moment = datetime.combine(day, self.opens, ZoneInfo(self.zone))
            if day.isoweekday() in self.days and moment >= here:
                return moment
        raise AssertionError("a week has no such day")

    def in_words(self) -> str:
        """Such as "Monday to Friday, 09:00 to 17:00 (Europe/Berlin)"."""
        hours = "all day" if self.opens == self.closes else f"{self.opens:%H:%M} to {self.closes:%H:%M}"
        return f"{_days(sorted(self.days))}, {hours} ({self.zone})"


def _days(days: list[int]) -> str:
    if len(days) == 7:
        return "every day"
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{DAYS[days[0] - 1]} to {DAYS[days[-1] - 1]}"
    names = [DAYS[day - 1] for day in days]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True, slots=True)
class Pace:
    """All of it; what is None does not limit."""

    speed_limit: int | None = None
    speed_unit: Unit = "minute"
    priority: Priority = "normal"
    window: Window | None = None

    def waits_until(self, at: datetime) -> str:
        """When mail may leave again, such as "Monday 09:00 (Europe/Berlin)"; empty: now."""
        if self.window is None or self.window.is_open(at):
            return ""
        opens = self.window.next_opening(at)
        return f"{DAYS[opens.isoweekday() - 1]} {opens:%H:%M} ({self.window.zone})"

    def in_words(self) -> str:
        """A sentence for the campaign's pages; empty when nothing is limited."""
        parts = []
        if self.speed_limit is not None:
            parts.append(
                f"at most {self.speed_limit:,} mails {'a minute' if self.speed_unit == 'minute' else 'an hour'}"
            )
        if self.window is not None:
            parts.append(self.window.in_words())
        if self.priority != "normal":
            parts.append(f"{self.priority} priority")
        return "; ".join(parts)


def window(days: list[int], opens: time, closes: time, zone: str) -> Window:
    """A window of what somebody typed; raises `Invalid`."""
    if not days or not set(days) <= set(range(1, 8)):
        raise Invalid("days", "Choose at least one day.")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid("zone", f"There is no time zone “{zone[:60]}”. It is called like Europe/Berlin.") from error
    return Window(frozenset(days), opens.replace(tzinfo=None), closes.replace(tzinfo=None), zone)


_SHORT = {day[:3].lower(): number for number, day in enumerate(DAYS, 1)}


def window_of(days: str, opens: str, closes: str, zone: str) -> Window:
    """The same of words: `mon-fri` or `sat,sun`, `09:00`; raises `Invalid`."""
    chosen: list[int] = []
    for part in days.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        begin, end = _SHORT.get(first[:3]), _SHORT.get((last if dash else first)[:3])
        if begin is None or end is None:
            raise Invalid("days", "Give days as mon-fri or sat,sun.")
        chosen += [(begin + i - 1) % 7 + 1 for i in range((end - begin) % 7 + 1)]
    return window(chosen, hour_of(opens), hour_of(closes), zone)


def hour_of(text: str) -> time:
    """`9:30` or `09:30`; `24:00` is midnight. Raises `Invalid`."""
    hours, _, minutes = text.strip().partition(":")
    if not (hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit() and len(minutes) == 2):
        raise Invalid("hour", "Give hours as 09:00.")
    if len(hours) > 2 or int(hours) > 24 or int(minutes) > 59 or (int(hours) == 24 and int(minutes)):
        raise Invalid("hour", f"There is no {hours[:4]}:{minutes} on a clock.")
    return time(int(hours) % 24, int(minutes))


class Speed(TypedDict):
    """The two members of a pace that say how fast."""

    speed_limit: int | None
    speed_unit: Unit


def speed_of(text: str) -> Speed:
    """`500/minute`, `2000/hour` or `none`; raises `Invalid`."""
    if text.lower() == "none":
        return {"speed_limit": None, "speed_unit": "minute"}
    number, _, unit = text.lower().replace(",", "").replace(" ", "").partition("/")
    if unit not in ("minute", "hour"):
        raise Invalid("speed_limit", "Give a speed as 500/minute or 2000/hour, or none.")
    return {"speed_limit": limit_of(number), "speed_unit": "minute" if unit == "minute" else "hour"}


def limit_of(text: str) -> int:
    """How many mails; raises `Invalid`."""
    if not text.isascii() or not text.isdigit() or len(text) > 8 or not 1 <= int(text) <= MOST:
        raise Invalid("speed_limit", f"Give a whole number from 1 to {MOST:,}.")
    return int(text)


def priority_of(text: str) -> Priority:
    """One of the three; raises `Invalid`."""
    for known in PRIORITIES:
        if text == known:
            return known
    raise Invalid("priority", "A priority is high, normal or low.")


def of_row(row: Row) -> Pace:
    """The pace of a campaign's row."""
    found = None
    if row["window_days"] is not None:
        found = Window(frozenset(row["window_days"]), row["window_from"], row["window_until"], row["window_zone"])
    return Pace(row["speed_limit"], row["speed_unit"], row["priority"], found)


async def get(db: Connection, campaign: int) -> Pace:
    """The pace of a campaign; raises LookupError."""
    row = await (await db.execute("SELECT * FROM campaign WHERE id = %s", [campaign])).fetchone()
    if row is None:
        raise LookupError(campaign)
    return of_row(row)


async def put(db: Connection, campaign: int, pace: Pace) -> None:
    """Set the pace of a campaign in any state; the sender obeys within a second. Raises LookupError and `Invalid`."""
    if pace.window is not None:
        known = await db.execute("SELECT 1 FROM pg_timezone_names WHERE name = %s", [pace.window.zone])
        if await known.fetchone() is None:
            raise Invalid(
                "zone", f"The database does not know the time zone {pace.window.zone}. Try one like Europe/Berlin."
            )
    w = pace.window
    changed = await db.execute(
        """UPDATE campaign SET speed_limit = %s, speed_unit = %s, priority = %s,
                  window_days = %s, window_from = %s, window_until = %s, window_zone = %s WHERE id = %s""",
        [pace.speed_limit, pace.speed_unit, pace.priority, sorted(w.days) if w else None, w.opens if w else None,
         w.closes if w else None, w.zone if w else None, campaign],
    )  # fmt: skip
    if not changed.rowcount:
        raise LookupError(campaign)
