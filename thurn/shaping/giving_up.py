"""Mails that a `give-up` rule ends: found where the log is read, taken out of the queue by `keeper`.

`postsuper -e` has Postfix itself end a mail, without another attempt, and log it as expired: one that is being
delivered at that moment is delivered instead, and the log says which of both it was.
"""

import time
from collections.abc import Iterable

from thurn.db.connect import Connection
from thurn.shaping.answers import Heard
from thurn.shaping.rules import Rule
from thurn.shaping.store import active_rules

_FRESH = 10.0  # seconds that rules are kept in memory

Found = tuple[str, int, int, str]  # queue id, campaign, delivery, rule


class GiveUps:
    """The rules of this kind, kept for a few seconds."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._read = -_FRESH

    async def refresh(self, db: Connection) -> None:
        """Read the rules again when they are old."""
        if time.monotonic() - self._read > _FRESH:
            self._rules = [rule for rule in await active_rules(db) if rule.action == "give-up"]
            self._read = time.monotonic()

    def look(self, deferred: Iterable[tuple[str, Heard, tuple[int, int]]]) -> list[Found]:
        """Which of these mails (queue id, why it was put off, campaign and delivery) are to be given up."""
        found = []
        for queue_id, heard, (campaign, delivery) in deferred:
            if rule := self._rule(heard):
                found.append((queue_id, campaign, delivery, rule.name))
        return found

    def _rule(self, heard: Heard) -> Rule | None:
        return next(
            (
                rule
                for rule in self._rules
                if rule.concerns(heard.provider) and rule.fits(heard.outcome, heard.category, heard.wording)
            ),
            None,
        )


async def wish(db: Connection, node: str, found: list[Found]) -> None:
    """Write down what is to be given up, in the transaction of `db`."""
    for queue_id, campaign, delivery, rule in found:
        await db.execute(
            """INSERT INTO give_up (node, queue_id, campaign_id, delivery_id, rule) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (node, queue_id) DO NOTHING""",
            [node, queue_id, campaign, delivery, rule],
        )
