"""What Postfix asks about a client: whether it is banned, and whether it collects addresses by trying recipients.

On the submission ports a banned client is refused as it connects. On port 25 a ban for failed sign-ins changes nothing:
behind the same address may be a mail server. Who tries one unknown recipient after the other is put off for a while.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from thurn.db.connect import Pool
from thurn.guard import bans, limits
from thurn.guard.clients import client_of, is_ours
from thurn.settings import Settings

# Set by thurn/stack/postfix_mx.py: the same question is asked as a client connects to send, before Postfix looks for a
# recipient, and after it has found it. One asked for and not found is unknown.
DOOR, ASKED, KNOWN = "door", "asked", "known"

_BANNED = "REJECT 5.7.1 Too many failed sign-ins from your network, please try again later"
_PUT_OFF = "DEFER 4.7.1 Too many unknown recipients from your network, please try again later"
_CLIENTS = 10_000  # remembered at once


@dataclass
class Unknown:
    """Recipients that were asked for and not found, by client; in memory, for they cost nothing to lose."""

    clients: OrderedDict[str, dict[str, float]] = field(default_factory=OrderedDict)

    def asked(self, client: str, recipient: str, now: float) -> int:
        """One more; returns how many different ones of this client Postfix has not found lately."""
        tried = self.clients.setdefault(client, {})
        self.clients.move_to_end(client)
        tried[recipient[:320]] = now
        if len(tried) >= limits.UNKNOWN_RECIPIENTS:
            oldest = now - limits.REMEMBERED.total_seconds()
            tried = self.clients[client] = {name: at for name, at in tried.items() if at > oldest}
        if len(self.clients) > _CLIENTS:
            self.clients.popitem(last=False)
        return len(tried)

    def known(self, client: str, recipient: str) -> None:
        """Postfix has found it."""
        tried = self.clients.get(client)
        if tried is not None:
            tried.pop(recipient[:320], None)
            if not tried:
                del self.clients[client]


_unknown = Unknown()


async def check(pool: Pool, settings: Settings, attributes: Mapping[str, str]) -> str:
    """The guard's own check (thurn/guard/policy.py)."""
    context, ip = attributes.get("policy_context", ""), attributes.get("client_address", "")
    if context not in (DOOR, ASKED, KNOWN) or is_ours(ip):
        return "DUNNO"
    if context == DOOR:
        async with pool.connection() as db:
            return _BANNED if await bans.of_client(db, ip) else "DUNNO"
    client, recipient = client_of(ip), attributes.get("recipient", "").lower()
    if attributes.get("sasl_username"):
        return "DUNNO"
    if context == KNOWN:
        _unknown.known(client, recipient)
        return "DUNNO"
    tried = _unknown.asked(client, recipient, time.monotonic())
    async with pool.connection() as db:
        if tried >= limits.UNKNOWN_RECIPIENTS:
            detail = f"{tried} recipients that do not exist, the last {recipient[:100]}"
            await bans.ban(db, ip, cause="harvesting", detail="".join(filter(str.isprintable, detail)))
            _unknown.clients.pop(client, None)
        banned = await bans.of_client(db, ip)
    return _PUT_OFF if banned and banned["cause"] != "sign-ins" else "DUNNO"
