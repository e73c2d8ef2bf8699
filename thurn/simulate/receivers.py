"""The simulated providers' SMTP server (RFC 5321): one server, every domain, loopback only.

Replies are gathered per turn of the event loop and sent after the store's commit: whatever a client reads as accepted
or refused has been written down. A protocol class of its own because it must take more than the sender can give.
"""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from typing import cast

import structlog

from thurn.simulate.behaviour import Behaviour, behaviour
from thurn.simulate.moods import Moods, Refusal
from thurn.simulate.replies import refusal
from thurn.simulate.store import Store

log = structlog.get_logger()

MAX_SIZE = 30 * 1024 * 1024
_MAX_LINE = 4096  # octets of a command; RFC 5321 asks for 512, extensions for more
_MAX_RECIPIENTS = 1000
_LINGER = 10.0  # seconds for a client that says more than we take to read why
_END = b"\r\n.\r\n"
_MAIL = re.compile(rb"MAIL FROM:\s*<([^>]*)>(.*)", re.IGNORECASE | re.DOTALL)
_RCPT = re.compile(rb"RCPT TO:\s*<([^>]+)>", re.IGNORECASE)
_SIZE = re.compile(rb"\bSIZE=(\d{1,20})\b", re.IGNORECASE)
_GREETING = b"220 mx.simulated.example ESMTP simulated internet\r\n"
_EHLO = (
    b"250-mx.simulated.example\r\n250-PIPELINING\r\n250-SIZE %d\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
    b"250 ENHANCEDSTATUSCODES\r\n" % MAX_SIZE
)
# Google and Microsoft judge the content: their policy refusals answer the end of the data, not the recipient.
_JUDGES_CONTENT = ("google", "microsoft", "office")


