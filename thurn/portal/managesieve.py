"""A client for ManageSieve (RFC 5804), as much of it as the portal needs: put a script, take it away, list them.

It speaks to Dovecot's inner door on loopback only, so without TLS.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE = 10.0  # seconds for one command
_MOST = 1024 * 1024  # octets of a literal that are read
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n\Z")


class Unreachable(Exception):
    """The mail server did not answer, or did not understand."""


class Refused(Exception):
    """NO: the text says why."""


class Client:
    """One connection, signed in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def put(self, name: str, script: str) -> None:
        """Store a script under a name; `Refused` if it does not compile."""
        await self.command(b"PUTSCRIPT %s %s" % (_literal(name), _literal(script)))

    async def delete(self, name: str) -> None:
        """Remove a script; one that is not there is no error."""
        try:
            await self.command(b"DELETESCRIPT %s" % _literal(name))
        except Refused:
            if name in await self.names():
                raise

    async def names(self) -> dict[str, bool]:
        """Name -> whether it is the active one."""
        found = {}
        for line in await self.command(b"LISTSCRIPTS"):
            quoted = re.match(rb'"((?:[^"\\]|\\.)*)"(.*)', line, re.DOTALL)
            if quoted:
                name = re.sub(rb"\\(.)", rb"\1", quoted[1]).decode("utf-8", "replace")
                found[name] = b"ACTIVE" in quoted[2].upper()
        return found

    async def get(self, name: str) -> str:
        """A script's text."""
        answer = b"\n".join(await self.command(b"GETSCRIPT %s" % _literal(name)))
        return answer.decode("utf-8", "replace")

    async def authenticate(self, address: str, secret: str) -> None:
        """SASL PLAIN."""
        token = base64.b64encode(f"\0{address}\0{secret}".encode())
        await self.command(b'AUTHENTICATE "PLAIN" "%s"' % token)

    async def command(self, line: bytes) -> list[bytes]:
        """Send a command; what is answered before OK. A literal stands for its line. `Refused` for NO."""
        self._writer.write(line + b"\r\n")
        await self._writer.drain()
        return await self.answer()

    async def answer(self) -> list[bytes]:
        """Read until OK, NO or BYE."""
        found: list[bytes] = []
        while True:
            line = await self._line()
            word = line[:3].rstrip().upper()
            if word == b"OK":
                return found
            if word in (b"NO", b"BYE"):
                raise Refused(line.decode("utf-8", "replace").strip())
            found.append(line)

    async def _line(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readuntil(b"\r\n")
            literal = _LITERAL.search(line)
            if literal is None:
                return line[:-2]
            size = int(literal[1])
            if size > _MOST:
                raise Unreachable("The mail server sends too much.")
            text = await self._reader.readexactly(size)
            rest = await self._line()
            return line[: literal.start()] + text + rest


def _literal(text: str) -> bytes:
    data = text.encode()
    return b"{%d+}\r\n%s" % (len(data), data)


@asynccontextmanager
async def connected(port: int, address: str, secret: str) -> AsyncIterator[Client]:
    """A connection, signed in. `Unreachable` when the server does not answer, also within the block."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE)
        try:
            client = Client(reader, writer)
            await client.answer()  # the greeting
            try:
                await client.authenticate(address, secret)
            except Refused as refused:
                raise Unreachable(f"The mail server does not let us in: {refused}") from refused
            yield client
            await client.command(b"LOGOUT")
        finally:
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Unreachable(f"The mail server did not answer: {error}") from error
