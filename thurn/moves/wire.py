"""A connection to an IMAP server that is trusted with nothing: bounded in bytes and time for each command, TLS checked.

IMAPClient and imaplib take whatever a server sends: a literal of ten gigabytes, untagged lines without end, a byte a
minute. Here they read through a `Wire`, which stops that.
"""

import imaplib
import logging
import socket
import ssl
import time

from imapclient import IMAPClient

from thurn.mail.trust import client_context, stranger

STARTTLS_PORT = 143
LONGEST_LINE = 1024 * 1024
_QUIET = 60.0  # seconds without a byte

# Both can log what is said, also at sign-in.
for _name in ("imapclient", "imapclient.imaplib"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
    logging.getLogger(_name).propagate = False


class Trouble(Exception):
    """The conversation cannot go on; the message says why, for a person. Another connection may do better."""


class Untrusted(Trouble):
    """The server cannot prove who it is, or does not encrypt."""


class Wire:
    """A socket with a budget."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self.host = host
        self._buffer = bytearray()
        self._left = 0
        self._until = 0.0
        self.allow(1024 * 1024, 60)

    def allow(self, octets: int, seconds: float) -> None:
        """What may come in from now on, and for how long."""
        self._left, self._until = octets, time.monotonic() + seconds

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        if size > self._left + len(self._buffer):
            raise Trouble(f"{self.host} sent more than there should be.")
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def readline(self) -> bytes:
        """A line with its end."""
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > LONGEST_LINE:
                raise Trouble(f"{self.host} sent a line without an end.")
            self._fill()
        return self._take(end + 1)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.settimeout(max(0.01, self._until - time.monotonic()))
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Trouble(f"The connection to {self.host} was lost.") from error

    def encrypt(self, context: ssl.SSLContext) -> None:
        """TLS from here on. What was sent before it is not believed (RFC 9051, 6.2.1)."""
        if self._buffer:
            raise Untrusted(f"{self.host} said something between STARTTLS and TLS; somebody may be in between.")
        try:
            self.sock.settimeout(_QUIET)
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"The certificate of {self.host} is not valid: {error.verify_message}.") from error
        except (OSError, ValueError) as error:
            raise Trouble(f"No encrypted connection to {self.host} came about.") from error

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Trouble(f"{self.host} answered too slowly.")
        self.sock.settimeout(min(left, _QUIET))
        try:
            data = self.sock.recv(65536)
        except TimeoutError as error:
            raise Trouble(f"{self.host} did not answer.") from error
        except OSError as error:
            raise Trouble(f"The connection to {self.host} was lost.") from error
        if not data:
            raise Trouble(f"{self.host} closed the connection.")
        self._left -= len(data)
        if self._left < 0:
            raise Trouble(f"{self.host} sent more than there should be.")
        self._buffer += data


class _Imap4(imaplib.IMAP4):
    """imaplib over a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(wire.host)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        """The connection is there already."""
        self.host, self.port, self.sock = host, port, self._wire.sock

    def read(self, size: int) -> bytes:
        """A literal."""
        return self._wire.read(size)

    def readline(self) -> bytes:
        """A line."""
        return self._wire.readline()

    def send(self, data: bytes) -> None:  # type: ignore[override]  # a buffer in the stubs
        """A command."""
        self._wire.send(bytes(data))

    def shutdown(self) -> None:
        """Hang up."""
        self._wire.close()

    def starttls(self, ssl_context: ssl.SSLContext | None = None) -> tuple[str, list[bytes | None]]:  # type: ignore[override]
        """Encrypt, and forget what was said before."""
        if ssl_context is None:
            raise TypeError("a context that checks certificates")
        if "STARTTLS" not in self.capabilities:
            raise Untrusted(f"{self.host} offers no encryption at this port. Try port 993.")
        kind, _ = self._simple_command("STARTTLS")
        if kind != "OK":
            raise Untrusted(f"{self.host} does not want to encrypt.")
        self._wire.encrypt(ssl_context)
        self.sock = self._wire.sock
        self.untagged_responses.clear()
        self._get_capabilities()
        return "OK", [b""]


class Client(IMAPClient):  # type: ignore[misc]  # IMAPClient comes without types
    """IMAPClient over a wire. `wire.allow` before each command says what the answer may cost."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        super().__init__(wire.host, ssl=False)
        self.normalise_times = False  # keep the offset of INTERNALDATE

    def starttls(self, ssl_context: ssl.SSLContext) -> None:
        """Encrypt; what the server said it can before is asked anew."""
        self._imap.starttls(ssl_context=ssl_context)
        self._starttls_done, self._cached_capabilities = True, None

    def _create_IMAP4(self) -> _Imap4:  # noqa: N802 - IMAPClient's name
        return _Imap4(self.wire)


def connect(host: str, address: str, port: int, *, fingerprint: str = "", tls: bool = True) -> Client:
    """Connect to `address`, which was looked at, and check that it is `host`. Port 143 encrypts after STARTTLS.

    With `fingerprint` exactly that certificate is accepted and no other. Raises `Trouble`, `Untrusted`.
    """
    try:
        sock = socket.create_connection((address, port), timeout=20)
    except OSError as error:
        raise Trouble(f"{host} does not answer at port {port}.") from error
    wire = Wire(sock, host)
    try:
        if not tls:
            return Client(wire)
        context = client_context(fingerprint)
        if port == STARTTLS_PORT:
            client = Client(wire)
            client.starttls(context)
        else:
            wire.encrypt(context)
        refuse_strangers(wire, fingerprint)
        return client if port == STARTTLS_PORT else Client(wire)
    except (imaplib.IMAP4.error, ValueError) as error:
        wire.close()
        raise Trouble(f"What answers at {host}, port {port}, does not speak IMAP.") from error
    except BaseException:
        wire.close()
        raise


def refuse_strangers(wire: Wire, fingerprint: str) -> None:
    """`Untrusted` if a certificate was named and another one is shown."""
    if seen := stranger(wire.sock, fingerprint):
        raise Untrusted(f"{wire.host} shows another certificate than the one you named: {seen}.")
