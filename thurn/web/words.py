"""Numbers, dates and durations in words for people. Pure functions; render.py makes filters of them."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from markupsafe import Markup

from thurn.delivery.providers import book

UNKNOWN = "–"

# Providers, as people call them.
PROVIDERS = {name: provider.title for name, provider in book().items()}


def number(n: float | None) -> str:
    """41,386."""
    return UNKNOWN if n is None else f"{n:,.0f}"


def rate(n: float | None, of: float | None) -> str:
    """31.9%: one decimal, two below 1 %, three below 0.1 %. A part of nothing cannot be told."""
    if n is None or not of:
        return UNKNOWN
    percent = 100 * n / of
    if percent in (0, 100):
        return f"{percent:.0f}%"
    digits = 1 if percent >= 0.95 else 2 if percent >= 0.095 else 3
    text = f"{percent:.{digits}f}%"
    if percent < 0.0005:
        return "under 0.001%"
    return "99.9%" if text == "100.0%" else text  # nearly all is not all


def count(n: int, one: str, many: str) -> str:
    """“1 person”, “41,386 people”."""
    return f"{number(n)} {one if n == 1 else many}"


def joined(words: Iterable[str]) -> str:
    """“Newsletter, Regulars and Friends”."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def duration(seconds: float | None) -> str:
    """14 s, 6 min, 2 h 50 min, 3 days."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"


def size(octets: float | None) -> str:
    """0.8 GB, 12 KB; powers of 1024."""
    if octets is None:
        return UNKNOWN
    value, units = float(octets), ["bytes", "KB", "MB", "GB", "TB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:,.0f} {units[0]}" if units[0] == "bytes" or value >= 100 else f"{value:.1f} {units[0]}"


def clock(at: datetime | None) -> str:
    """10:42, in the server's time zone."""
    return UNKNOWN if at is None else at.astimezone().strftime("%H:%M")


def day(at: datetime, now: datetime | None = None) -> str:
    """today, yesterday, Fri 20 Nov, or 15 Oct 2026 when it is not of this year."""
    at = at.astimezone()
    today = (now or datetime.now().astimezone()).astimezone().date()
    if at.date() == today:
        return "today"
    if at.date() == today - timedelta(days=1):
        return "yesterday"
    if at.year == today.year:
        return f"{at:%a} {at.day} {at:%b}"
    return f"{at.day} {at:%b} {at.year}"


def when(at: datetime | None, *, capital: bool = False, now: datetime | None = None) -> Markup | str:
    """“today 10:42”, “Fri 20 Nov, 10:42” as a <time> element; `capital` at the start of a sentence or cell."""
    if at is None:
        return UNKNOWN
    date = day(at, now)
    text = f"{date}{' ' if date == 'today' else ', '}{clock(at)}"
    if capital:
        text = text[0].upper() + text[1:]
    return Markup('<time datetime="{}">{}</time>').format(at.astimezone().isoformat(timespec="seconds"), text)


def initials(name: str) -> str:
    """AL for Anna Lindner or anna.lindner@…: one or two letters."""
    words = name.partition("@")[0].replace(".", " ").split()
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"