class Receivers:
    """Makes a session per connection; commits for all of them at once."""

    def __init__(self, store: Store, seed: int, planned: Callable[[int, float], None]) -> None:
        self.store = store
        self.seed = seed
        self.planned = planned  # called with (step id, due time) for what comes of a message
        self.moods = Moods()
        self.sessions: set[Session] = set()
        self._waiting: list[Session] = []

    def session(self) -> "Session":
        """A protocol for a new connection."""
        return Session(self)

    def answer_after_commit(self, session: "Session") -> None:
        """Send the session's replies at the end of this turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._commit_and_answer)
        self._waiting.append(session)

    def _commit_and_answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            self.store.commit()
        except Exception:
            # Not kept, so not answered: the client sees a lost connection and tries again.
            log.exception("could not keep what was received")
            self.store.rollback()
            for session in waiting:
                session.abort()
            return
        for session in waiting:
            session.send()

    def take(self, sender: str, recipients: list[str], data: bytes, peer: str, helo: str) -> None:
        """Write an accepted message, and what comes of it, for each of its recipients."""
        for recipient in recipients:
            message = self.store.accept(sender, recipient, data, peer, helo)
            for step in behaviour(recipient, self.seed).steps:
                self.planned(*self.store.plan(message, step))


class Session(asyncio.Protocol):
    """One SMTP connection."""

    def __init__(self, server: Receivers) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._replies: list[bytes] = []
        self._closing = False
        self._unread = False  # more of what we do not take is on its way
        self._in_data = False
        self._searched = 0  # up to here the buffer holds no end of data
        self._too_large = False
        self._peer = self._helo = ""
        self._start_over()

    def _start_over(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._judged: Behaviour | None = None  # the one recipient whose refusal waits for the end of data

    # ---- connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        self._peer = (transport.get_extra_info("peername") or [""])[0]
        self._server.sessions.add(self)
        self._transport.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """A mail cut off in the middle was never accepted."""
        self._server.sessions.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take as many commands as there are (RFC 2920); answer them together."""
        if self._closing:
            return
        self._buffer += data
        while self._buffer and not self._closing:
            if not (self._take_data() if self._in_data else self._take_line()):
                break
        if self._replies:
            self._server.answer_after_commit(self)

    def send(self) -> None:
        """Send the replies; the store has committed."""
        replies, self._replies = self._replies, []
        if self._transport is not None:
            self._transport.write(b"".join(replies))
            if self._unread:  # to close now would reset the connection, and our answer might be lost with it
                self._transport.write_eof()
                asyncio.get_running_loop().call_later(_LINGER, self.abort)
            elif self._closing:
                self._transport.close()

    def abort(self) -> None:
        """Drop the connection without an answer."""
        if self._transport is not None:
            self._transport.abort()

    # ---- commands

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0 and len(self._buffer) <= _MAX_LINE:
            return False
        if end < 0 or end > _MAX_LINE:
            self._replies.append(b"500 5.5.2 Line too long\r\n")
            self._closing = self._unread = True
            return False
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        self._replies.append(self._command(line))
        return True

    def _command(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"MAIL":
                return self._mail(line)
            case b"RCPT":
                return self._rcpt(line)
            case b"DATA":
                return self._data()
            case b"EHLO":
                self._greeted(line)
                return _EHLO
            case b"HELO":
                self._greeted(line)
                return b"250 mx.simulated.example\r\n"
            case b"RSET":
                self._start_over()
                return b"250 2.0.0 Ok\r\n"
            case b"NOOP":
                return b"250 2.0.0 Ok\r\n"
            case b"VRFY":
                return b"252 2.0.0 Cannot say\r\n"
            case b"QUIT":
                self._closing = True
                return b"221 2.0.0 Bye\r\n"
        return b"502 5.5.2 Command not recognised\r\n"

    def _greeted(self, line: bytes) -> None:
        self._helo = line[5:].strip().decode("ascii", "backslashreplace")[:255]
        self._start_over()

    def _mail(self, line: bytes) -> bytes:
        match = _MAIL.match(line)
        if match is None:
            return b"501 5.5.4 Syntax: MAIL FROM:<address>\r\n"
        if self._sender is not None:
            return b"503 5.5.1 Nested MAIL command\r\n"
        size = _SIZE.search(match[2])
        if size is not None and int(size[1]) > MAX_SIZE:
            return b"552 5.3.4 Message too big for system\r\n"
        self._sender = match[1].decode("utf-8", "surrogateescape")
        return b"250 2.1.0 Ok\r\n"

    def _rcpt(self, line: bytes) -> bytes:
        match = _RCPT.match(line)
        if self._sender is None:
            return b"503 5.5.1 Need MAIL command\r\n"
        if match is None or b"@" not in match[1]:
            return b"501 5.1.3 Bad recipient address syntax\r\n"
        if len(self._recipients) >= _MAX_RECIPIENTS or self._judged is not None:
            return b"452 4.5.3 Too many recipients\r\n"
        recipient = match[1].decode("utf-8", "surrogateescape").lower()
        how = behaviour(recipient, self._server.seed)
        mood = self._server.moods.answer(how.provider, self._peer, (how.number & 0xFFFF) / 0x10000, time.time())
        if mood is not None:
            return self._in_mood(recipient, how, mood)
        by_content = how.receive in ("spam", "large") or (how.receive == "policy" and how.provider in _JUDGES_CONTENT)
        if by_content and not self._recipients:
            self._judged = how
        elif how.receive != "accept" and not (how.receive == "greylist" and self._waited_out(recipient, how)):
            return self._refuse(recipient, how)
        self._recipients.append(recipient)
        return b"250 2.1.5 Ok\r\n"

    def _in_mood(self, recipient: str, how: Behaviour, mood: Refusal) -> bytes:
        lines = refusal(mood, how.provider, recipient, how.number)
        self._server.store.refuse(self._sender or "", recipient, mood, " ".join(lines))
        self._closing = lines[0].startswith("421")  # RFC 5321, 3.8: it closes the channel
        return b"".join(line.encode() + b"\r\n" for line in lines)

    def _waited_out(self, recipient: str, how: Behaviour) -> bool:
        """Whether this pair of sender and recipient came back late enough."""
        first = self._server.store.first_greylisted(self._sender or "", recipient)
        return first is not None and time.time() - first >= how.greylisted_for

    def _refuse(self, recipient: str, how: Behaviour) -> bytes:
        lines = refusal(how.receive, how.provider, recipient, how.number)
        self._server.store.refuse(self._sender or "", recipient, how.receive, " ".join(lines))
        return b"".join(line.encode("utf-8", "surrogateescape") + b"\r\n" for line in lines)

    # ---- the message

    def _data(self) -> bytes:
        if not self._recipients:
            return (
                b"554 5.5.1 No valid recipients\r\n" if self._sender is not None else b"503 5.5.1 Need RCPT command\r\n"
            )
        self._in_data = True
        self._too_large = False
        self._searched = 0
        self._buffer[:0] = b"\r\n"  # so that a dot on the first line needs no rule of its own
        return b"354 End data with <CR><LF>.<CR><LF>\r\n"

    def _take_data(self) -> bool:
        end = self._buffer.find(_END, max(0, self._searched - len(_END)))
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) > MAX_SIZE + 2:
                self._too_large = True
            if self._too_large:
                del self._buffer[: -len(_END)]
                self._searched = 0
            return False
        # A dot that doubles a leading dot goes (RFC 5321, 4.5.2). Only CRLF ends a line: no smuggling by bare LF.
        data = bytes(self._buffer[: end + 2]).replace(b"\r\n..", b"\r\n.")[2:]
        del self._buffer[: end + len(_END)]
        self._in_data = False
        self._replies.append(self._end_of_data(data))
        self._start_over()
        return True

    def _end_of_data(self, data: bytes) -> bytes:
        if self._too_large or len(data) > MAX_SIZE:
            return b"552 5.3.4 Message too big for system\r\n"
        if self._judged is not None:
            return self._refuse(self._recipients[0], self._judged)
        self._server.take(self._sender or "", self._recipients, data, self._peer, self._helo)
        return b"250 2.0.0 Ok: queued as %X\r\n" % (time.monotonic_ns() // 1000)


async def serve_smtp(receivers: Receivers, port: int, also: str = "127.0.0.1") -> asyncio.Server:
    """Listen on loopback, by IPv6 as well where there is any, and at another address for other machines."""
    loop = asyncio.get_running_loop()
    hosts = ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]
    return await loop.create_server(receivers.session, sorted({*hosts, also}), port, backlog=512)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
