"""Who read, apart from what machines did."""

from dataclasses import dataclass

from thurn.db.connect import Connection
from thurn.db.fetch import one


@dataclass(frozen=True, slots=True)
class MachineOnly:
    """Recipients of whom nothing but a machine was seen."""

    opened: int
    clicked: int


async def machine_only(db: Connection, campaign: int) -> MachineOnly:
    """Recipients whose mail was loaded, or whose links were followed, by machines only."""
    row = await one(
        db,
        """SELECT count(*) FILTER (WHERE opened_human IS NULL AND opened_machine IS NOT NULL) AS opened,
                  count(*) FILTER (WHERE clicked_human IS NULL AND clicked_machine IS NOT NULL) AS clicked
           FROM engagement WHERE campaign_id = %s""",
        [campaign],
    )
    return MachineOnly(row["opened"], row["clicked"])
