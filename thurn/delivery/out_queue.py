"""What the local `out` holds: connections that may still bring mail in, and the queue itself. Read only."""

import asyncio
import re
from pathlib import Path

from thurn.mail.tokens import InvalidToken, VerpTokens

_SENDER = re.compile(rb"\0sender\0([^\0]*)\0")
_OPEN = {"01", "08"}  # ESTABLISHED; CLOSE_WAIT: the client is gone, the server has not read everything


def client_ports(port: int) -> set[int]:
    """Ports of the clients whose connections to `port` on this host the server still has open.

    A killed client's last bytes lie in the socket until the server has read them; only then it closes.
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for row in rows:
            _, local, remote, state, *_ = row.split()
            if state in _OPEN and int(local.rpartition(":")[2], 16) == port:
                found.add(int(remote.rpartition(":")[2], 16))
    return found


async def queued_deliveries(queue: Path, tokens: VerpTokens) -> set[tuple[int, int]]:
    """(campaign, delivery) of every campaign mail in the queue, asked of Postfix's showq service over its socket.

    `OSError` if Postfix is not running or the socket may not be opened.
    """
    reader, writer = await asyncio.open_unix_connection(queue / "public" / "showq")
    try:
        listing = await reader.read(-1)
    finally:
        writer.close()
    found = set()
    for sender in _SENDER.findall(listing):
        try:
            found.add(tokens.read(sender.decode("utf-8", "replace")))
        except InvalidToken:
            continue
    return found
