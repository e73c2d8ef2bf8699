"""The reputation of this server as a whole: for its page, the API and the command."""

from dataclasses import dataclass

from thurn.db.connect import Connection, Row
from thurn.db.fetch import rows
from thurn.reputation.dnsbl import BlockList, lists


@dataclass(frozen=True, slots=True)
class Listing:
    """What one list says about one subject."""

    row: Row
    of: BlockList

    @property
    def open(self) -> bool:
        """Whether it counts as listed: also while its list cannot be asked."""
        return bool(self.row["listed_at"]) and not self.row["cleared_at"]

    @property
    def word(self) -> str:
        """Of the interface's vocabulary."""
        return "Listed" if self.open else {"clear": "Not listed", "unknown": "Unknown"}[self.row["state"]]


async def listings(db: Connection) -> list[Listing]:
    """Everything that was looked at: open listings first, then what cannot be told."""
    found = await rows(db, "SELECT * FROM listing ORDER BY subject, list LIMIT 20000")
    known = [Listing(row, lists()[row["list"]]) for row in found if row["list"] in lists()]
    order = {"Listed": 0, "Unknown": 1, "Not listed": 2}
    return sorted(known, key=lambda each: (order[each.word], not each.of.major, each.row["subject"]))
