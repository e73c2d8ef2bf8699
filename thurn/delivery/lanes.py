"""The sender's word to Postfix: the table of transports, rewritten when a lane is suspended or opened again."""

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import structlog

from thurn.db.connect import Connection
from thurn.settings import Settings
from thurn.stack.out_plan import PLAN, Plan, load_plan
from thurn.stack.postfix_out import TRANSPORTS, transports

log = structlog.get_logger()

# Nothing of it is leased, in Postfix, or put off. Not at once: a claim may be under way that does not know yet.
_DRAINED = """
DELETE FROM egress e WHERE e.removed_at < now() - interval '5 seconds'
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.state = 'leased' AND coalesce(d.egress, 1) = e.id)
  AND coalesce((
    SELECT sum(CASE WHEN t.measure = 'handed_over' THEN t.n WHEN t.measure <> 'deferred' THEN -t.n ELSE 0 END)
    FROM campaign c JOIN lane_tally t ON t.campaign_id = c.id
    WHERE c.state IN ('launching', 'sending', 'paused', 'cancelled') AND t.egress_id = e.id), 0) <= 0
RETURNING e.name
"""


async def drained(db: Connection) -> list[str]:
    """Let removed egresses of all nodes go of which nothing is on its way any more; returns their names."""
    gone = [row["name"] async for row in await db.execute(_DRAINED)]
    for name in gone:
        log.info("removed egress is empty and gone", egress=name)
    return gone


class Table:
    """The table of one node. `keeper` sees that it changed and has Postfix read it again, within two seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = settings.state / TRANSPORTS
        self._read = 0
        self._plan = Plan()
        self._written = ""
        self._suspended: frozenset[tuple[str, str]] = frozenset()
        self._instead: dict[str, str] = {}
        self._moved: dict[tuple[str, str], str] = {}

    def usable(self) -> frozenset[str]:
        """The egresses that Postfix has loaded."""
        try:
            changed = (self._settings.state / PLAN).stat().st_mtime_ns
        except FileNotFoundError:
            changed = -1
        if changed != self._read:
            self._plan, self._read = load_plan(self._settings.state), changed
        return frozenset(egress.name for egress in self._plan.egresses)

    def write(
        self,
        suspended: Iterable[tuple[str, str]],
        instead: Mapping[str, str] = MappingProxyType({}),
        moved: Mapping[tuple[str, str], str] = MappingProxyType({}),
    ) -> list[str | None]:
        """Swap the table in one step, if it says something else.

        Returns the providers whose mail in Postfix may go now and could not before; None among them: all.
        """
        suspended = frozenset(suspended)
        text = transports(
            self._settings.port,
            self._plan,
            listen=self._settings.listen,
            simulate=self._settings.simulate,
            suspended=suspended,
            instead=instead,
            receivers=self._settings.receivers,
            people=not self._settings.joined,
            moved=moved,
        )
        if not self._written and self._path.exists():
            self._written = self._path.read_text()
        if text == self._written:
            return []
        fresh = self._path.with_name(".transports.new")
        try:
            with fresh.open("w") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            fresh.replace(self._path)
        except OSError as error:  # a full disk; nothing is claimed for a suspended lane all the same
            log.warning("cannot write the table of lanes, trying again", error=str(error))
            return []
        self._written = text
        open_now = (self._suspended - suspended) | {lane for lane, by in moved.items() if self._moved.get(lane) != by}
        opened: list[str | None] = [*sorted({provider for _, provider in open_now})]
        if instead != self._instead:
            opened = [None]
        self._suspended, self._instead, self._moved = suspended, dict(instead), dict(moved)
        others = dict(instead) | {"-".join(lane): by for lane, by in moved.items()}
        log.info("lanes changed", suspended=sorted(map("-".join, suspended)), instead=others)
        return opened
