"""Where a tracked link leads: what the database holds for it, kept in memory. A token never carries a target."""

import asyncio
from collections import OrderedDict
from urllib.parse import quote, urlsplit

from thurn.db.connect import Pool, in_workspace

CAMPAIGNS = 2000  # whose links are kept

_SAFE = "%/:=&?~#+!$,;'@()*[]|"


def location(url: str) -> bytes | None:
    """A target as the value of a Location header (RFC 9110, 10.2.2); None if it is not a web or mail address."""
    try:
        scheme = urlsplit(url.strip()).scheme.lower()
    except ValueError:
        return None
    if scheme not in ("http", "https", "mailto", "tel"):
        return None
    return quote(url.strip(), safe=_SAFE).encode("ascii")


class Links:
    """Targets by campaign; a campaign's links are set before its first mail is sent and never change."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self._asking = asyncio.Lock()

    def known(self, campaign: int, number: int) -> bytes | None:
        """The target if it is in memory."""
        targets = self._known.get(campaign)
        return None if targets is None else targets.get(number)

    async def find(self, pool: Pool, workspace: int, campaign: int, number: int) -> bytes | None:
        """The target of link `number`; None if the campaign has no such link any more.

        Raises psycopg.Error or psycopg_pool.PoolTimeout when the database is away.
        """
        target = self.known(campaign, number)
        if target is not None:
            return target
        async with self._asking:  # the first click of a campaign asks for all of them
            target = self.known(campaign, number)
            if target is None:
                await self._ask(pool, workspace, campaign)
        return self.known(campaign, number)

    async def _ask(self, pool: Pool, workspace: int, campaign: int) -> None:
        async with in_workspace(pool, workspace) as db:
            rows = await db.execute("SELECT number, url FROM campaign_link WHERE campaign_id = %s", [campaign])
            targets = {row["number"]: location(row["url"]) async for row in rows}
        self._known[campaign] = {number: target for number, target in targets.items() if target is not None}
        self._known.move_to_end(campaign)
        while len(self._known) > CAMPAIGNS:
            self._known.popitem(last=False)
