"""What providers answered, counted: from the lines of `out`'s log to rows of `provider_answer`.

Only what a delivery agent heard counts: `<egress>-<provider>/smtp`. What Postfix says itself (its own back-off, our
suspension, a queue that is full) is logged by other programs and is no evidence, so that a pause never feeds itself.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from thurn.db.connect import Connection
from thurn.feedback.classify import classify, normalise
from thurn.feedback.postfix_log import Line

BUCKET = 5  # seconds of answers that are counted in one row
WORDING = 600  # characters of a reply that are looked at

_AGENT = re.compile(rb"/([a-z][a-z0-9]{0,7})-([a-z]{1,12})/smtp\[\d+\]: ")
_DOMAIN = re.compile(rb"to=<[^>]*@([^@>]+)>")
OUTCOMES = {"sent": "delivered", "deferred": "deferred", "bounced": "bounced"}


@dataclass(frozen=True, slots=True, order=True)
class Heard:
    """One kind of answer within one bucket; sorts, so that two readers write in the same order."""

    at: datetime  # start of the bucket
    egress: str
    provider: str
    domain: str
    outcome: str
    category: str
    wording: str


class Ears:
    """Answers of one stretch of the log, to be stored in the transaction that keeps how far it was read."""

    def __init__(self) -> None:
        self._counts: Counter[Heard] = Counter()
        self._replies: dict[Heard, str] = {}

    def take(self, line: Line, raw: bytes, at: datetime) -> Heard | None:
        """One line; what it tells of a provider, or None."""
        heard = heard_in(line, raw, at)
        if heard is not None:
            self._counts[heard] += 1
            self._replies.setdefault(heard, line.reply if heard.outcome != "delivered" else "")
        return heard

    async def store(self, db: Connection) -> None:
        """Add what was heard, in the transaction of `db`."""
        if self._counts:
            await add(db, self._counts, self._replies)


def heard_in(line: Line, raw: bytes, at: datetime) -> Heard | None:
    """What a line of the log tells of a provider, or None."""
    outcome = OUTCOMES.get(line.what)
    agent = _AGENT.search(raw[:200])
    if outcome is None or agent is None:
        return None
    egress, provider = agent[1].decode(), agent[2].decode()
    if provider in ("local", "relay"):  # our own server; a relay answers for itself (thurn/relays)
        return None
    bucket = at.replace(second=at.second - at.second % BUCKET, microsecond=0)
    if outcome == "delivered":
        return Heard(bucket, egress, provider, "", outcome, "", "")
    verdict = classify(line.reply)
    domain = _DOMAIN.search(raw) if provider == "other" and verdict.fault in ("sender", "content") else None
    name = domain[1].decode("ascii", "replace").lower()[:255] if domain else ""
    wording = clean(normalise(line.reply)[:WORDING])
    return Heard(bucket, egress, provider, name, outcome, verdict.category, wording)


def clean(text: str) -> str:
    """What a stranger wrote, as PostgreSQL takes it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


_ADD = """
INSERT INTO provider_answer (at, egress, provider, domain, outcome, category, fingerprint, wording, reply, n)
SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[],
                     %s::text[], %s::text[], %s::int[])
ON CONFLICT (at, egress, provider, domain, outcome, category, fingerprint)
DO UPDATE SET n = provider_answer.n + excluded.n
"""


async def add(db: Connection, counts: Mapping[Heard, int], replies: Mapping[Heard, str]) -> None:
    """Add counts to the table."""
    rows = [
        (
            heard.at,
            heard.egress,
            heard.provider,
            heard.domain,
            heard.outcome,
            heard.category,
            blake2b(heard.wording.encode(), digest_size=8).digest(),
            heard.wording,
            clean(replies.get(heard, "")[:2000]),
            n,
        )
        for heard, n in sorted(counts.items())
    ]
    await db.execute(_ADD, [*map(list, zip(*rows, strict=True))])
