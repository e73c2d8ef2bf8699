"""An SMTP client that hands many mails to one server over one connection, everything pipelined.

A mail is MAIL, RCPT and BDAT LAST in a single write: with CHUNKING (RFC 3030) and PIPELINING (RFC 2920) nothing needs
to be waited for, and the next mail may follow before the last one is answered. Only for a server of ours that offers
both; relays and strangers get an ordinary client.
"""

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: its code and its text, enhanced status included, lines joined by a space."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class Unanswered(Exception):
    """The connection broke after the mail was written: the server may have taken it or not. Never resend on this."""


class NotConnected(Exception):
    """There is no session: nothing of this mail was written."""


@dataclass(slots=True)
class _Mail:
    future: asyncio.Future[Reply]
    waits: int = 3  # replies to MAIL, RCPT and BDAT
    refused: Reply | None = None


class Session(asyncio.Protocol):
    """One connection. Use `connect`; then `send` as often as you like, `depth` says how many are unanswered."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._greeting: deque[asyncio.Future[Reply]] = deque([loop.create_future(), loop.create_future()])
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._less: asyncio.Future[None] | None = None  # done when fewer mails are unanswered
        self._mails: deque[_Mail] = deque()
        self._buffer = b""
        self._lines: list[str] = []
        self._goodbye = False
        self._began = loop.time()
        self.client_port = 0
        self.server_process = 0  # where the greeting ends in one, as that of our `out` does

    @classmethod
    async def connect(cls, host: str, port: int, helo: str, timeout: float = 30.0) -> "Session":
        """Open a session; `OSError` if the server is not there, `NotConnected` if it does not want us."""
        loop = asyncio.get_running_loop()
        session = cls()
        try:
            async with asyncio.timeout(timeout):
                greeting, ehlo = session._greeting
                await loop.create_connection(lambda: session, host, port)
                if (reply := await greeting).code != 220:
                    raise NotConnected(str(reply))
                process = reply.text.rpartition(" ")[2]
                session.server_process = int(process) if process.isdigit() else 0
                session._write(f"EHLO {helo}\r\n".encode())
                reply = await ehlo
            offered = reply.text.upper().split()
            if reply.code != 250 or "PIPELINING" not in offered or "CHUNKING" not in offered:
                raise NotConnected(f"no PIPELINING and CHUNKING: {reply}")
        except BaseException:  # also a timeout: nobody else would ever close it
            session.abort()
            raise
        return session

    @property
    def depth(self) -> int:
        """How many mails wait for their answer."""
        return len(self._mails)

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def open(self) -> bool:
        """Whether mails can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, sender: bytes, recipient: bytes, data: bytes) -> asyncio.Future[Reply]:
        """Write one mail; the future gives the first refusal or the reply to the data, or raises `Unanswered`.

        Raises `NotConnected` when nothing was written. `sender` and `recipient` must be valid without quoting.
        """
        if not self.open:
            raise NotConnected
        mail = _Mail(asyncio.get_running_loop().create_future())
        self._mails.append(mail)
        self._write(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n%b" % (sender, recipient, len(data), data))
        return mail.future

    async def room(self) -> None:
        """Wait until the oldest unanswered mail is answered, or the connection is gone; never raises."""
        if self._mails:
            if self._less is None or self._less.done():
                self._less = asyncio.get_running_loop().create_future()
            await self._less

    async def quit(self) -> bool:
        """Say goodbye once everything is answered; never raises. True: the server has ended the session itself."""
        if not self.open:
            return False
        self._write(b"QUIT\r\n")
        try:
            async with asyncio.timeout(5):
                await self.closed
        except TimeoutError:
            self.abort()
            return False
        return self._goodbye

    def abort(self) -> None:
        """Drop the connection; what was not answered is `Unanswered`."""
        if self._transport:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport and our own port, by which the server's half can be recognised."""
        self._transport = cast("asyncio.Transport", transport)  # a TCP connection; uvloop has a class of its own
        self.client_port = transport.get_extra_info("sockname")[1]
        self._socket = transport.get_extra_info("socket")
        self._acknowledge()

    def data_received(self, data: bytes) -> None:
        """Split replies off and give each to whoever waits for it, in order."""
        self._acknowledge()
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r")
            self._lines.append(text[4:])
            if text[3:4] != "-":
                code = int(text[:3]) if text[:3].isdigit() else 500
                reply, self._lines = Reply(code, " ".join(self._lines)), []
                self._answer(reply)

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge at once what comes next, which it does only as long as it is told so each time.

        A server answers a mail in two writes. The second one waits until the first is acknowledged (Nagle), and we,
        with nothing to send, would let it wait for 40 ms.
        """
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _answer(self, reply: Reply) -> None:
        if self._greeting:
            waiting = self._greeting.popleft()
            if not waiting.done():
                waiting.set_result(reply)
            return
        self._goodbye = reply.code == 221 and not self._mails
        if reply.code == 421 or not self._mails:  # the server closes, or says something nobody asked for
            self.abort()
            return
        mail = self._mails[0]
        mail.waits -= 1
        if reply.code >= 300 and mail.refused is None:
            mail.refused = reply
        if not mail.waits:
            self._mails.popleft()
            if not mail.future.done():
                mail.future.set_result(mail.refused or reply)
            self._make_room()

    def _make_room(self) -> None:
        if self._less is not None and not self._less.done():
            self._less.set_result(None)
        self._less = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything unanswered is unknown now."""
        for waiting in self._greeting:
            if not waiting.done():
                waiting.set_exception(NotConnected("connection closed"))
                waiting.exception()  # nobody may be waiting for the second one
        for mail in self._mails:
            if not mail.future.done():
                mail.future.set_exception(Unanswered())
        self._mails.clear()
        self._make_room()
        if not self.closed.done():
            self.closed.set_result(None)
