"""What really happened, counted from what the simulated receivers hold; Thurn is not asked.

Numbers are of people, not of requests: somebody who opens twice is one human opener.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from thurn.simulate.dkimcheck import count_dkim
from thurn.simulate.store import read

_PUT_OFF = ("greylist", "rate", "tempfail")  # kinds of refusal that asked to come again
_SAMPLE = 20  # addresses named where something does not add up


@dataclass(frozen=True, slots=True)
class Truth:
    """The count for one campaign, or for everything."""

    accepted: int  # messages
    recipients: int  # people who hold at least one
    duplicates: int  # copies beyond the first of one campaign (else: of one Message-ID) for one recipient
    misaddressed: int  # messages whose To field does not name who got them
    refused: dict[str, int]  # people refused and not accepted later, by kind: unknown, full, policy
    deferred: int  # people put off at first
    deferred_then_delivered: int  # of those, the ones who hold the mail now
    opens_human: int
    opens_machine: int
    clicks_human: int
    clicks_machine: int
    unsubscribes: int
    complaints: int  # reports that our `mx` has taken
    late_bounces: dict[str, int]  # bounces that our `mx` has taken, by reason: unknown, full
    failed_actions: int  # requests and mails that were refused or found nobody
    dkim_checked: int
    dkim_pass: int
    missing: int | None  # expected, but neither held nor refused for good
    unexpected: int | None  # hold something and were not expected
    samples: dict[str, list[str]] = field(default_factory=dict)


_PEOPLE = """
SELECT
  count(DISTINCT recipient) FILTER (WHERE kind = 'open' AND actor = 'human') AS opens_human,
  count(DISTINCT recipient) FILTER (WHERE kind = 'open' AND actor = 'machine') AS opens_machine,
  count(DISTINCT recipient) FILTER (WHERE kind = 'click' AND actor = 'human') AS clicks_human,
  count(DISTINCT recipient) FILTER (WHERE kind = 'click' AND actor = 'machine') AS clicks_machine,
  count(DISTINCT recipient) FILTER (WHERE kind = 'unsubscribe') AS unsubscribes,
  count(DISTINCT recipient) FILTER (WHERE kind = 'complaint') AS complaints
FROM action WHERE ok AND (:campaign IS NULL OR campaign = :campaign)
"""
_LATE = """
SELECT target, count(DISTINCT recipient) FROM action
WHERE kind = 'bounce' AND ok AND (:campaign IS NULL OR campaign = :campaign) GROUP BY target
"""
_FAILED = """
SELECT kind || ' for ' || recipient || ': ' || status FROM action
WHERE NOT ok AND (:campaign IS NULL OR campaign = :campaign)
"""
_DUPLICATES = """
SELECT recipient, count(*) - 1 AS extra FROM message
WHERE :campaign IS NULL OR campaign = :campaign
GROUP BY recipient, campaign, CASE WHEN campaign = '' THEN message_id ELSE '' END HAVING count(*) > 1
"""
_MESSAGES = "SELECT id, recipient, addressed FROM message WHERE :campaign IS NULL OR campaign = :campaign"
_REFUSALS = "SELECT DISTINCT recipient, kind FROM refusal WHERE :campaign IS NULL OR campaign = :campaign"


def _refused(rows: Iterable[sqlite3.Row], held: set[str]) -> tuple[dict[str, int], set[str], set[str]]:
    """(people refused for good by kind, all of them, people put off)."""
    by_kind: dict[str, int] = {}
    for_good: set[str] = set()
    put_off: set[str] = set()
    for recipient, kind in rows:
        if kind in _PUT_OFF:
            put_off.add(recipient)
        elif recipient not in held and recipient not in for_good:
            for_good.add(recipient)
            by_kind[kind] = by_kind.get(kind, 0) + 1
    return by_kind, for_good, put_off


def count_truth(
    path: Path,
    *,
    dns_port: int,
    campaign: str | None = None,
    expected: Iterable[str] | None = None,
    dkim: bool = True,
    sample: int | None = None,
) -> Truth:
    """Count the store at `path`. `expected`: all who should have got it. `sample`: check only so many signatures."""
    db = read(path)
    db.execute("BEGIN")  # one moment for all queries
    scope = {"campaign": campaign}
    messages = db.execute(_MESSAGES, scope).fetchall()
    held = {row["recipient"] for row in messages}
    refused, for_good, put_off = _refused(db.execute(_REFUSALS, scope), held)
    doubled = db.execute(_DUPLICATES, scope).fetchall()
    people = db.execute(_PEOPLE, scope).fetchone()
    late = {row[0]: row[1] for row in db.execute(_LATE, scope)}
    failed = [row[0] for row in db.execute(_FAILED, scope)]
    db.execute("COMMIT")
    db.close()
    ids = [row["id"] for row in messages]
    signatures = count_dkim(path, ids if dkim else [], dns_port, sample)
    wanted = None if expected is None else {address.lower() for address in expected}
    missing = None if wanted is None else wanted - held - for_good
    unexpected = None if wanted is None else held - wanted
    return Truth(
        accepted=len(messages),
        recipients=len(held),
        duplicates=sum(row["extra"] for row in doubled),
        misaddressed=sum(not row["addressed"] for row in messages),
        refused=refused,
        deferred=len(put_off),
        deferred_then_delivered=len(put_off & held),
        **dict(people),
        late_bounces=late,
        failed_actions=len(failed),
        dkim_checked=signatures.checked,
        dkim_pass=signatures.passed,
        missing=None if missing is None else len(missing),
        unexpected=None if unexpected is None else len(unexpected),
        samples={
            "duplicates": [row["recipient"] for row in doubled[:_SAMPLE]],
            "missing": sorted(missing or ())[:_SAMPLE],
            "unexpected": sorted(unexpected or ())[:_SAMPLE],
            "failed_actions": failed[:_SAMPLE],
            "dkim": [f"message {number}: {reason}" for number, reason in signatures.failures],
        },
    )
