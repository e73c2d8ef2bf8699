"""How much guessing is too much. Everything here is in docs/operate/abuse.md as a table."""

from datetime import timedelta

REMEMBERED = timedelta(minutes=30)  # failures older than this no longer count
FREE_BY_LOGIN = 5  # different failures before strangers have to wait to sign in as this login
FREE_BY_CLIENT = 10  # the same for a client, whatever the logins
BAN_CLIENT = 20  # different failures of a client within REMEMBERED
LONGEST_WAIT = 60  # seconds between two tries; short, so that a stranger cannot keep the owner out for long
LONGEST_TARPIT = 15  # seconds a mail program is kept waiting; a longer wait is refused instead
BANS = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))
FORGIVEN = timedelta(days=7)  # after a ban: the next one is as short as the first
KNOWN = timedelta(days=60)  # a network from where somebody signed in stays known
SHOWN = timedelta(days=1)  # failures are listed for a day
SIGN_INS_KEPT = timedelta(days=90)  # what a mailbox's owner sees
UNKNOWN_RECIPIENTS = 25  # of one client within REMEMBERED, each refused: it collects addresses


def wait(failures: int, free: int, ago: float | None) -> int:
    """Seconds until the next try: doubles with each failure beyond the free ones. `ago`: seconds since the last."""
    beyond = failures - free
    if beyond < 0 or ago is None:
        return 0
    return max(0, round(min(LONGEST_WAIT, 2.0 ** min(beyond, 10)) - ago + 0.49))


def duration(seconds: float) -> str:
    """How long somebody has to wait, as a person would say it; never too short."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = -(-int(seconds) // 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{-(-minutes // 60)} h"
