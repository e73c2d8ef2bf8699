"""POP3 (RFC 1939, 2449, 2595) over a wire: bounded in bytes and time, TLS checked, like IMAP in thurn/moves/wire.py."""

import poplib
import socket
import ssl

from thurn.mail.trust import client_context
from thurn.moves.wire import Trouble, Untrusted, Wire, refuse_strangers

STLS_PORT = 110
_LINE = 8192  # poplib takes 2048, which mail outgrows
poplib._MAXLINE = _LINE  # type: ignore[attr-defined]  # noqa: SLF001 - the one knob there is


class _File:
    """What poplib reads lines from."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readline(self, size: int = -1) -> bytes:
        """A line; the wire bounds it."""
        return self._wire.readline()

    def close(self) -> None:
        """The wire is closed by whoever opened it."""


class Pop3(poplib.POP3):
    """poplib over a wire. `wire.allow` before each command says what the answer may cost."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.host, self.port = wire.host, 0
        self._tls_established = False
        self.sock = wire.sock
        self.file = _File(wire)  # type: ignore[assignment]  # all of a file that poplib uses
        self._debugging = 0
        self.welcome = self._getresp()  # type: ignore[attr-defined]

    def _putline(self, line: bytes) -> None:
        self.wire.send(line + b"\r\n")

    def encrypt(self, context: ssl.SSLContext) -> None:
        """STLS; what the server said before is not believed."""
        if "STLS" not in self.capa():
            raise Untrusted(f"{self.host} offers no encryption at this port. Try port 995.")
        self._shortcmd("STLS")  # type: ignore[attr-defined]
        self.wire.encrypt(context)
        self.sock = self.wire.sock


def connect(host: str, address: str, port: int, *, fingerprint: str = "") -> Pop3:
    """Connect to `address`, which was looked at, and check that it is `host`. Raises `Trouble`, `Untrusted`."""
    try:
        sock = socket.create_connection((address, port), timeout=20)
    except OSError as error:
        raise Trouble(f"{host} does not answer at port {port}.") from error
    wire = Wire(sock, host)
    try:
        context = client_context(fingerprint)
        if port == STLS_PORT:
            client = Pop3(wire)
            client.encrypt(context)
        else:
            wire.encrypt(context)
            client = Pop3(wire)
        refuse_strangers(wire, fingerprint)
    except poplib.error_proto as error:
        wire.close()
        raise Trouble(f"What answers at {host}, port {port}, does not speak POP3.") from error
    except BaseException:
        wire.close()
        raise
    return client
