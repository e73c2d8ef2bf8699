"""Which keys DNS names for port 25 (DANE, RFC 7672), so that a renewed certificate is not shown before its time."""

import datetime as dt
from collections.abc import Iterable, Mapping

from thurn.db.connect import Connection
from thurn.dns.findings import Check

SETTLE = dt.timedelta(hours=2)  # twice the TTL: what others remember of the record before has run out (RFC 7671, 8.1)


def named(values: Iterable[str]) -> list[str]:
    """The keys in records of the kind we publish: 3 1 1, a hash of the public key."""
    parts = [value.lower().split() for value in values]
    return sorted({"".join(part[3:]) for part in parts if part[:3] == ["3", "1", "1"]})


async def keep(db: Connection, checks: Iterable[Check]) -> None:
    """Write down what a look at DNS found; what could not be told changes nothing. `db` is the machinery's."""
    for check in checks:
        if check.record.kind == "tlsa" and check.level != "unknown":
            keys = named(check.found)
            await db.execute("DELETE FROM tlsa_seen WHERE key <> ALL(%s)", [keys])
            await db.execute("INSERT INTO tlsa_seen (key) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [keys])


def must_wait(
    seen: Mapping[str, dt.datetime],
    *,
    shown: str,
    renewed: str,
    ends: dt.datetime,
    begins: dt.datetime,
    now: dt.datetime,
) -> bool:
    """Whether a renewed certificate has to wait for DNS. `seen`: key -> since when DNS names it; both keys as hashes.

    Only where DNS names the key that is shown: without that, nobody checks, or mail is refused already. And not for
    ever: when an eighth of the life of the old certificate (`begins` to `ends`) is left, everybody else counts more.
    """
    if shown not in seen or shown == renewed:
        return False
    if renewed in seen and now - seen[renewed] >= SETTLE:
        return False
    return ends - now > (ends - begins) / 8
